"""Which texts run together, and in which shapes.

A batch is so many rows of the same width. Padded, each row holds one text: it costs the longest text times the count,
so texts of like length share a batch. Packed, a row holds several texts, and those of any length may share one. A shape
that the engine has not met costs kernels that must be made first, a third of a small batch's time, and memory to keep
them, 4 MB for a model of six layers: lengths and counts are taken from short ladders.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Texts are gathered for rows that are at least as wide. Wider ones fill up better, but a token attends to all its row.
_PACKED_WIDTH = 64

# What the width of its row makes a token cost, measured with six layers of 384 dimensions: another width than a
# multiple of a vector register's floats makes the whole batch a tenth slower, and each token attends to its whole row.
ALIGNMENT = 16
_COST_UNALIGNED = 1.1
_COST_OF_WIDTH = 0.001

# Wider rows than for so many fewer cost more than the gaps that they fill.
_FEWER_ROWS = 2


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the texts of a batch stand; `places`: row and first token of each, in the order of the texts."""

    rows: int
    width: int
    places: tuple[tuple[int, int], ...]

    @property
    def tokens(self) -> int:
        """That are computed, padding included."""
        return self.rows * self.width

    @property
    def cost(self) -> float:
        """Of computing them, in tokens that attend to nothing."""
        aligned = self.width % ALIGNMENT == 0
        return self.tokens * (1 + _COST_OF_WIDTH * self.width) * (1 if aligned else _COST_UNALIGNED)


class Rows:
    """Rows of one width that texts are packed into: at most `most` of them, None for as many as it takes."""

    def __init__(self, width: int, most: int | None = None) -> None:
        self.width = width
        self.free: list[int] = []
        self._most = most

    def place(self, length: int) -> tuple[int, int] | None:
        """Row and first token of a text in the fullest row that has room for it; None when none has."""
        fitting = [(free, row) for row, free in enumerate(self.free) if free >= length]
        if fitting:
            _, row = min(fitting)
        elif length <= self.width and len(self.free) != self._most:
            row = len(self.free)
            self.free.append(self.width)
        else:
            return None
        start = self.width - self.free[row]
        self.free[row] -= length
        return row, start


def layout(lengths: Sequence[int], most_tokens: int, *, packs: bool) -> Layout:
    """Where texts of so many tokens stand, in rows of at most `most_tokens`.

    An engine that packs lets them share rows, in their order, where that is less to compute than a row for each.
    """
    if not packs:
        return row_for_each(lengths, most_tokens)
    apart = row_for_each(lengths, most_tokens, ALIGNMENT if len(lengths) > 1 else ALIGNMENT // 2)
    together = _packed(lengths, packed_width(max(lengths), most_tokens))
    return min(apart, together, *_snug(lengths, most_tokens, together.rows), key=lambda laid: laid.cost)


def row_for_each(lengths: Sequence[int], most_tokens: int, step: int = 1) -> Layout:
    """Padded to the longest, and from there to a multiple of `step`."""
    longest = max(lengths)
    width = max(longest, min(padded_length(longest, step), most_tokens))
    return Layout(len(lengths), width, tuple((row, 0) for row in range(len(lengths))))


def _packed(lengths: Sequence[int], width: int) -> Layout:
    rows = Rows(width)
    places = [place for length in lengths if (place := rows.place(length)) is not None]
    return Layout(len(rows.free), width, tuple(places))


def _snug(lengths: Sequence[int], most_tokens: int, rows: int) -> Iterator[Layout]:
    """Packed into rows that so many, or somewhat fewer, would fill without a gap: few texts leave large ones."""
    longest, tokens = max(lengths), sum(lengths)
    for count in range(max(1, rows - _FEWER_ROWS), rows + 1):
        share = min(-(-tokens // count), most_tokens)
        yield _packed(lengths, packed_width(max(longest, share), most_tokens, ALIGNMENT))


def packed_width(longest: int, most_tokens: int, least: int = _PACKED_WIDTH) -> int:
    """Of rows that are to hold a text of so many tokens, and others: well aligned, where the model takes so many."""
    return max(longest, min(max(least, padded_length(longest, ALIGNMENT)), most_tokens))


def padded_length(length: int, least_step: int = 1) -> int:
    """The length that a text of so many tokens is run at: exact to 16, then eight steps to each power of two.

    With `least_step`, a power of two, only multiples of that.
    """
    step = max(least_step, 1 << max(0, (length - 1).bit_length() - 4))
    return -(-length // step) * step


def full_count(count: int) -> int:
    """How many texts, out of so many, run together: exact to 8, then four steps to each power of two."""
    step = 1 << max(0, count.bit_length() - 3)
    return count // step * step
