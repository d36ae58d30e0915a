"""One list of texts on its way: in requests of a size that is taken, several at once, again where one failed."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

from ovembed.errors import EndpointBusy, EndpointLost, EndpointRefused, EndpointTimeout, TextError
from ovembed.remote.answers import TooMuch
from ovembed.remote.limits import halves
from ovembed.remote.pool import Abandoned

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ovembed.protocols import Embeddings
    from ovembed.remote.endpoint import Endpoint
    from ovembed.remote.pool import Pool

_MAY_PASS = (EndpointBusy, EndpointLost, EndpointRefused, EndpointTimeout)


class Delivery:
    """`deliver` once. Its threads are daemons: an interrupted program does not wait for the answers of servers."""

    def __init__(self, pool: Pool, *, truncate: bool) -> None:
        self._pool = pool
        self._truncate = truncate
        self._abandoned = threading.Event()

    def deliver(self, texts: Sequence[str], parts: Sequence[slice], threads: int) -> list[Embeddings]:
        """The vectors, part after part, however they were cut up on their way.

        Raises the error of the earliest part that failed; what was not yet sent by then is not sent, and what is under
        way is waited for only to find the earliest text at fault: an endpoint in trouble may never answer.
        """
        futures: list[Future[list[Embeddings]]] = [Future() for _ in parts]
        waiting = deque(zip(parts, futures, strict=True))

        def work() -> None:
            while waiting and not self._abandoned.is_set():
                try:
                    part, future = waiting.popleft()
                except IndexError:  # another thread was faster
                    return
                try:
                    future.set_result(self._part(texts, part))
                except Exception as error:  # noqa: BLE001  the caller must hear of it
                    self._abandoned.set()
                    future.set_exception(error)

        workers = [threading.Thread(target=work, daemon=True) for _ in range(min(threads, len(parts)))]
        try:
            for worker in workers:
                worker.start()
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            if any(isinstance(future.exception(), TextError) for future in done):
                for worker in workers:
                    worker.join()
        finally:
            self._abandoned.set()
        _raise_earliest(futures)
        return [result for future in futures for result in future.result()]

    def _part(self, texts: Sequence[str], part: slice) -> list[Embeddings]:
        try:
            return self._send(texts[part])
        except TextError as error:
            raise type(error)(part.start + error.position, error.problem) from error

    def _send(self, texts: Sequence[str]) -> list[Embeddings]:
        try:
            return [self._ask(texts)]
        except _InParts as smaller:
            results = [result for part in smaller.parts for result in self._part(texts, part)]
            smaller.learn()  # the parts were taken, so it was not one of the texts that was refused
            return results

    def _ask(self, texts: Sequence[str]) -> Embeddings:
        for attempt in count(1):
            with self._pool.lent(self._abandoned) as endpoint:
                try:
                    result = self._request(endpoint, texts)
                except _MAY_PASS as error:
                    if attempt >= self._pool.attempts:
                        raise
                    self._pool.leave_alone(endpoint, error)
                else:
                    self._pool.succeeded(endpoint)
                    return result
        raise AssertionError("This is a bug.")

    def _request(self, endpoint: Endpoint, texts: Sequence[str]) -> Embeddings:
        parts = endpoint.limits.pack(texts)
        if len(parts) > 1:
            raise _InParts(parts)
        try:
            return endpoint.embed(texts, truncate=self._truncate)
        except TooMuch as refusal:
            if len(texts) == 1:
                raise endpoint.verdict(refusal, truncate=self._truncate) from refusal
            if endpoint.tell_limits(len(texts)):
                raise _InParts(endpoint.limits.pack(texts)) from refusal
            learn = partial(endpoint.lower_limits, texts, too_large=refusal.too_large)
            raise _InParts(halves(texts), learn) from refusal


class _InParts(Exception):
    """Such texts are to be sent in these parts; `learn` is to be called once all of them were taken."""

    def __init__(self, parts: Sequence[slice], learn: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.parts = parts
        self.learn = learn


def _raise_earliest(futures: Sequence[Future[list[Embeddings]]]) -> None:
    errors = [error for future in futures if future.done() and (error := future.exception()) is not None]
    for error in sorted(errors, key=lambda error: isinstance(error, Abandoned)):
        raise error
