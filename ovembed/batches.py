"""Which texts run together. A batch costs its longest text times its count, so texts of like length share one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Padded tokens of a batch: from 256 to 1,024 speed is alike, at 2,048 it falls (tests/bench/inprocess.py).
DEFAULT_BATCH_TOKENS = 512


def plan(lengths: Sequence[int], max_batch_tokens: int) -> list[list[int]]:
    """Group positions so that longest times count stays within the budget; a text above it runs alone.

    Every position comes exactly once. The longest batches come first, and in each its longest text, so that
    workers sharing them end together.
    """
    groups: list[list[int]] = []
    longest = 0
    for position in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        if not groups or longest * (len(groups[-1]) + 1) > max_batch_tokens:
            groups.append([])
            longest = lengths[position]
        groups[-1].append(position)
    return groups


def window(lengths: Sequence[int], anchor: int, max_batch_tokens: int) -> range:
    """The run of neighbours around `anchor` that fits the budget and pads least.

    `lengths` ascends. The window always holds the anchor, and grows by whichever neighbour is nearer to it
    in length until neither fits.
    """
    start, stop = anchor, anchor + 1
    while True:
        count = stop - start + 1
        below = start > 0 and lengths[stop - 1] * count <= max_batch_tokens
        above = stop < len(lengths) and lengths[stop] * count <= max_batch_tokens
        if not below and not above:
            return range(start, stop)
        shorter_is_nearer = below and (
            not above or lengths[anchor] - lengths[start - 1] <= lengths[stop] - lengths[anchor]
        )
        if shorter_is_nearer:
            start -= 1
        else:
            stop += 1
