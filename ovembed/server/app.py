"""The HTTP application: the routes of every dialect over one set of models, each error in the dialect of its path."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from ovembed.errors import OvembedError
from ovembed.http.requests import DEFAULT_BODY_BYTES
from ovembed.server.dialects import openai, ovms, tei
from ovembed.server.exchange import Served

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from ovembed.server.dialects import Dialect
    from ovembed.serving.models import ServedModel

# The first that owns a path answers there.
DIALECTS: tuple[Dialect, ...] = (ovms, tei, openai)


def create_app(models: Mapping[str, ServedModel], *, max_body_bytes: int = DEFAULT_BODY_BYTES) -> Starlette:
    """The ASGI application that serves these models, by their served names."""
    served = Served(models, max_body_bytes)
    app = Starlette(
        routes=[route for dialect in DIALECTS for route in dialect.routes(served)],
        exception_handlers={
            OvembedError: _render,
            HTTPException: _render,
            Exception: _render,
            ClientDisconnect: _render_nothing,
        },
    )
    # No dialect answers a path with a redirect.
    app.router.redirect_slashes = False
    return app


def error_response(request: Request, error: Exception) -> Response:
    """The error as the dialect of the request's path says it."""
    path = request.scope["path"]
    return next(dialect for dialect in DIALECTS if dialect.owns(path)).render(request, error)


async def _render(request: Request, error: Exception) -> Response:
    return error_response(request, error)


async def _render_nothing(_request: Request, _error: Exception) -> Response:
    """The client has gone: nobody reads this."""
    return Response(status_code=499)
