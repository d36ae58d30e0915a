"""Which texts run together, and in which shapes.

A batch costs its longest text times its count, and a little of its own, so texts of like length share one. A shape
that the engine has not met costs kernels that must be made first, a third of a small batch's time, and memory to keep
them, 4 MB for a model of six layers: lengths and counts are taken from short ladders.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Padded tokens of a batch: from 256 to 1,024 speed grows by a few hundredths, at 2,048 it falls (tests/bench).
DEFAULT_BATCH_TOKENS = 1024

# What a batch costs before its first token, in tokens: more padding than that is worth a batch of its own.
_COST_OF_A_BATCH = 12


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
