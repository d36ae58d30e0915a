"""Which texts run together when all of them are there: those of an embed job's chunk, or of one call."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from ovembed.batches import ALIGNMENT, Layout, packed_width, padded_length, row_for_each

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Tokens of a batch, padding included: from 256 to 1,024 speed grows by a few hundredths, at 2,048 it falls
# (tests/bench).
DEFAULT_BATCH_TOKENS = 1024

# What a batch costs before its first token, in tokens: more padding than that is worth a batch of its own.
_COST_OF_A_BATCH = 12

# The least widths of rows to try. Narrow ones cost less and wide ones fill up better, unless texts are all of a length
# that just fits a few times into one of them. Of much wider ones than texts are long, nothing is to be gained.
_PACKED_WIDTHS = (32, 48, 64, 96, 128)
_MUCH_WIDER = 4


@dataclass(frozen=True, slots=True)
class Batch:
    """`positions` of the texts that run together, and where each of them stands."""

    positions: tuple[int, ...]
    layout: Layout


def plan(lengths: Sequence[int], max_batch_tokens: int, most_tokens: int, *, packs: bool) -> list[Batch]:
    """Batches of texts of so many tokens, within the budget, padding included; a text above it runs alone.

    An engine that packs lets them share rows; else texts of like length run together. Every position comes exactly
    once. Rows have at most `most_tokens`. The longest texts come first, so that workers sharing the batches end
    together. What does not fill a batch makes some whose rows are a power of two: in a long job, remainders would have
    every count, and each shape costs memory.
    """
    if not packs:
        return list(_padded(lengths, max_batch_tokens, most_tokens))
    too_wide = _MUCH_WIDER * sum(lengths) / max(1, len(lengths))
    widths = [width for width in _PACKED_WIDTHS if width <= too_wide] or _PACKED_WIDTHS[:1]
    plans = [list(_packed(lengths, max_batch_tokens, most_tokens, width)) for width in widths]
    return min(plans, key=lambda batches: sum(batch.layout.cost for batch in batches))


def _padded(lengths: Sequence[int], max_batch_tokens: int, most_tokens: int) -> Iterator[Batch]:
    """A row for each text; those of like length share a batch."""
    for group in _alike(lengths, max_batch_tokens):
        full = padded_length(lengths[group[0]]) * (len(group) + 1) > max_batch_tokens
        for start, stop in _few_counts(len(group), len(group) if full else 0):
            batch = tuple(group[start:stop])
            yield Batch(batch, row_for_each([lengths[position] for position in batch], most_tokens))


def _alike(lengths: Sequence[int], max_batch_tokens: int) -> list[list[int]]:
    """Positions in groups that fit into a batch, the longest first."""
    groups: list[list[int]] = []
    longest = 0
    for position in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        length = padded_length(lengths[position])
        full = longest * (len(groups[-1]) + 1) > max_batch_tokens if groups else True
        if full or longest - length > _COST_OF_A_BATCH:
            groups.append([])
            longest = length
        groups[-1].append(position)
    return groups


def _packed(lengths: Sequence[int], max_batch_tokens: int, most_tokens: int, least_width: int) -> Iterator[Batch]:
    """Rows for the longest texts that are left, filled up with shorter ones."""
    texts = _ByLength(lengths)
    while texts.longest:
        width = packed_width(texts.longest, min(most_tokens, max_batch_tokens), least_width)
        most_rows = max(1, max_batch_tokens // width)
        rows: list[list[int]] = []
        while texts.longest and len(rows) < most_rows:
            rows.append(texts.take(width))
        for start, stop in _few_counts(len(rows), most_rows):
            yield _batch(rows[start:stop], width, lengths, most_tokens)


class _ByLength:
    """Positions of texts that wait for a row."""

    def __init__(self, lengths: Sequence[int]) -> None:
        self._positions: defaultdict[int, list[int]] = defaultdict(list)
        for position, length in enumerate(lengths):
            self._positions[length].append(position)
        self._lengths = sorted(self._positions)

    @property
    def longest(self) -> int:
        """0 when there is none."""
        return self._lengths[-1] if self._lengths else 0

    def take(self, width: int) -> list[int]:
        """A row of this width: the longest text that fits into what is free of it, again and again."""
        row: list[int] = []
        while found := bisect_right(self._lengths, width):
            length = self._lengths[found - 1]
            row.append(self._positions[length].pop())
            width -= length
            if not self._positions[length]:
                del self._lengths[found - 1]
        return row


def _batch(rows: Sequence[Sequence[int]], width: int, lengths: Sequence[int], most_tokens: int) -> Batch:
    """Rows that texts share, no wider than it takes where none are shared."""
    batch = tuple(position for row in rows for position in row)
    if len(batch) == len(rows):
        return Batch(batch, row_for_each([lengths[position] for position in batch], most_tokens, ALIGNMENT))
    places = tuple((number, start) for number, row in enumerate(rows) for start in _starts(row, lengths))
    return Batch(batch, Layout(len(rows), width, places))


def _starts(row: Sequence[int], lengths: Sequence[int]) -> list[int]:
    return [0, *accumulate(lengths[position] for position in row[:-1])]


def _few_counts(count: int, full: int) -> Iterator[tuple[int, int]]:
    """Ranges of so many rows: all of them where that is `full`, else one for each power of two, the largest first."""
    start = 0
    while start < count:
        stop = count if count == full else start + (1 << ((count - start).bit_length() - 1))
        yield start, stop
        start = stop
