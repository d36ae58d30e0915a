"""What a search found, as a table or as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ovembed.cli.output import print_table, stdout_console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ovembed.search import Hit

_BAR_CELLS = 10
_PARTS = " ▏▎▍▌▋▊▉█"  # a cell of the bar, from empty to full
_SHOWN_CHARACTERS = 240


def print_hits(hits: Sequence[Hit]) -> None:
    """Score, bar, beginning of the text, and where it stands."""
    rows = [[f"{hit.score:.3f}", _bar(hit.score), _beginning(hit.row.item.text), _place(hit)] for hit in hits]
    print_table(stdout_console(), ["Cosine", "", "Text", "From"], rows)


def hit_json(hit: Hit) -> dict[str, Any]:
    """The row as output files tell it, with its place in the file and its score."""
    return {"index": hit.position, "score": hit.score, **hit.row.to_json()}


def _bar(score: float) -> str:
    """From nothing, for a cosine of 0 or less, to full for 1."""
    eighths = round(min(max(score, 0.0), 1.0) * _BAR_CELLS * 8)
    full, rest = divmod(eighths, 8)
    return (_PARTS[8] * full + (_PARTS[rest] if rest else "")).ljust(_BAR_CELLS)


def _beginning(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= _SHOWN_CHARACTERS else words[: _SHOWN_CHARACTERS - 1] + "…"


def _place(hit: Hit) -> str:
    item = hit.row.item
    place = f"{item.source}:{item.line}" if item.source else f"row {hit.position}"
    return place if item.id is None else f"{item.id} ({place})"
