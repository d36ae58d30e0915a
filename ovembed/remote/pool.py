"""Endpoints that share the work: each request goes to the one with the fewest on their way, none to one in trouble."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from ovembed.errors import EndpointBusy, OvembedError
from ovembed.remote.slots import Slots

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ovembed.errors import EndpointError
    from ovembed.remote.endpoint import Endpoint
    from ovembed.remote.settings import RemoteSettings


class Abandoned(OvembedError):
    """Nobody waits for the answer any more."""


@dataclass(slots=True)
class _Member:
    endpoint: Endpoint
    on_their_way: int = 0
    failures: int = 0
    resumes_at: float = 0.0


class Pool:
    """Shared by all threads. `on_trouble` is told, in words, of every endpoint that is left alone for a while."""

    def __init__(
        self, endpoints: Sequence[Endpoint], settings: RemoteSettings, on_trouble: Callable[[str], None]
    ) -> None:
        self._members = [_Member(endpoint) for endpoint in endpoints]
        self._settings = settings
        self._on_trouble = on_trouble
        self._lock = threading.Lock()
        self._slots = Slots(settings.concurrency)
        self._deliveries = count()
        self._closed = False

    @property
    def concurrency(self) -> int:
        return self._settings.concurrency

    def next_delivery(self) -> int:
        """Its number, for the turns of its requests."""
        return next(self._deliveries)

    @property
    def attempts(self) -> int:
        """How often a request may be sent. Another endpoint's turn is no retry; with none ever there, none helps."""
        anybody = any(member.endpoint.answered for member in self._members)
        return len(self._members) + (self._settings.retries if anybody else 0)

    @contextmanager
    def lent(self, turn: int, abandoned: threading.Event) -> Iterator[Endpoint]:
        """The endpoint for one request, once one is to be asked and fewer than `concurrency` requests are under way.

        Of those who wait, the lowest `turn` is next. Raises Abandoned when that happens first, or the pool is closed.
        """
        with self._slots.one(turn):  # who waits here has not chosen yet: the one to choose is the one that is free then
            if self._closed:
                raise Abandoned("The embedder is closed.")
            member, wait_s = self._choose()
            try:
                if abandoned.wait(wait_s):
                    raise Abandoned("This is a bug.")
                yield member.endpoint
            finally:
                with self._lock:
                    member.on_their_way -= 1

    def succeeded(self, endpoint: Endpoint) -> None:
        self._member(endpoint).failures = 0

    def leave_alone(self, endpoint: Endpoint, error: EndpointError) -> None:
        """For a while, longer with every failure in a row.

        Raises the error when it asks for too long a while, and no other endpoint is there before.
        """
        asked_s = error.retry_after_s if isinstance(error, EndpointBusy) else None
        member = self._member(endpoint)
        with self._lock:
            now = time.monotonic()
            latest = now + self._settings.longest_pause_s
            others = (other.resumes_at for other in self._members if other is not member)
            if asked_s is not None and now + asked_s > latest and all(resumes_at > latest for resumes_at in others):
                raise error
            if now < member.resumes_at:  # requests that were under way together fail together
                return
            member.failures += 1
            pause_s = self._settings.pause_s(member.failures, asked_s)
            member.resumes_at = now + pause_s
        words = str(error) if str(error).endswith((".", "?")) else f"{error}."
        self._on_trouble(f"{words} Asking again in {pause_s:.1f} s.")

    def close(self) -> None:
        """Nothing more is sent."""
        self._closed = True

    def _choose(self) -> tuple[_Member, float]:
        """A member, counted as busier from now on, and how long it is still to be left alone."""
        with self._lock:
            now = time.monotonic()
            free = [member for member in self._members if member.resumes_at <= now]
            if free:
                chosen = min(free, key=lambda member: member.on_their_way)
            else:
                chosen = min(self._members, key=lambda member: member.resumes_at)
            chosen.on_their_way += 1
            return chosen, max(0.0, chosen.resumes_at - now)

    def _member(self, endpoint: Endpoint) -> _Member:
        return next(member for member in self._members if member.endpoint is endpoint)
