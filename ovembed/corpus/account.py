"""What a job tells of itself: while it runs, and in the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ovembed.errors import InputError

if TYPE_CHECKING:
    from ovembed.corpus.embedding import Part
    from ovembed.corpus.rows import Block, Refused, Standing

# Places of cut texts that a summary names.
EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Progress:
    """What the job has done since it began or went on.

    computed_tokens: with padding, None if not told. share: of what there was to do, from 0 to 1; None where nobody
    knows its end.
    """

    texts: int
    tokens: int
    computed_tokens: int | None
    truncated: int
    share: float | None


@dataclass(frozen=True, slots=True)
class Summary:
    """What there is now: `resumed` of the texts by a job before, `reused` from an earlier output.

    tokens: of the texts that were run. repeated: texts that were not, since one beside them is the same.
    `truncated_places` names a few of the texts that were cut.
    """

    texts: int
    tokens: int
    truncated: int
    refused: int
    resumed: int
    reused: int
    repeated: int
    truncated_places: tuple[str, ...]


def nothing_embedded(first: Refused | None, refused: int) -> InputError:
    """What to raise of a job without rows; `first` of those `refused`."""
    if first is None:
        return InputError("There are no texts to embed.")
    all_of_them = f" None of all {refused} texts can be embedded." if refused > 1 else ""
    return InputError(f"{first.place}: {first.reason}{all_of_them}")


class Account:
    """Of a job that stood at `began` when it began or went on: what a Standing does not hold."""

    def __init__(self, began: Standing) -> None:
        self._began = began
        self._texts = 0
        self._tokens = 0
        self._computed: int | None = 0
        self._truncated = began.truncated
        self._reused = 0
        self._repeated = 0
        self._cut_places: list[str] = []
        self._first_refused: Refused | None = None

    def add(self, part: Part) -> None:
        """It is there, perhaps before others that come before it."""
        self._texts += len(part.rows)
        self._tokens += sum(part.tokens)
        computed = part.computed_tokens
        self._computed = None if self._computed is None or computed is None else self._computed + computed
        self._truncated += sum(row.truncated for row in part.rows)
        self._repeated += part.repeated
        self._reused += len(part.rows) if part.reused else 0

    def note(self, block: Block) -> None:
        """It is written."""
        self._first_refused = self._first_refused or next(iter(block.refused), None)
        cut = (row.item.place for row in block.rows if row.truncated)
        self._cut_places.extend(place for place, _ in zip(cut, range(EXAMPLES - len(self._cut_places)), strict=False))

    def progress(self, share: float | None) -> Progress:
        return Progress(self._texts, self._tokens, self._computed, self._truncated, share)

    def summary(self, now: Standing) -> Summary:
        """Raises InputError for a job without rows."""
        if not now.rows:
            raise nothing_embedded(self._first_refused, now.refused)
        return Summary(
            now.rows,
            now.tokens,
            now.truncated,
            now.refused,
            self._began.rows,
            self._reused,
            self._repeated,
            tuple(self._cut_places),
        )
