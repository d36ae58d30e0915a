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
    from collections.abc import Sequence

# Padded tokens of a batch: from 256 to 1,024 speed grows by a few hundredths, at 2,048 it falls (tests/bench).
DEFAULT_BATCH_TOKENS = 1024

# What a batch costs before its first token, in tokens: more padding than that is worth a batch of its own.
_COST_OF_A_BATCH = 12

# Rows that several texts share are at least as wide. Wider ones fill up better, but a token attends to all of its row.
_PACKED_WIDTH = 64


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
    """Where a batch of texts of so many tokens is run, in rows of at most `most_tokens`.

    An engine that packs lets them share rows, in their order, where that is less to compute than a row for each.
    """
    apart = _padded(lengths, most_tokens)
    together = _packed(lengths, most_tokens) if packs else apart
    return together if together.tokens < apart.tokens else apart


def _padded(lengths: Sequence[int], most_tokens: int) -> Layout:
    longest = max(lengths)
    width = max(longest, min(padded_length(longest), most_tokens))
    return Layout(len(lengths), width, tuple((row, 0) for row in range(len(lengths))))


def _packed(lengths: Sequence[int], most_tokens: int) -> Layout:
    rows = Rows(packed_width(max(lengths), most_tokens))
    places = [place for length in lengths if (place := rows.place(length)) is not None]
    return Layout(len(rows.free), rows.width, tuple(places))


def packed_width(longest: int, most_tokens: int) -> int:
    """Of rows that are to hold a text of so many tokens, and others."""
    return max(longest, min(max(_PACKED_WIDTH, padded_length(longest)), most_tokens))


def padded_length(length: int) -> int:
    """The length that a text of so many tokens is run at: exact to 16, then eight steps to each power of two."""
    step = 1 << max(0, (length - 1).bit_length() - 4)
    return -(-length // step) * step


def full_count(count: int) -> int:
    """How many texts, out of so many, run together: exact to 8, then four steps to each power of two."""
    step = 1 << max(0, count.bit_length() - 3)
    return count // step * step


def plan(lengths: Sequence[int], max_batch_tokens: int) -> list[list[int]]:
    """Group positions so that padded length times count stays within the budget; a text above it runs alone.

    Every position comes exactly once. The longest batches come first, so that workers sharing them end
    together. What is left of a group makes batches of a power of two: in a long job, remainders would have every count.
    """
    groups: list[list[int]] = []
    longest = 0
    for position in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        length = padded_length(lengths[position])
        full = longest * (len(groups[-1]) + 1) > max_batch_tokens if groups else True
        if full or longest - length > _COST_OF_A_BATCH:
            groups.append([])
            longest = length
        groups[-1].append(position)
    return [
        batch for group in groups for batch in _of_few_counts(group, padded_length(lengths[group[0]]), max_batch_tokens)
    ]


def _of_few_counts(group: list[int], longest: int, max_batch_tokens: int) -> list[list[int]]:
    """The group itself where it is full, else a batch for each power of two in its count, the largest first."""
    if longest * (len(group) + 1) > max_batch_tokens:
        return [group]
    parts = []
    while group:
        count = 1 << (len(group).bit_length() - 1)
        parts.append(group[:count])
        group = group[count:]
    return parts
