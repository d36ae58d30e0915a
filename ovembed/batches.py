"""Which texts run together, and in which shapes.

A batch costs its longest text times its count, and a little of its own, so texts of like length share one. A shape
that the engine has not met costs kernels that must be made first, a third of a small batch's time, and memory to keep
them: lengths and counts are taken from short ladders.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Padded tokens of a batch: from 256 to 1,024 speed is alike, at 2,048 it falls (tests/bench/inprocess.py).
DEFAULT_BATCH_TOKENS = 512

# What a batch costs before its first token, in tokens: more padding than that is worth a batch of its own.
_COST_OF_A_BATCH = 8


def padded_length(length: int) -> int:
    """The length that a text of so many tokens is run at: exact to 16, then eight steps to each power of two."""
    step = 1 << max(0, (length - 1).bit_length() - 4)
    return -(-length // step) * step


def _full_count(count: int) -> int:
    """The most texts, out of so many, that make a count of the ladder: 1, 2, 3, 4, 6, 8, 12, 16, 24, ..."""
    step = 1 << max(0, count.bit_length() - 2)
    return count // step * step


def plan(lengths: Sequence[int], max_batch_tokens: int) -> list[list[int]]:
    """Group positions so that padded length times count stays within the budget; a text above it runs alone.

    Every position comes exactly once. The longest batches come first, so that workers sharing them end
    together.
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
    return groups


def window(lengths: Sequence[int], anchor: int, max_batch_tokens: int, *, max_padding: int = _COST_OF_A_BATCH) -> range:
    """The run of neighbours around `anchor` that fits the budget and pads least, of a count of the ladder.

    `lengths` are padded ones and ascend. The window always holds the anchor. It grows by whichever neighbour is nearer
    in length until neither fits, or padding it, or all others to it, would take more tokens than `max_padding`.
    """
    start, stop = anchor, anchor + 1
    while True:
        shortest, longest, count = lengths[start], lengths[stop - 1], stop - start
        below = start > 0 and longest * (count + 1) <= max_batch_tokens and longest - lengths[start - 1] <= max_padding
        above = (
            stop < len(lengths)
            and lengths[stop] * (count + 1) <= max_batch_tokens
            and lengths[stop] - shortest <= max_padding
            and (lengths[stop] - longest) * count <= max_padding
        )
        if not below and not above:
            return _trimmed(start, anchor, stop)
        shorter_is_nearer = below and (
            not above or lengths[anchor] - lengths[start - 1] <= lengths[stop] - lengths[anchor]
        )
        if shorter_is_nearer:
            start -= 1
        else:
            stop += 1


def _trimmed(start: int, anchor: int, stop: int) -> range:
    """As many neighbours as the ladder allows: the longest are left for another batch, then the shortest."""
    extra = stop - start - _full_count(stop - start)
    longer = min(extra, stop - anchor - 1)
    return range(start + extra - longer, stop - longer)
