"""HTTP: OpenAI's embeddings and models routes, the same under OVMS's /v3, and the KServe v2 health routes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from ovembed import vectors, wire
from ovembed.errors import (
    EngineError,
    InputError,
    ModelNotFound,
    OvembedError,
    Overloaded,
    RequestError,
    RequestTooLarge,
    TextError,
    TextTooLong,
)

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from ovembed.protocols import Embeddings
    from ovembed.server.models import ServedModel

DEFAULT_BODY_BYTES = 64 * 1024 * 1024


class _Problem(NamedTuple):
    status: int
    kind: str
    code: str | None = None


# Looked up along the class's ancestors, so the nearest entry counts.
PROBLEMS: Mapping[type[Exception], _Problem] = {
    OvembedError: _Problem(500, "server_error"),
    EngineError: _Problem(500, "server_error", "engine_error"),
    Overloaded: _Problem(429, "rate_limit_error", "overloaded"),
    ModelNotFound: _Problem(404, "invalid_request_error", "model_not_found"),
    InputError: _Problem(400, "invalid_request_error"),
    TextTooLong: _Problem(400, "invalid_request_error", "context_length_exceeded"),
    RequestTooLarge: _Problem(413, "invalid_request_error", "request_too_large"),
}


def create_app(models: Mapping[str, ServedModel], *, max_body_bytes: int = DEFAULT_BODY_BYTES) -> Starlette:
    """The ASGI application that serves these models, by their served names."""
    routes = _Routes(models, max_body_bytes)
    return Starlette(
        routes=[
            Route("/v1/embeddings", routes.embeddings, methods=["POST"]),
            Route("/v3/embeddings", routes.embeddings, methods=["POST"]),
            Route("/v1/models", routes.list_models),
            Route("/v3/models", routes.list_models),
            Route("/v1/models/{name:path}", routes.one_model),
            Route("/v3/models/{name:path}", routes.one_model),
            Route("/health", routes.health),
            Route("/v2/health/live", routes.alive),
            Route("/v2/health/ready", routes.alive),
            Route("/v2/models/{name:path}/ready", routes.model_ready),
        ],
        exception_handlers={
            OvembedError: _render_problem,
            HTTPException: _render_http_problem,
            ClientDisconnect: _render_nothing,
            Exception: _render_bug,
        },
    )


class _Routes:
    """The handlers, over the models they serve."""

    def __init__(self, models: Mapping[str, ServedModel], max_body_bytes: int) -> None:
        self._models = models
        self._max_body_bytes = max_body_bytes

    async def embeddings(self, request: Request) -> Response:
        wanted = wire.parse_request(await self._read_body(request))
        model = self._choose(wanted.model)
        _check_dimensions(wanted.dimensions, model)
        result = await _while_connected(request, model.embed(wanted))
        return _json(wire.render_response(result, wanted.encoding_format))

    async def list_models(self, _request: Request) -> Response:
        data = [_describe(model) for model in self._models.values()]
        return _json(orjson.dumps({"object": "list", "data": data}))

    async def one_model(self, request: Request) -> Response:
        return _json(orjson.dumps(_describe(self._named(request.path_params["name"]))))

    async def health(self, _request: Request) -> Response:
        return _json(orjson.dumps({"status": "ok", "models": list(self._models)}))

    async def alive(self, _request: Request) -> Response:
        """Nothing listens before the models are loaded and warm, so an answer says that they are."""
        return Response()

    async def model_ready(self, request: Request) -> Response:
        self._named(request.path_params["name"])
        return Response()

    def _choose(self, name: str | None) -> ServedModel:
        if name is not None:
            return self._named(name)
        if len(self._models) > 1:
            raise RequestError(f"'model' is missing; this server has: {', '.join(self._models)}.", param="model")
        return next(iter(self._models.values()))

    def _named(self, name: str) -> ServedModel:
        if name not in self._models:
            raise ModelNotFound(f"No model '{name}' here; this server has: {', '.join(self._models)}.")
        return self._models[name]

    async def _read_body(self, request: Request) -> bytes:
        """A body is refused unread when its header says that it is too large, else as soon as it is."""
        claimed = request.headers.get("content-length", "")
        self._check_size(int(claimed) if claimed.isdecimal() else 0)
        chunks, size = [], 0
        async for chunk in request.stream():
            size += len(chunk)
            self._check_size(size)
            chunks.append(chunk)
        return b"".join(chunks)

    def _check_size(self, size: int) -> None:
        if size > self._max_body_bytes:
            raise RequestTooLarge(f"The body is larger than {self._max_body_bytes} bytes. Send it in parts.")


async def _while_connected(request: Request, work: Coroutine[Any, Any, Embeddings]) -> Embeddings:
    """Await the work; when the client goes it is cancelled, and what of it still waits will not run."""
    task, leaving = asyncio.create_task(work), asyncio.create_task(_gone(request))
    try:
        await asyncio.wait((task, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    except asyncio.CancelledError as error:  # the time for requests to end is over
        raise Overloaded("The server is shutting down.") from error
    finally:
        task.cancel()
        leaving.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _check_dimensions(wanted: int | None, model: ServedModel) -> None:
    try:
        vectors.check_dimensions(wanted, model.engine.spec.dimensions)
    except InputError as error:
        raise RequestError(str(error), param="dimensions") from error


def _describe(model: ServedModel) -> dict[str, object]:
    spec = model.engine.spec
    return {
        "id": model.name,
        "object": "model",
        "created": 0,
        "owned_by": "ovembed",
        "fingerprint": spec.fingerprint,
        "dimensions": spec.dimensions,
        "max_tokens": spec.max_tokens,
    }


def _json(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(body, status_code=status, headers=headers, media_type="application/json")


async def _render_problem(_request: Request, error: Exception) -> Response:
    problem = next(PROBLEMS[kind] for kind in type(error).__mro__ if kind in PROBLEMS)
    body = wire.render_error(str(error), kind=problem.kind, param=_param(error), code=problem.code)
    return _json(body, problem.status, {"Retry-After": "1"} if problem.status == 429 else None)


def _param(error: Exception) -> str | None:
    match error:
        case RequestError():
            return error.param
        case TextError():
            return f"input[{error.position}]"
        case ModelNotFound():
            return "model"
        case _:
            return None


async def _render_http_problem(request: Request, error: Exception) -> Response:
    """Starlette's own 404 and 405."""
    problem = cast("HTTPException", error)
    message = f"{problem.detail}: {request.method} {request.url.path}"
    return _json(wire.render_error(message, kind="invalid_request_error"), problem.status_code, problem.headers)


async def _render_nothing(_request: Request, _error: Exception) -> Response:
    """The client has gone: nobody reads this."""
    return Response(status_code=499)


async def _render_bug(_request: Request, _error: Exception) -> Response:
    return _json(wire.render_error("Internal error. This is a bug; see the server's log.", kind="server_error"), 500)
