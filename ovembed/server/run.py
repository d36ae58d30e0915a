"""Load, warm up, bind, serve until told to stop, drain."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import ssl
import time
from typing import TYPE_CHECKING

import uvicorn

from ovembed import admission
from ovembed.engine import OpenVINOEngine
from ovembed.errors import InputError, ServerError
from ovembed.repository import read_golden
from ovembed.server.connection import bounded
from ovembed.server.readiness import GoldenText
from ovembed.server.service import Service
from ovembed.server.settings import ServeSettings, Tls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

    from ovembed.protocols import Engine
    from ovembed.repository import ModelEntry
    from ovembed.server.drain import Traffic

__all__ = ["ServeSettings", "Tls", "serve", "warm_up"]

_BACKLOG = 2048
_POLL_S = 0.05


def serve(
    entries: Sequence[ModelEntry], settings: ServeSettings, *, on_ready: Callable[[str], None] = lambda _: None
) -> None:
    """Serve these models until SIGINT or SIGTERM, then finish what runs and return.

    `on_ready` gets the server's URL once it accepts connections. Raises InputError for keys or certificates that
    cannot be used, RepositoryError or EngineError when a model cannot be loaded, ServerError when the address
    cannot be bound.
    """
    if settings.tls is not None:
        _check(settings.tls)
    service = Service(settings)
    try:
        for entry in entries:
            _load(entry, settings, service)
        config = _configure(service, settings)
        with _bound(settings.host, settings.port) as listener:
            server = _Server(config, service.traffic, settings.grace_s, lambda: on_ready(_url(listener, settings.tls)))
            with _stopped_by_signals(server):
                server.run(sockets=[listener])
    finally:
        service.close()


def _configure(service: Service, settings: ServeSettings) -> uvicorn.Config:
    return uvicorn.Config(
        service.app(),
        http=bounded(settings.body_timeout_s),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        ssl_certfile=settings.tls.cert if settings.tls else None,
        ssl_keyfile=settings.tls.key if settings.tls else None,
    )


class _Server(uvicorn.Server):
    """Says when it accepts connections; told to stop, it goes on to answer them until the work at hand is done."""

    def __init__(
        self, config: uvicorn.Config, traffic: Traffic, grace_s: float, on_started: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._traffic = traffic
        self._grace_s = grace_s
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_started()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._traffic.draining = True
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """uvicorn's own shutdown begins with hanging up on those who ask whether we are ready."""
        deadline = time.monotonic() + self._grace_s
        while self._traffic.running and not self.force_exit and time.monotonic() < deadline:
            await asyncio.sleep(_POLL_S)
        self.config.timeout_graceful_shutdown = max(1, round(deadline - time.monotonic()))
        await super().shutdown(sockets)


def _check(tls: Tls) -> None:
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(tls.cert, tls.key)
    except OSError as error:  # ssl.SSLError is one
        files = f"{tls.cert} and {tls.key}" if tls.key else str(tls.cert)
        reason = getattr(error, "reason", None) or error.strerror
        raise InputError(f"{files} cannot be used for TLS ({reason}). Check --tls-cert and --tls-key.") from error


def _load(entry: ModelEntry, settings: ServeSettings, service: Service) -> None:
    golden = read_golden(entry.folder)
    engine = OpenVINOEngine.load(entry, settings.engine)
    warm_up(engine)
    [tokens] = admission.admit_texts(engine, golden.texts[:1], truncate=True).tokens
    service.add(entry.name, engine, GoldenText(tokens, golden.exported[0]), created=int(entry.folder.stat().st_mtime))


def warm_up(engine: Engine) -> None:
    """Run one short text through every stream, so that the first request finds its kernels made."""
    tokens = engine.tokenize(["warm up"])
    for _ in range(engine.streams):
        engine.run(tokens)


@contextlib.contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ServerError(f"'{host}' is no address of this machine ({error.strerror}). Check --host.") from error
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen(_BACKLOG)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise ServerError(
                    f"Port {port} on {host} is in use. Choose another with --port (0: a free one)."
                ) from error
            raise ServerError(f"Cannot listen on {host}:{port} ({os.strerror(error.errno or 0)}).") from error
        yield listener


def _url(listener: socket.socket, tls: Tls | None) -> str:
    host, port = listener.getsockname()[:2]
    scheme = "https" if tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


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
