"""How fast models run on this machine, measured side by side."""

from __future__ import annotations

import random
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ovembed.protocols import Engine, Tokens

# Batches of (texts, tokens): short texts and passages, as services meet them.
_SHAPES = ((16, 32), (8, 128))
_LEAST_ROUNDS = 3
_MOST_ROUNDS = 9
_ENOUGH_S = 2.0


def tokens_per_s(engines: Sequence[Engine]) -> list[float]:
    """Tokens per second of each engine, on full batches with all of its streams.

    The engines take turns, so that whatever else the machine does disturbs all alike; the median round counts.
    """
    work = [_batches(engine) for engine in engines]
    for engine, batches in zip(engines, work, strict=True):
        _run(engine, batches)
    rounds: list[list[float]] = []
    began = time.perf_counter()
    while len(rounds) < _LEAST_ROUNDS or (len(rounds) < _MOST_ROUNDS and time.perf_counter() - began < _ENOUGH_S):
        rounds.append([_run(engine, batches) for engine, batches in zip(engines, work, strict=True)])
    tokens = [sum(len(text) for batch in batches for text in batch) for batches in work]
    return [
        count / statistics.median(seconds) for count, seconds in zip(tokens, zip(*rounds, strict=True), strict=True)
    ]


def _batches(engine: Engine) -> list[list[Tokens]]:
    """Every shape once for each stream, of random token ids."""
    chance = random.Random(0)  # noqa: S311  nothing here is secret
    shapes = [(texts, min(tokens, engine.spec.max_tokens)) for texts, tokens in _SHAPES]
    return [
        [[chance.randrange(engine.vocabulary_size) for _ in range(tokens)] for _ in range(texts)]
        for texts, tokens in shapes
        for _ in range(engine.streams)
    ]


def _run(engine: Engine, batches: Sequence[Sequence[Tokens]]) -> float:
    """Seconds that the batches take, as many at a time as the engine has streams."""
    began = time.perf_counter()
    with ThreadPoolExecutor(engine.streams) as workers:
        for _ in workers.map(engine.run, batches):
            pass
    return time.perf_counter() - began
