"""The HTTP application: the routes of OPEA's embedding microservice over one backend.

Routes: comps/cores/mega/http_service.py of https://github.com/opea-project/GenAIComps. The original answers 500 in
plain text when the backend does not embed; here that is the status it should be, with OpenAI's error object.
"""

from __future__ import annotations

import asyncio
import functools
import time
from typing import TYPE_CHECKING

import orjson
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ovembed import wire
from ovembed.errors import ModelUnready, OvembedError
from ovembed.gateway import documentation, schema
from ovembed.gateway.statistics import SERVICE, Statistics
from ovembed.http.application import Answered, Application
from ovembed.http.replies import error_reply, internal_error, json_response, vectors_response, warn
from ovembed.http.requests import Parsing, read_body, while_connected

if TYPE_CHECKING:
    from starlette.requests import Request

    from ovembed.gateway.backend import Backend
    from ovembed.gateway.metrics import Metrics
    from ovembed.http.guards import Traffic
    from ovembed.http.requests import Limits
    from ovembed.protocols import Embeddings
    from ovembed.wire import EmbeddingsRequest, EncodingFormat

# The release of OPEA whose contract this is; clients may look at it.
_OPEA_VERSION = "1.5"

_READY_PATIENCE_S = 5.0


def create_app(backend: Backend, metrics: Metrics, traffic: Traffic, limits: Limits) -> Application:
    """The ASGI application; `traffic` tells whether it is to end."""
    handlers = _Handlers(backend, metrics, traffic, limits)
    return Application(
        [
            Answered("/v1/embeddings", handlers.embeddings, method="POST"),
            Answered("/v1/health_check", handlers.health_check),
            Answered("/v1/statistics", handlers.statistics),
            Answered("/health", handlers.health),
            Answered("/ready", handlers.ready),
            Answered("/metrics", metrics.page),
            *documentation.routes(),
        ],
        error_response,
    )


class _Handlers:
    def __init__(self, backend: Backend, metrics: Metrics, traffic: Traffic, limits: Limits) -> None:
        self._backend = backend
        self._metrics = metrics
        self._traffic = traffic
        self._limits = limits
        self._parsing = Parsing()
        self._statistics = Statistics()

    async def embeddings(self, request: Request) -> Response:
        body = await read_body(request, self._limits)
        wanted = await self._parsing.run(len(body), functools.partial(_parse, request), body)
        began = time.perf_counter()
        result = await while_connected(request, self._backend.embed(wanted), self._limits)
        render = functools.partial(_reply, result, wanted.encoding_format)
        reply = await vectors_response(result.vectors, render, warn(self._backend.caveats(wanted, result)))
        self._statistics.add(time.perf_counter() - began)
        self._metrics.embedded(result)
        return reply

    async def health_check(self, _request: Request) -> Response:
        """The gateway's own health: the backend is not asked, as in the original."""
        return json_response(
            {
                "Service Title": SERVICE,
                "Version": _OPEA_VERSION,
                "Service Description": "OPEA Microservice Infrastructure",
            }
        )

    async def health(self, _request: Request) -> Response:
        return Response()

    async def ready(self, _request: Request) -> Response:
        """Whether a request for vectors would be answered now."""
        self._traffic.check()
        try:
            async with asyncio.timeout(_READY_PATIENCE_S):
                await self._backend.check_ready()
        except (OvembedError, TimeoutError) as error:
            reason = str(error) or f"The backend does not say within {_READY_PATIENCE_S:g} s whether it is."
            raise ModelUnready(reason) from error
        return json_response({"status": "ready"})

    async def statistics(self, _request: Request) -> Response:
        return json_response(self._statistics.to_json())


def _parse(request: Request, body: bytes) -> EmbeddingsRequest:
    return schema.parse(body, request.headers.get("content-type")).wanted()


def _reply(result: Embeddings, encoding_format: EncodingFormat) -> bytes:
    """EmbeddingResponse of comps/cores/proto/api_protocol.py, its keys in that order; null is what is not known."""
    rows = enumerate(wire.encode_vectors(result.vectors, encoding_format))
    data = wire.render_list(
        [{"index": index, "object": "embedding", "embedding": row} for index, row in rows], result.vectors.shape[1]
    )
    tokens = {"prompt_tokens": result.total_tokens, "total_tokens": result.total_tokens, "completion_tokens": 0}
    head = orjson.dumps({"object": "list", "model": result.model or None})
    tail = orjson.dumps({"usage": tokens if result.total_tokens else None})
    return b"".join([head[:-1], b',"data":', data, b",", tail[1:]])


def error_response(_request: Request, error: Exception) -> Response:
    match error:
        case schema.InvalidBody():
            return Response(error.body(), status_code=422, media_type="application/json")
        case schema.UnreadableBody():
            return json_response({"detail": str(error)}, 400)
        case OvembedError():
            return error_reply(error)
        case HTTPException():  # no such route, or not with this method
            return json_response({"detail": error.detail}, error.status_code, error.headers)
        case _:
            return internal_error()
