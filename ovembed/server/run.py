"""Load, warm up, bind, serve until told to stop, drain."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import uvicorn

from ovembed.batches import DEFAULT_BATCH_TOKENS
from ovembed.engine import EngineSettings, OpenVINOEngine
from ovembed.errors import ServerError
from ovembed.server.app import DEFAULT_BODY_BYTES, create_app
from ovembed.server.batcher import DEFAULT_QUEUED_TOKENS, Batcher
from ovembed.server.models import ServedModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ovembed.protocols import Engine
    from ovembed.repository import ModelEntry

_BACKLOG = 2048


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """`port` 0 takes a free one. `grace_s`: how long requests may go on after the server is told to stop."""

    host: str = "127.0.0.1"
    port: int = 8090
    max_batch_tokens: int = DEFAULT_BATCH_TOKENS
    max_queued_tokens: int = DEFAULT_QUEUED_TOKENS
    max_body_bytes: int = DEFAULT_BODY_BYTES
    grace_s: int = 30
    engine: EngineSettings = field(default_factory=EngineSettings)


def serve(
    entries: Sequence[ModelEntry], settings: ServeSettings, *, on_ready: Callable[[str], None] = lambda _: None
) -> None:
    """Serve these models until SIGINT or SIGTERM, then finish what runs and return.

    `on_ready` gets the server's URL once it accepts connections. Raises EngineError when a model cannot be
    loaded, ServerError when the address cannot be bound.
    """
    models = {entry.name: _load(entry, settings) for entry in entries}
    try:
        with _bound(settings.host, settings.port) as listener:
            app = create_app(models, max_body_bytes=settings.max_body_bytes)
            config = uvicorn.Config(
                app,
                lifespan="off",
                log_level="warning",
                access_log=False,
                timeout_graceful_shutdown=settings.grace_s,
            )
            server = _Server(config, lambda: on_ready(_url(listener)))
            with _stopped_by_signals(server):
                server.run(sockets=[listener])
    finally:
        for model in models.values():
            model.batcher.close()


class _Server(uvicorn.Server):
    """Says when it accepts connections."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_started()


def _load(entry: ModelEntry, settings: ServeSettings) -> ServedModel:
    engine = OpenVINOEngine.load(entry, settings.engine)
    warm_up(engine)
    batcher = Batcher(engine, max_batch_tokens=settings.max_batch_tokens, max_queued_tokens=settings.max_queued_tokens)
    return ServedModel(entry.name, engine, batcher)


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


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


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
