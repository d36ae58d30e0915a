"""JSON replies, and errors as OpenAI's error object with the status that goes with each.

Format: https://platform.openai.com/docs/guides/error-codes
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import orjson
from starlette.responses import Response

from ovembed import wire
from ovembed.errors import (
    BodyTimeout,
    EndpointBusy,
    EndpointError,
    EndpointRefused,
    EndpointTimeout,
    EngineError,
    InputError,
    ModelNotFound,
    ModelUnready,
    OvembedError,
    Overloaded,
    RequestError,
    RequestTimeout,
    RequestTooLarge,
    ShuttingDown,
    TextError,
    TextTooLong,
    Unauthorized,
    quoted,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from starlette.exceptions import HTTPException
    from starlette.requests import Request

    from ovembed.protocols import Vectors

Result = TypeVar("Result")

WARNING_HEADER = "X-Ovembed-Warning"

CLIENT_LEFT = 499
"""nginx's status of a request whose client does not wait for the reply."""

# What goes with an error of that status, whoever says it: 429 and 503 may be over by then.
HEADERS: Mapping[int, Mapping[str, str]] = {
    401: {"WWW-Authenticate": "Bearer"},
    408: {"Connection": "close"},
    429: {"Retry-After": "1"},
    503: {"Retry-After": "1"},
}


# Rendering so many takes 3 ms. Above, nobody notices what a thread costs.
_INLINE_NUMBERS = 131_072


class Problem(NamedTuple):
    status: int
    kind: str
    code: str | None = None


PROBLEMS: Mapping[type[Exception], Problem] = {
    OvembedError: Problem(500, "server_error"),
    EngineError: Problem(500, "server_error", "engine_error"),
    Unauthorized: Problem(401, "invalid_request_error", "invalid_api_key"),
    BodyTimeout: Problem(408, "invalid_request_error", "request_timeout"),
    RequestTimeout: Problem(504, "server_error", "timeout"),
    Overloaded: Problem(429, "rate_limit_error", "overloaded"),
    ModelUnready: Problem(503, "server_error", "model_unready"),
    ShuttingDown: Problem(503, "server_error", "shutting_down"),
    EndpointError: Problem(502, "server_error", "backend_error"),
    EndpointRefused: Problem(503, "server_error", "backend_unreachable"),
    EndpointTimeout: Problem(504, "server_error", "backend_timeout"),
    EndpointBusy: Problem(503, "server_error", "backend_busy"),
    ModelNotFound: Problem(404, "invalid_request_error", "model_not_found"),
    InputError: Problem(400, "invalid_request_error"),
    TextTooLong: Problem(400, "invalid_request_error", "context_length_exceeded"),
    RequestTooLarge: Problem(413, "invalid_request_error", "request_too_large"),
}


def json_response(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`content` as JSON; bytes are JSON already."""
    body = content if isinstance(content, bytes) else orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, status_code=status, headers=headers, media_type="application/json")


async def vectors_response(
    vectors: Vectors, render: Callable[[], bytes], headers: Mapping[str, str] | None = None
) -> Response:
    """JSON with these vectors in it, as `render` makes it: many in a thread, while the loop goes on with others."""
    body = render() if vectors.size <= _INLINE_NUMBERS else await asyncio.to_thread(render)
    return json_response(body, headers=headers)


def warn(warnings: Sequence[str]) -> dict[str, str]:
    """The header that tells them, if there are any."""
    return {WARNING_HEADER: "; ".join(warnings)} if warnings else {}


def error_reply(error: OvembedError) -> Response:
    found = nearest(PROBLEMS, type(error))
    body = wire.render_error(str(error), kind=found.kind, param=_param(error), code=found.code)
    return json_response(body, found.status, HEADERS.get(found.status))


def internal_error() -> Response:
    message = "Internal error. This is a bug; see the server's log."
    return json_response(wire.render_error(message, kind="server_error"), 500)


def no_route(request: Request, error: HTTPException) -> str:
    """What starlette's 404, and 405 with the methods that are allowed, say to a person."""
    path = quoted(request.url.path)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED and error.headers:
        return f"{path} takes {error.headers['Allow']}, not {request.method}."
    return f"There is no {path} here. GET /docs tells what there is."


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


def nearest(table: Mapping[type[Exception], Result], kind: type[Exception]) -> Result:
    """The entry for this class of errors, or for the nearest of its ancestors."""
    return next(table[known] for known in kind.__mro__ if known in table)
