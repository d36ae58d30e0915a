"""Latencies of the requests that were answered: the last ones only, so that memory stays bounded.

Format: comps/cores/mega/base_statistics.py of https://github.com/opea-project/GenAIComps.
"""

from __future__ import annotations

from collections import deque

import numpy as np

SERVICE = "opea_service@embedding"

_KEPT = 10_000


class Statistics:
    def __init__(self) -> None:
        self._latencies_s: deque[float] = deque(maxlen=_KEPT)

    def add(self, took_s: float) -> None:
        self._latencies_s.append(took_s)

    def to_json(self) -> dict[str, dict[str, float | None]]:
        """Seconds; null before the first. Embeddings have no first token."""
        latencies = np.array(self._latencies_s)
        known = {
            "p50_latency": float(np.percentile(latencies, 50)) if len(latencies) else None,
            "p99_latency": float(np.percentile(latencies, 99)) if len(latencies) else None,
            "average_latency": float(latencies.mean()) if len(latencies) else None,
        }
        return {SERVICE: known | {f"{name}_first_token": None for name in known}}
