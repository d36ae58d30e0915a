"""Bind, serve until told to stop, drain."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import time
from typing import TYPE_CHECKING, Any, cast

import uvicorn

from ovembed.http import door
from ovembed.http.connection import BoundedConnection, bounded
from ovembed.http.guards import Traffic
from ovembed.http.listener import bound, url_of

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
    from types import FrameType

    from starlette.types import ASGIApp

    from ovembed.http.tls import Tls

_POLL_S = 0.05

# That make a collection; Python's own 700 are those of a few requests.
_YOUNG_OBJECTS = 10_000

# How soon a client that has a connection sends a request, or the next one, if it sends one at all.
_HESITATION_S = 0.5


async def _do_nothing() -> None:
    pass


def run(
    app: ASGIApp,
    traffic: Traffic,
    *,
    host: str,
    port: int,
    grace_s: float,
    patience_s: float,
    tls: Tls | None = None,
    on_ready: Callable[[str], None] = lambda _: None,
    on_stop: Callable[[], Awaitable[None]] = _do_nothing,
    beside: Callable[[], Coroutine[Any, Any, None]] | None = None,
) -> None:
    """Serve the application until SIGINT or SIGTERM, then finish what runs, for at most `grace_s`, and return.

    A client may send, or read, nothing for `patience_s`. `on_ready` gets the server's URL once it accepts
    connections; `beside` runs on the server's loop until it drains; `on_stop` is awaited when the last reply is sent.
    Raises ServerError when the address cannot be bound.
    """
    config = _configure(app, patience_s, tls)
    with bound(host, port) as listener:

        def started() -> None:
            _spare_what_stays()
            on_ready(url_of(listener, tls))

        server = _Server(config, traffic, grace_s, on_started=started, on_stop=on_stop, beside=beside, tls=tls)
        with _stopped_by_signals(server):
            server.run(sockets=[listener])


async def serve_on(
    listener: socket.socket,
    app: ASGIApp,
    traffic: Traffic,
    *,
    grace_s: float,
    patience_s: float,
    tls: Tls | None = None,
    beside: Callable[[], Coroutine[Any, Any, None]] | None = None,
) -> None:
    """The same as `run`, on the running loop and a socket that is bound already."""
    config = _configure(app, patience_s, tls)
    server = _Server(config, traffic, grace_s, on_started=_spare_what_stays, beside=beside, tls=tls)
    with _stopped_by_signals(server):
        await server.serve(sockets=[listener])


async def turn_away(
    listener: socket.socket, app: ASGIApp, *, grace_s: float, patience_s: float, tls: Tls | None = None
) -> None:
    """Let `app` answer those whom the kernel has let in at the socket, on the running loop, and close it."""
    server = _Server(_configure(app, patience_s, tls), Traffic(draining=True), grace_s, tls=tls)
    await server._serve(sockets=[listener])  # without signals, which are for those who run the loop


def run_loop(main: Coroutine[Any, Any, None]) -> None:
    """Run it on a loop of the kind that `run` uses."""
    with asyncio.Runner(loop_factory=uvicorn.Config("", log_config=None).get_loop_factory()) as runner:
        runner.run(main)


def _configure(app: ASGIApp, patience_s: float, tls: Tls | None) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=bounded(patience_s),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        ssl_certfile=tls.cert if tls else None,
        ssl_keyfile=tls.key if tls else None,
    )


class _Server(uvicorn.Server):
    """Says when it accepts connections; told to stop, it goes on to answer them until the work at hand is done.

    Whoever the kernel has let in by then is answered too.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        traffic: Traffic,
        grace_s: float,
        *,
        on_started: Callable[[], None] = lambda: None,
        on_stop: Callable[[], Awaitable[None]] = _do_nothing,
        beside: Callable[[], Coroutine[Any, Any, None]] | None = None,
        tls: Tls | None = None,
    ) -> None:
        super().__init__(config)
        self._traffic = traffic
        self._grace_s = grace_s
        self._on_started = on_started
        self._on_stop = on_stop
        self._beside = beside
        self._tls = tls
        self._companions: list[asyncio.Task[None]] = []
        self.should_exit = traffic.draining

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            if self._beside is not None:
                self._companions.append(asyncio.create_task(self._beside()))
            if self._tls is not None and self.config.ssl is not None:
                self._companions.append(asyncio.create_task(self._tls.follow(self.config.ssl)))
            self._on_started()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._traffic.draining = True
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """uvicorn's own shutdown begins with hanging up on all whose request has not been read yet."""
        for companion in self._companions:
            companion.cancel()
        deadline = time.monotonic() + self._grace_s
        await self._until(lambda: not self._traffic.running, deadline - _HESITATION_S)
        for listener in sockets or ():
            door.close(listener)
        seen_from = time.monotonic() + (_HESITATION_S if self._tls else 0)  # who shakes hands is no connection yet
        await self._until(lambda: time.monotonic() >= seen_from and self._all_answered(sockets or ()), deadline)
        self.config.timeout_graceful_shutdown = max(1, round(deadline - time.monotonic()))
        await super().shutdown(sockets)
        await self._on_stop()

    def _all_answered(self, listeners: Iterable[socket.socket]) -> bool:
        connections = cast("set[BoundedConnection]", self.server_state.connections)
        return not any(map(door.has_waiting, listeners)) and all(each.is_idle(_HESITATION_S) for each in connections)

    async def _until(self, condition: Callable[[], bool], deadline: float) -> None:
        """Look after the loop has read what came until now, and then again and again."""
        while not self.force_exit and time.monotonic() < deadline:
            await asyncio.sleep(_POLL_S)
            if condition():
                return


def _spare_what_stays() -> None:
    """Let garbage collections pass over what there is by now, and be rare: requests leave no cycles. A full one, every
    thousand requests or so, would look at everything for 30 ms, while nobody is served.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS)


@contextlib.contextmanager
def _stopped_by_signals(server: uvicorn.Server) -> Iterator[None]:
    """uvicorn listens to signals only while its loop runs, and raises the one that stopped it once more
    afterwards. Being told to stop is how a server ends well: before, it must not be missed; after, it is no error.
    """
    previous = {number: signal.signal(number, server.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
