"""OpenAI's dialect: /v1/embeddings and /v1/models. Whatever no other dialect owns is answered in it.

Formats: https://platform.openai.com/docs/api-reference/embeddings, .../models, and the error object of both.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException

from ovembed import wire
from ovembed.errors import ModelNotFound, ModelUnready, OvembedError
from ovembed.http.replies import (
    PROBLEMS,
    WARNING_HEADER,
    error_reply,
    internal_error,
    json_response,
    nearest,
    no_route,
    vectors_response,
    warn,
)
from ovembed.server.dialects import openai_schemas as schemas
from ovembed.server.exchange import BODY_FAULTS, EMBEDDING_FAULTS, POST_FAULTS, describe
from ovembed.server.openapi import Described, Reply, about

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.requests import Request
    from starlette.responses import Response

    from ovembed.server.exchange import Exchange


def owns(_path: str) -> bool:
    return True


def routes(exchange: Exchange) -> list[Described]:
    handlers = _Handlers(exchange)
    return [
        _route(
            "/v1/embeddings",
            handlers.embeddings,
            method="POST",
            summary="Embed texts or token ids",
            body=schemas.embeddings_request,
            replies=[
                Reply(200, "The vectors.", schemas.embeddings_reply, headers=(WARNING_HEADER,)),
                *_refusals(*POST_FAULTS, *BODY_FAULTS, ModelNotFound, ModelUnready, *EMBEDDING_FAULTS),
            ],
        ),
        _route(
            "/v1/models",
            handlers.models,
            summary="List the models",
            replies=[Reply(200, "All that are served.", schemas.model_list)],
        ),
        _route(
            "/v1/models/{name:path}",
            handlers.model,
            summary="One of the models",
            parameters={"name": schemas.model_name},
            replies=[Reply(200, "The model.", schemas.model), *_refusals(ModelNotFound, ModelUnready)],
        ),
    ]


_route = functools.partial(Described, tag="OpenAI")


def _refusals(*kinds: type[Exception]) -> Iterator[Reply]:
    for kind in kinds:
        problem = nearest(PROBLEMS, kind)
        yield Reply(problem.status, f"`{problem.code or problem.kind}`: {about(kind)}", schemas.error)


def render(request: Request, error: Exception) -> Response:
    match error:
        case OvembedError():
            return error_reply(error)
        case HTTPException():  # no such route, or not with this method
            body = wire.render_error(no_route(request, error), kind="invalid_request_error")
            return json_response(body, error.status_code, error.headers)
        case _:
            return internal_error()


class _Handlers:
    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def embeddings(self, request: Request) -> Response:
        wanted = await self._exchange.read(request, wire.parse_request)
        model = self._exchange.catalog.choose(wanted.model)
        result = await self._exchange.embed(request, model, wanted)
        render = functools.partial(wire.render_response, result, wanted.encoding_format)
        return await vectors_response(result.vectors, render, warn(self._exchange.caveats(wanted, result, model)))

    async def models(self, _request: Request) -> Response:
        data = [describe(model, owner="ovembed") for model in self._exchange.catalog.models.values()]
        return json_response({"object": "list", "data": data})

    async def model(self, request: Request) -> Response:
        return json_response(describe(self._exchange.catalog.named(request.path_params["name"]), owner="ovembed"))
