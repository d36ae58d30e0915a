"""A model in this process: whole lists of texts, and one text at a time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ovembed.bench.ceiling import Ceiling, find_ceiling
from ovembed.local import LocalEmbedder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ovembed.protocols import Engine

_LATENCIES = 200


@dataclass(frozen=True, slots=True)
class InProcess:
    """`latency_ms`: of one text at a time, median and 99th percentile."""

    texts: int
    tokens: int
    seconds: float
    padding: float
    latency_ms: tuple[float, float]
    ceiling: Ceiling

    @property
    def texts_per_s(self) -> float:
        return self.texts / self.seconds

    @property
    def tokens_per_s(self) -> float:
        return self.tokens / self.seconds

    @property
    def share_of_ceiling(self) -> float:
        return self.tokens_per_s / self.ceiling.tokens_per_s


def measure_model(engine: Engine, texts: Sequence[str]) -> InProcess:
    """Tokenizing included; texts that are too long are cut. The first pass, which makes kernels, does not count."""
    with LocalEmbedder(engine, "bench") as embedder:
        lengths = embedder.embed(texts, truncate=True).tokens or ()
        began = time.perf_counter()
        result = embedder.embed(texts, truncate=True)
        seconds = time.perf_counter() - began
        latencies = []
        for text in texts[:_LATENCIES]:
            began = time.perf_counter()
            embedder.embed([text], truncate=True)
            latencies.append(1000 * (time.perf_counter() - began))
    return InProcess(
        texts=len(texts),
        tokens=result.total_tokens,
        seconds=seconds,
        padding=(result.computed_tokens or result.total_tokens) / result.total_tokens - 1,
        latency_ms=(float(np.percentile(latencies, 50)), float(np.percentile(latencies, 99))),
        ceiling=find_ceiling(engine, lengths),
    )
