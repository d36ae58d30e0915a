"""The application over computed engines, for clients in this process."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx
import numpy as np

from ovembed.http.guards import Traffic
from ovembed.http.requests import Limits
from ovembed.server.app import create_app
from ovembed.server.catalog import Catalog
from ovembed.server.readiness import OwnReadiness
from ovembed.serving.batcher import Batcher
from ovembed.serving.models import ServedModel

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from concurrent.futures import Future

    from ovembed.http.application import Application
    from ovembed.protocols import Tokens, Vectors
    from tests.fakes import FakeEngine

PATIENCE_S = 30
URL = "http://server.example"
CREATED = 1_790_000_000


class InProcess(httpx.BaseTransport):
    """An application for a synchronous client, as a server runs it: every request on one loop, many at a time."""

    def __init__(self, app: Application) -> None:
        self._transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return asyncio.run_coroutine_threadsafe(self._answer(request), self._loop).result(PATIENCE_S)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._loop.shutdown_default_executor(), self._loop).result(PATIENCE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        response = await self._transport.handle_async_request(request)
        content = b"".join([part async for part in response.stream])  # type: ignore[union-attr]
        return httpx.Response(response.status_code, headers=response.headers, content=content)


class WatchedBatcher(Batcher):
    """Lets a test wait until requests are queued; `futures` are theirs, in order."""

    def __init__(self, engine: FakeEngine, **settings: int) -> None:
        super().__init__(engine, **settings)
        self.futures: list[Future[Vectors]] = []
        self._queued = threading.Semaphore(0)

    def submit(self, token_lists: Sequence[Tokens]) -> Future[Vectors]:
        future = super().submit(token_lists)
        self.futures.append(future)
        self._queued.release()
        return future

    def wait_for(self, requests: int) -> None:
        for _ in range(requests):
            assert self._queued.acquire(timeout=PATIENCE_S)


@contextmanager
def application(
    models: Mapping[str, FakeEngine], *, max_body_bytes: int = 100_000, **settings: int
) -> Iterator[tuple[Application, list[WatchedBatcher]]]:
    """The application over these engines, and the batchers in between."""
    batchers = {name: WatchedBatcher(engine, **settings) for name, engine in models.items()}
    catalog = Catalog(ServedModel(name, engine, batchers[name], CREATED) for name, engine in models.items())
    try:
        yield create_app(catalog, always_ready(), Limits(max_body_bytes)), list(batchers.values())
    finally:
        for name, engine in models.items():
            engine.gate.set()
            batchers[name].close()


@contextmanager
def serving(engine: FakeEngine, **settings: int) -> Iterator[tuple[httpx.Client, WatchedBatcher]]:
    """A client of a server with one model, and the model's batcher."""
    with (
        application({"org/fake": engine}, **settings) as (app, [batcher]),
        httpx.Client(transport=InProcess(app), base_url=URL) as client,
    ):
        yield client, batcher


@contextmanager
def client_of(models: Mapping[str, FakeEngine], **settings: int) -> Iterator[httpx.Client]:
    """A client of a server with these models."""
    with application(models, **settings) as (app, _), httpx.Client(transport=InProcess(app), base_url=URL) as client:
        yield client


def always_ready() -> OwnReadiness:
    return OwnReadiness(Traffic(), defaultdict(lambda: working))


async def working() -> bool:
    return True


@contextmanager
def on_a_port(app: Application) -> Iterator[str]:
    """The URL of the application on a port of this machine."""
    import uvicorn

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(PATIENCE_S)


def rows_of(response: httpx.Response) -> Vectors:
    """The vectors of OpenAI's reply."""
    assert response.status_code == 200, response.text
    data = response.json()["data"]
    assert [item["index"] for item in data] == list(range(len(data)))
    assert {item["object"] for item in data} == {"embedding"}
    return np.array([item["embedding"] for item in data], dtype=np.float32)


def expected(engine: FakeEngine, *texts: str) -> Vectors:
    return np.stack([engine.row(tokens) for tokens in engine.tokenize(texts)])
