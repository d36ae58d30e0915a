"""Batches across requests. A free worker takes the next batch at once; there is no timer.

So an idle server adds no delay, and batches grow by themselves while the workers are busy. Which texts make the next
batch: see waiting.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ovembed import batches
from ovembed.errors import Overloaded, RequestTooLarge, ShuttingDown
from ovembed.serving.handover import Handover
from ovembed.serving.waiting import Waiting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ovembed.batches import Layout
    from ovembed.protocols import Engine, Tokens, Vectors
    from ovembed.serving.waiting import WaitingText

DEFAULT_QUEUED_TOKENS = 1_000_000

# Tokens of a batch for each thread that works on it, padding included. Larger ones take longer to wait for, and the
# next requests find fewer to share a batch with.
BATCH_TOKENS_OF_A_THREAD = 256


@dataclass(frozen=True, slots=True)
class BatchReport:
    """A batch that has ended.

    computed_tokens: with those that fill its rows up; waited_s: how long each of its texts was queued; `error` is set
    when it failed.
    """

    lengths: tuple[int, ...]
    computed_tokens: int
    waited_s: tuple[float, ...]
    inference_s: float
    error: Exception | None = None

    @property
    def tokens(self) -> int:
        return sum(self.lengths)

    @property
    def padding(self) -> int:
        """Tokens computed for nothing, to fill up the rows."""
        return self.computed_tokens - self.tokens


@dataclass(frozen=True, slots=True)
class QueueState:
    """What waits now. `oldest_s`: how long the text that is next in turn has waited, 0 when none does."""

    texts: int
    tokens: int
    oldest_s: float


class BatchObserver(Protocol):
    """Told of what a batcher does, from its worker threads, before the callers concerned hear of it."""

    def batch_ended(self, batch: BatchReport) -> None: ...

    def texts_dropped(self, count: int) -> None:
        """Nobody waited for them any more: they were not run."""


class _Job:
    """One request: its rows fill up as batches end, its future is settled exactly once."""

    def __init__(self, count: int, dimensions: int) -> None:
        self.future: Future[Vectors] = Future()
        self._rows = np.empty((count, dimensions), dtype=np.float32)
        self._missing = count
        self._lock = threading.Lock()

    @property
    def wanted(self) -> bool:
        """False once the caller has gone or the job has failed: what is left of it need not run."""
        return not self.future.done()

    def put(self, row: int, vector: Vectors) -> None:
        with self._lock:
            self._rows[row] = vector
            self._missing -= 1
            complete = self._missing == 0
        if complete and self.future.set_running_or_notify_cancel():
            self.future.set_result(self._rows)

    def fail(self, error: Exception) -> None:
        with self._lock:
            if not self.future.done() and self.future.set_running_or_notify_cancel():
                self.future.set_exception(error)


class Batcher:
    """Feeds one engine from any number of callers; one worker thread for each stream of the engine.

    `max_batch_tokens` bounds the padded tokens of a batch, `max_queued_tokens` the tokens that wait.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        max_batch_tokens: int = BATCH_TOKENS_OF_A_THREAD,
        max_queued_tokens: int = DEFAULT_QUEUED_TOKENS,
        observers: Sequence[BatchObserver] = (),
    ) -> None:
        self._engine = engine
        self._observers = tuple(observers)
        self._max_queued_tokens = max_queued_tokens
        self._waiting: Waiting[_Job] = Waiting(max_batch_tokens, engine.spec.max_tokens if engine.packs else None)
        self._changed = threading.Condition()
        self._handover: Handover | None = None
        self._closed = False
        self._workers = [
            threading.Thread(target=self._work, name=f"batch-{number}", daemon=True) for number in range(engine.streams)
        ]
        for worker in self._workers:
            worker.start()

    def submit(self, token_lists: Sequence[Tokens]) -> Future[Vectors]:
        """Queue a request whole; the future gives float32 (n, dimensions) in its order, or EngineError.

        Cancelling the future drops what has not run yet. Raises RequestTooLarge for a request above the queue's
        bound, Overloaded when it does not fit now, ShuttingDown after `close`.
        """
        tokens = sum(map(len, token_lists))
        if tokens > self._max_queued_tokens:
            raise RequestTooLarge(
                f"The request has {tokens} tokens, the queue takes {self._max_queued_tokens}. Send it in parts."
            )
        job = _Job(len(token_lists), self._engine.spec.dimensions)
        if not token_lists:
            job.future.set_result(np.empty((0, self._engine.spec.dimensions), dtype=np.float32))
            return job.future
        with self._changed:
            if self._closed:
                raise ShuttingDown()
            if self._waiting.tokens + tokens > self._max_queued_tokens:
                raise Overloaded(f"The queue is full ({self._waiting.tokens} tokens wait). Try again shortly.")
            self._waiting.add(job, token_lists)
            self._changed.notify(len(token_lists))
        return job.future

    async def embed(self, token_lists: Sequence[Tokens]) -> Vectors:
        """The same, awaited on an event loop, which wakes once for all the requests that a batch completes."""
        if self._handover is None or not self._handover.is_here():
            self._handover = Handover()
        return await self._handover.result_of(self.submit(token_lists))

    def queue(self) -> QueueState:
        with self._changed:
            return QueueState(self._waiting.texts, self._waiting.tokens, self._waiting.oldest_s())

    def close(self) -> None:
        """Refuse new requests, finish those that wait, and end the workers."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for worker in self._workers:
            worker.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting.texts or self._closed)
                if not self._waiting.texts:
                    return
                taken = self._waiting.take()
            batch = [text for text in taken if text.job.wanted]
            if len(batch) < len(taken):
                for observer in self._observers:
                    observer.texts_dropped(len(taken) - len(batch))
            if batch:
                self._run(batch)

    def _run(self, batch: list[WaitingText[_Job]]) -> None:
        """Settle every text of the batch, whatever the engine does."""
        began = time.monotonic()
        lengths = [len(text.tokens) for text in batch]
        layout = batches.layout(lengths, self._engine.spec.max_tokens, packs=self._engine.packs)
        try:
            rows = self._engine.run([text.tokens for text in batch], layout)
            settled = list(zip(batch, rows, strict=True))
        except Exception as error:  # noqa: BLE001  every caller must hear of it
            self._tell(batch, layout, began, error)
            for text in batch:
                text.job.fail(error)
            return
        self._tell(batch, layout, began)
        for text, row in settled:
            text.job.put(text.row, row)

    def _tell(
        self, batch: list[WaitingText[_Job]], layout: Layout, began: float, error: Exception | None = None
    ) -> None:
        report = BatchReport(
            lengths=tuple(len(text.tokens) for text in batch),
            computed_tokens=layout.tokens,
            waited_s=tuple(began - text.queued_at for text in batch),
            inference_s=time.monotonic() - began,
            error=error,
        )
        for observer in self._observers:
            observer.batch_ended(report)
