"""Which streams and batches suit a model on this machine: tried, under a crowd of requests, in this process."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING

from ovembed import admission, cores
from ovembed.bench.texts import make_texts
from ovembed.errors import ShuttingDown
from ovembed.packed import load_engine
from ovembed.repository import Tuning, check_tuning_writable, read_golden, write_tuning
from ovembed.serving.batcher import Batcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future

    from ovembed.engine import EngineSettings
    from ovembed.protocols import Engine, Tokens, Vectors
    from ovembed.repository import ModelEntry

_CLIENTS = 64
_BATCH_TOKENS = (128, 256, 512, 1024)
_WARM_UP_S, _COUNTED_S = 0.7, 1.5

# Speeds that differ by less are alike; smaller batches are answered sooner.
_ALIKE = 0.97


@dataclass(frozen=True, slots=True)
class Trial:
    """What was tried, and tokens per second of a crowd of short and long texts."""

    tuning: Tuning
    tokens_per_s: float


def tune(entry: ModelEntry, settings: EngineSettings, *, on_trial: Callable[[Trial], None] = lambda _: None) -> Tuning:
    """The best of all trials, stored beside the model for the next start. Threads are those that may be used here.

    Raises EngineError when the model cannot be run, RepositoryError where its folder cannot be read or written.
    """
    check_tuning_writable(entry.folder)
    trials = []
    for trial in _trials(entry, settings):
        on_trial(trial)
        trials.append(trial)
    best = choose(trials)
    write_tuning(entry.folder, cores.describe_machine(), best)
    return best


def choose(trials: Sequence[Trial]) -> Tuning:
    """The smallest batches, then the fewest streams, of those that are nearly as fast as the fastest."""
    fastest = max(trial.tokens_per_s for trial in trials)
    good = [trial.tuning for trial in trials if trial.tokens_per_s >= _ALIKE * fastest]
    return min(good, key=lambda tuning: (tuning.batch_tokens * tuning.threads // tuning.streams, tuning.streams))


def _trials(entry: ModelEntry, settings: EngineSettings) -> Iterator[Trial]:
    _, threads = settings.resolve()
    texts = [*make_texts("short", 800), *make_texts("mixed", 200)]
    golden = read_golden(entry.folder)
    for streams in _streams_to_try(threads):
        engine = load_engine(entry, replace(settings, streams=streams, threads=threads, low_latency=False), golden)
        token_lists = _shuffled(admission.admit_texts(engine, texts, truncate=True).tokens)
        for batch_tokens in _BATCH_TOKENS:
            tuning = Tuning(streams, threads, batch_tokens * max(1, threads // streams))
            yield Trial(tuning, _speed(engine, token_lists, tuning.batch_tokens))


def _streams_to_try(threads: int) -> list[int]:
    """1, 2, 4, ... and as many as there are threads."""
    powers = [1 << power for power in range(threads.bit_length()) if 1 << power <= threads]
    return sorted({*powers, threads})


def _shuffled(token_lists: Sequence[Tokens]) -> list[Tokens]:
    """Long and short in turns, the same every time."""
    step = 7
    return [tokens for start in range(step) for tokens in token_lists[start::step]]


def _speed(engine: Engine, token_lists: Sequence[Tokens], batch_tokens: int) -> float:
    batcher = Batcher(engine, max_batch_tokens=batch_tokens)
    crowd = _Crowd(batcher, token_lists)
    crowd.start(_CLIENTS)
    time.sleep(_WARM_UP_S)
    before = crowd.tokens
    began = time.perf_counter()
    time.sleep(_COUNTED_S)
    answered, took_s = crowd.tokens - before, time.perf_counter() - began
    crowd.stopped.set()
    batcher.close()
    if crowd.error is not None:
        raise crowd.error
    return answered / took_s


class _Crowd:
    """Clients that each send a text when they have the vector of their last one."""

    def __init__(self, batcher: Batcher, token_lists: Sequence[Tokens]) -> None:
        self.tokens = 0
        self.error: BaseException | None = None
        self.stopped = threading.Event()
        self._batcher = batcher
        self._token_lists = token_lists
        self._lock = threading.Lock()
        self._next = count()

    def start(self, clients: int) -> None:
        for _ in range(clients):
            self._send()

    def _send(self) -> None:
        tokens = self._token_lists[next(self._next) % len(self._token_lists)]
        with contextlib.suppress(ShuttingDown):  # the crowd was told to go home meanwhile
            future = self._batcher.submit([tokens])
            future.add_done_callback(lambda done: self._answered(done, len(tokens)))

    def _answered(self, done: Future[Vectors], tokens: int) -> None:
        self.error = self.error or done.exception()
        with self._lock:
            self.tokens += tokens
        if self.error is None and not self.stopped.is_set():
            self._send()
