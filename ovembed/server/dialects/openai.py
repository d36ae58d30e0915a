"""OpenAI's dialect: /v1/embeddings and /v1/models. Whatever no other dialect owns is answered in it.

Formats: https://platform.openai.com/docs/api-reference/embeddings, .../models, and the error object of both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from starlette.exceptions import HTTPException
from starlette.routing import Route

from ovembed import wire
from ovembed.errors import (
    EngineError,
    InputError,
    ModelNotFound,
    OvembedError,
    Overloaded,
    RequestError,
    RequestTooLarge,
    ShuttingDown,
    TextError,
    TextTooLong,
)
from ovembed.server.exchange import COME_BACK, cut_warning, describe, embed, json_response, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from ovembed.server.exchange import Served


class _Problem(NamedTuple):
    status: int
    kind: str
    code: str | None = None


PROBLEMS: Mapping[type[Exception], _Problem] = {
    OvembedError: _Problem(500, "server_error"),
    EngineError: _Problem(500, "server_error", "engine_error"),
    Overloaded: _Problem(429, "rate_limit_error", "overloaded"),
    ShuttingDown: _Problem(503, "server_error", "shutting_down"),
    ModelNotFound: _Problem(404, "invalid_request_error", "model_not_found"),
    InputError: _Problem(400, "invalid_request_error"),
    TextTooLong: _Problem(400, "invalid_request_error", "context_length_exceeded"),
    RequestTooLarge: _Problem(413, "invalid_request_error", "request_too_large"),
}


def owns(_path: str) -> bool:
    return True


def routes(served: Served) -> list[Route]:
    handlers = _Handlers(served)
    return [
        Route("/v1/embeddings", handlers.embeddings, methods=["POST"]),
        Route("/v1/models", handlers.models),
        Route("/v1/models/{name:path}", handlers.model),
    ]


def render(request: Request, error: Exception) -> Response:
    match error:
        case OvembedError():
            problem = nearest(PROBLEMS, error)
            body = wire.render_error(str(error), kind=problem.kind, param=_param(error), code=problem.code)
            return json_response(body, problem.status, COME_BACK if problem.status == 429 else None)
        case HTTPException():  # no such route, or not with this method
            message = f"{error.detail}: {request.method} {request.url.path}"
            body = wire.render_error(message, kind="invalid_request_error")
            return json_response(body, error.status_code, error.headers)
        case _:
            message = "Internal error. This is a bug; see the server's log."
            return json_response(wire.render_error(message, kind="server_error"), 500)


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


class _Handlers:
    def __init__(self, served: Served) -> None:
        self._served = served

    async def embeddings(self, request: Request) -> Response:
        wanted = wire.parse_request(await self._served.read_body(request))
        model = self._served.choose(wanted.model)
        result = await embed(request, model, wanted)
        body = wire.render_response(result, wanted.encoding_format)
        return json_response(body, headers=cut_warning(wanted, model))

    async def models(self, _request: Request) -> Response:
        data = [describe(model, owner="ovembed") for model in self._served.models.values()]
        return json_response({"object": "list", "data": data})

    async def model(self, request: Request) -> Response:
        return json_response(describe(self._served.named(request.path_params["name"]), owner="ovembed"))
