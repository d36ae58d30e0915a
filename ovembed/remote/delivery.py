"""One list of texts on its way: in requests of a size that is taken, several at once, again where one failed."""

from __future__ import annotations

import threading
from bisect import bisect_left
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from itertools import islice
from queue import SimpleQueue
from typing import TYPE_CHECKING

from ovembed.errors import EndpointBusy, EndpointError, EndpointLost, EndpointRefused, EndpointTimeout, TextError
from ovembed.protocols import Portion
from ovembed.remote.answers import TooMuch
from ovembed.remote.limits import halves

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ovembed.remote.endpoint import Endpoint
    from ovembed.remote.pool import Pool

_MAY_PASS = (EndpointBusy, EndpointLost, EndpointRefused, EndpointTimeout)


@dataclass(slots=True)
class _Whole:
    """What `texts` were refused together; `halves` of them have still to be taken, for it to be their number or size
    and not one of them.
    """

    texts: Sequence[str]
    too_large: bool
    halves: int = 2


@dataclass(frozen=True, slots=True, order=True)
class _Task:
    """Texts to be sent, by their positions; as one request, or as several that fit. Earlier ones come first."""

    first: int
    positions: Sequence[int] = field(compare=False)
    attempts: int = field(compare=False, default=0)
    half_of: _Whole | None = field(compare=False, default=None)


class Delivery:
    """Iterate over it once: it gives what each request brings, as it comes, and an error for each text at fault.

    If `strict`, nothing is sent of what stands behind a text at fault. Raises the first error that is none of a text;
    what was not sent by then is not sent, and nothing is waited for: an endpoint in trouble may never answer. Its
    threads are daemons, so an interrupted program does not wait either. Deliveries are served in the order in which
    they were made.
    """

    def __init__(self, pool: Pool, texts: Sequence[str], *, truncate: bool, strict: bool) -> None:
        self._pool = pool
        self._number = pool.next_delivery()
        self._texts = texts
        self._truncate = truncate
        self._strict = strict
        self._lock = threading.Lock()
        self._tasks: list[_Task] = []  # a heap
        self._end = len(texts)
        self._abandoned = threading.Event()
        self._arrived: SimpleQueue[Portion | Exception] = SimpleQueue()

    def __iter__(self) -> Iterator[Portion | TextError]:
        self._add(range(len(self._texts)))
        try:
            # For each that sends another waits to: else requests of later deliveries would come in between.
            for _ in range(min(2 * self._pool.concurrency, len(self._texts))):
                threading.Thread(target=self._work, name="deliver", daemon=True).start()
            missing, end = set(range(len(self._texts))), len(self._texts)
            while missing:
                arrived = self._arrived.get()
                if isinstance(arrived, Portion):
                    missing.difference_update(arrived.positions)
                elif isinstance(arrived, TextError):
                    missing.discard(arrived.position)
                    if self._strict and arrived.position < end:
                        end = arrived.position
                        missing = {position for position in missing if position < end}
                else:
                    raise arrived
                yield arrived
        finally:
            self._abandoned.set()

    def _work(self) -> None:
        try:
            while self._has_tasks():
                with self._pool.lent(self._number, self._abandoned) as endpoint:
                    task = self._take(endpoint)
                    if task is not None:
                        self._send(endpoint, task)
        except Exception as error:  # noqa: BLE001  whoever iterates must hear of it
            self._arrived.put(error)
            self._abandoned.set()

    def _has_tasks(self) -> bool:
        with self._lock:  # a task that is cut up is out of the heap meanwhile
            return bool(self._tasks)

    def _add(self, positions: Sequence[int], attempts: int = 0, half_of: _Whole | None = None) -> None:
        if positions:
            with self._lock:
                heappush(self._tasks, _Task(positions[0], positions, attempts, half_of))

    def _take(self, endpoint: Endpoint) -> _Task | None:
        """As much as this endpoint takes by one request."""
        with self._lock:
            if not self._tasks:
                return None
            task = heappop(self._tasks)
            wanted = task.positions[: bisect_left(task.positions, self._end)]
            limits = endpoint.limits
            fitting = limits.end([self._texts[position] for position in islice(wanted, limits.texts + 1)])
            if fitting < len(wanted):
                heappush(self._tasks, _Task(wanted[fitting], wanted[fitting:]))
            if fitting == len(task.positions):
                return task
            return replace(task, positions=wanted[:fitting], half_of=None) if fitting else None

    def _send(self, endpoint: Endpoint, task: _Task) -> None:
        positions = task.positions
        texts = [self._texts[position] for position in positions]
        try:
            result = endpoint.embed(texts, truncate=self._truncate)
        except _MAY_PASS as error:
            if task.attempts + 1 >= self._pool.attempts:
                raise
            self._pool.leave_alone(endpoint, error)
            self._add(positions, task.attempts + 1, task.half_of)
        except TextError as error:
            self._refuse(positions, error, endpoint)
        except TooMuch as refusal:
            if len(texts) == 1:
                self._refuse(positions, endpoint.verdict(refusal, truncate=self._truncate), endpoint)
            elif endpoint.tell_limits(len(texts)):
                self._add(positions)
            else:
                whole = _Whole(texts, refusal.too_large)
                for half in halves(positions):
                    self._add(positions[half], half_of=whole)
        else:
            self._pool.succeeded(endpoint)
            self._arrived.put(Portion(positions, result))
            if task.half_of is not None:
                self._learn(endpoint, task.half_of)

    def _refuse(self, positions: Sequence[int], error: Exception, endpoint: Endpoint) -> None:
        """One of them; raises the error if it is none of a text."""
        if not isinstance(error, TextError):
            raise error
        if error.position >= len(positions):
            raise EndpointError(f"{endpoint.base} refused text {error.position} of {len(positions)}: {error.problem}")
        rest = [*positions[: error.position], *positions[error.position + 1 :]]
        fault = type(error)(positions[error.position], error.problem)
        if self._strict:
            with self._lock:
                self._end = min(self._end, fault.position)
        for half in halves(rest):  # there may be more at fault, and most are to stay together
            self._add(rest[half])
        self._arrived.put(fault)

    def _learn(self, endpoint: Endpoint, whole: _Whole) -> None:
        with self._lock:
            whole.halves -= 1
            if not whole.halves:
                endpoint.lower_limits(whole.texts, too_large=whole.too_large)
