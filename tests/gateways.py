"""Gateways on real ports, and backends that go wrong as real ones do."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import orjson
from starlette.applications import Starlette  # noqa: TID253  there are servers in here, and nothing else
from starlette.responses import Response  # noqa: TID253
from starlette.routing import Route  # noqa: TID253

from ovembed import wire
from ovembed.gateway.components import BackendSettings, open_backend
from ovembed.gateway.metrics import Metrics
from ovembed.gateway.run import guarded_app
from ovembed.gateway.settings import GatewaySettings
from ovembed.http.guards import Traffic
from tests.fakes import FakeEngine
from tests.serving import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from starlette.requests import Request
    from starlette.types import ASGIApp

    from ovembed.gateway.backend import Backend
    from ovembed.protocols import Vectors

MODEL = "org/fake"
CALCULATOR = (
    "Mediapipe execution failed. MP status - INVALID_ARGUMENT: CalculatorGraph::Run() failed: \n"
    'Calculator::Process() for node "EmbeddingsExecutor" failed: '
)


async def _nothing() -> None:
    pass


@contextmanager
def running(app: ASGIApp, on_stop: Callable[[], Awaitable[None]] = _nothing) -> Iterator[str]:
    """The URL of the application on a port of this machine; `on_stop` is awaited by its loop in the end."""
    import uvicorn

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            await super().shutdown(sockets)
            await on_stop()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(uvicorn.Config(app, lifespan="off", log_config=None))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(PATIENCE_S)


@contextmanager
def gateway_to(
    backend: Backend | BackendSettings, settings: GatewaySettings | None = None, metrics: Metrics | None = None
) -> Iterator[httpx.Client]:
    """A client of a gateway in front of that backend."""
    metrics = metrics or Metrics()
    opened = open_backend(backend, metrics) if isinstance(backend, BackendSettings) else backend
    app = guarded_app(opened, metrics, settings or GatewaySettings(), Traffic())
    with (
        running(app, opened.aclose) as url,
        httpx.Client(base_url=url, trust_env=False, timeout=PATIENCE_S) as client,
    ):
        yield client


def ovms(url: str, **changes: Any) -> BackendSettings:
    return BackendSettings("OPEA_OVMS_EMBEDDING", ovms_endpoint=url, model=MODEL, **changes)


def tei(url: str, **changes: Any) -> BackendSettings:
    return BackendSettings("OPEA_TEI_EMBEDDING", tei_endpoint=url, **changes)


class FakeOvms:
    """Answers as an OVMS does: its vectors are computed, its faults are those that `faults` holds, one after another.

    token_types: ids get other vectors than their text, as where OVMS fills token types. tokenizes: from 2025.4 on.
    hangs: no embedding is answered before the client leaves; `asked` tells when it came, `left` when it went.
    """

    def __init__(self, *, token_types: bool = False, tokenizes: bool = True) -> None:
        self.engine = FakeEngine()
        self.forget()
        self._token_types = token_types
        self._tokenizes = tokenizes
        self.app = Starlette(
            routes=[
                Route("/v3/tokenize", self._tokenize, methods=["POST"]),
                Route("/v3/embeddings", self._embeddings, methods=["POST"]),
                Route("/v2/models/{name:path}/ready", self._ready),
            ]
        )

    def forget(self) -> None:
        """What it was told and what it was asked."""
        self.faults: list[Response] = []
        self.hangs = False
        self.asked = threading.Event()
        self.left = threading.Event()
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.clients: set[tuple[str, int]] = set()

    def row(self, item: str | list[int]) -> Vectors:
        if isinstance(item, str):
            return self.engine.row(self.engine.tokenize([item])[0])
        return self.engine.row([*item, 1] if self._token_types else item)

    def answers(self, body: bytes) -> None:
        """Once, with status 200."""
        self.faults = [Response(body, media_type="application/json")]

    async def _embeddings(self, request: Request) -> Response:
        fields = orjson.loads(await request.body())
        self.bodies.append(fields)
        self.keys.append(request.headers.get("authorization"))
        self.clients.add(request.scope["client"])
        if self.hangs:
            self.asked.set()
            while (await request.receive())["type"] != "http.disconnect":
                pass
            self.left.set()
        if self.faults:
            return self.faults.pop(0)
        rows = np.stack([self.row(item) for item in fields["input"]])
        data = [
            {"object": "embedding", "embedding": encoded, "index": index}
            for index, encoded in enumerate(wire.encode_vectors(rows, fields["encoding_format"]))
        ]
        usage = {"prompt_tokens": 7, "total_tokens": 7}
        return Response(
            orjson.dumps({"object": "list", "data": data, "usage": usage}, option=orjson.OPT_SERIALIZE_NUMPY)
        )

    async def _tokenize(self, request: Request) -> Response:
        fields = orjson.loads(await request.body())
        if not self._tokenizes:
            return fault(400, CALCULATOR + "input field is required")
        return Response(orjson.dumps({"tokens": self.engine.tokenize([fields["text"]])[0]}))

    async def _ready(self, request: Request) -> Response:
        if request.path_params["name"] != MODEL:
            return fault(404, "Model with requested name is not found")
        return self.faults.pop(0) if self.faults else Response()


def fault(status: int, text: str) -> Response:
    return Response(orjson.dumps({"error": text}), status, media_type="application/json")


class FakeTei:
    """Answers as a TEI does that takes at most so many inputs at once; `tells` is what it says of itself."""

    def __init__(self, *, most: int, tells: bytes | None = None) -> None:
        self.engine = FakeEngine()
        self.sizes: list[int] = []
        self.keys: list[str | None] = []
        self._most = most
        self._tells = orjson.dumps({"model_id": "theirs", "max_client_batch_size": most}) if tells is None else tells
        self.app = Starlette(routes=[Route("/info", self._info), Route("/embed", self._embed, methods=["POST"])])

    async def _info(self, _request: Request) -> Response:
        return Response(self._tells, 200 if self._tells else 404)

    async def _embed(self, request: Request) -> Response:
        texts = orjson.loads(await request.body())["inputs"]
        self.sizes.append(len(texts))
        self.keys.append(request.headers.get("authorization"))
        if len(texts) > self._most:
            return fault(422, "batch size is larger than the maximum")
        tokens = self.engine.tokenize(texts)
        rows = [self.engine.row(ids) for ids in tokens]
        headers = {"x-compute-tokens": str(sum(map(len, tokens)))}
        return Response(orjson.dumps(rows, option=orjson.OPT_SERIALIZE_NUMPY), headers=headers)


class FakeTokenEndpoint:
    """Gives token-1, token-2, ... each good for `life_s`; `status` other than 200 gives none."""

    def __init__(self, life_s: float | None = 3600) -> None:
        self.life_s = life_s
        self.status = 200
        self.forms: list[dict[str, str]] = []
        self.app = Starlette(routes=[Route("/token", self._token, methods=["POST"])])

    async def _token(self, request: Request) -> Response:
        text = (await request.body()).decode()
        self.forms.append(dict(pair.split("=", 1) for pair in text.split("&")))
        await asyncio.sleep(0)
        fields: dict[str, Any] = {"access_token": f"token-{len(self.forms)}", "token_type": "bearer"}
        if self.life_s is not None:
            fields["expires_in"] = self.life_s
        return Response(orjson.dumps(fields), self.status, media_type="application/json")


@contextmanager
def hanging_up() -> Iterator[tuple[str, list[bytes]]]:
    """A server that reads the beginning of each request, and hangs up; and what it has read."""
    seen: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def work() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    seen.append(connection.recv(1 << 16))

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", seen
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(PATIENCE_S)
