"""OpenAI's dialect: /v1/embeddings and /v1/models. Whatever no other dialect owns is answered in it.

Formats: https://platform.openai.com/docs/api-reference/embeddings, .../models, and the error object of both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.routing import Route

from ovembed import wire
from ovembed.errors import OvembedError
from ovembed.http.replies import error_reply, internal_error, json_response
from ovembed.server.exchange import cut_warning, describe

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from ovembed.server.exchange import Exchange


def owns(_path: str) -> bool:
    return True


def routes(exchange: Exchange) -> list[Route]:
    handlers = _Handlers(exchange)
    return [
        Route("/v1/embeddings", handlers.embeddings, methods=["POST"]),
        Route("/v1/models", handlers.models),
        Route("/v1/models/{name:path}", handlers.model),
    ]


def render(request: Request, error: Exception) -> Response:
    match error:
        case OvembedError():
            return error_reply(error)
        case HTTPException():  # no such route, or not with this method
            message = f"{error.detail}: {request.method} {request.url.path}"
            body = wire.render_error(message, kind="invalid_request_error")
            return json_response(body, error.status_code, error.headers)
        case _:
            return internal_error()


class _Handlers:
    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def embeddings(self, request: Request) -> Response:
        wanted = wire.parse_request(await self._exchange.read_body(request))
        model = self._exchange.catalog.choose(wanted.model)
        result = await self._exchange.embed(request, model, wanted)
        body = wire.render_response(result, wanted.encoding_format)
        return json_response(body, headers=cut_warning(wanted, model))

    async def models(self, _request: Request) -> Response:
        data = [describe(model, owner="ovembed") for model in self._exchange.catalog.models.values()]
        return json_response({"object": "list", "data": data})

    async def model(self, request: Request) -> Response:
        return json_response(describe(self._exchange.catalog.named(request.path_params["name"]), owner="ovembed"))
