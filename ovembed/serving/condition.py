"""Whether a loaded model works: not from a failed batch until its golden text embeds right again."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ovembed import vectors
from ovembed.repository import LEAST_COSINE

if TYPE_CHECKING:
    from ovembed.protocols import Tokens, Vectors
    from ovembed.serving.batcher import Batcher, BatchReport

# A probe that waits longer gets no for an answer; the check goes on, and the next probe hears of it.
_PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class GoldenText:
    """A text whose vector was recorded at export: float32 (dimensions,)."""

    tokens: Tokens
    vector: Vectors


class Condition:
    """One model's health: lost with a failed batch, regained when the golden text embeds right. A BatchObserver."""

    def __init__(self, golden: GoldenText) -> None:
        self._golden = golden
        self._lock = threading.Lock()
        self._faults = 0
        self._forgiven = 0
        self._check: asyncio.Task[None] | None = None

    @property
    def healthy(self) -> bool:
        return self._faults == self._forgiven

    def batch_ended(self, batch: BatchReport) -> None:
        if batch.error is not None:
            with self._lock:
                self._faults += 1

    def texts_dropped(self, count: int) -> None:
        pass

    async def recovered(self, batcher: Batcher) -> bool:
        """Healthy, if need be after a look at the golden text. Callers at the same time share one look."""
        if not self.healthy:
            if self._check is None or self._check.done():
                self._check = asyncio.create_task(self._embed_golden(batcher))
            await asyncio.wait({self._check}, timeout=_PATIENCE_S)
        return self.healthy

    async def _embed_golden(self, batcher: Batcher) -> None:
        """Forgives the faults from before it began, not those that happen meanwhile."""
        faults = self._faults
        try:
            rows = await batcher.embed([self._golden.tokens])
        except Exception:  # noqa: BLE001  whatever it is, the model does not work
            return
        if vectors.all_near(rows, self._golden.vector[None], LEAST_COSINE):
            self._forgiven = faults
