"""The most that a compiled model can do: batches of one shape, nothing around them."""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ovembed import batches

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ovembed.protocols import Engine

_COUNTS = (1, 2, 4, 8, 16, 32)
_MOST_TOKENS = 2048
_ROUNDS = 3
_SECONDS_OF_A_ROUND = 0.25


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The fastest of the shapes that were tried: so many texts of so many tokens each."""

    tokens_per_s: float
    count: int
    length: int

    def __str__(self) -> str:
        return f"{self.tokens_per_s:,.0f} tokens/s in batches of {self.count} x {self.length}"


def find_ceiling(engine: Engine, lengths: Sequence[int]) -> Ceiling:
    """Of batches whose texts are all as long as these are on average, run by as many threads as there are streams."""
    length = batches.padded_length(round(statistics.fmean(lengths)))
    shapes = [count for count in _COUNTS if count == 1 or count * length <= _MOST_TOKENS]
    with ThreadPoolExecutor(engine.streams) as workers:
        tried = [Ceiling(_speed(engine, workers, count, length), count, length) for count in shapes]
    return max(tried, key=lambda ceiling: ceiling.tokens_per_s)


def _speed(engine: Engine, workers: ThreadPoolExecutor, count: int, length: int) -> float:
    """Tokens per second: the median of some rounds, after one that warms up and tells how long a batch takes."""
    batch = [[1000 % engine.vocabulary_size] * length] * count
    once = _seconds(engine, workers, [batch] * engine.streams)
    repeated = [batch] * max(engine.streams, round(engine.streams * _SECONDS_OF_A_ROUND / once))
    rounds = [_seconds(engine, workers, repeated) for _ in range(_ROUNDS)]
    return len(repeated) * count * length / statistics.median(rounds)


def _seconds(engine: Engine, workers: ThreadPoolExecutor, work: Sequence[list[list[int]]]) -> float:
    began = time.perf_counter()
    for _ in workers.map(engine.run, work):
        pass
    return time.perf_counter() - began
