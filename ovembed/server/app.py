"""The HTTP application: the routes of every dialect over one set of models, each error in the dialect of its path."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Match

from ovembed.errors import OvembedError
from ovembed.http.requests import Limits
from ovembed.server.dialects import openai, ovms, tei
from ovembed.server.exchange import Exchange
from ovembed.server.reload import nothing_to_reload

if TYPE_CHECKING:
    from starlette.requests import Request

    from ovembed.server.catalog import Catalog
    from ovembed.server.dialects import Dialect
    from ovembed.server.readiness import Readiness
    from ovembed.server.reload import Reload

# The first that owns a path answers there.
DIALECTS: tuple[Dialect, ...] = (ovms, tei, openai)


def create_app(
    catalog: Catalog, readiness: Readiness, limits: Limits | None = None, reload: Reload = nothing_to_reload
) -> Starlette:
    """The ASGI application that serves these models."""
    exchange = Exchange(catalog, readiness, limits or Limits(), reload)
    app = Starlette(
        # Routes are tried in turn, and /v1/embeddings is asked for most.
        routes=[route for dialect in reversed(DIALECTS) for route in dialect.routes(exchange)],
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
    """The error as the dialect of the request's path says it. `request.state.error` tells middleware which it was."""
    request.state.error = error
    path = request.scope["path"]
    return next(dialect for dialect in DIALECTS if dialect.owns(path)).render(request, error)


async def _render(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException) and error.status_code == 405:
        error.headers = {"Allow": ", ".join(sorted(_allowed_methods(request)))}
    return error_response(request, error)


def _allowed_methods(request: Request) -> set[str]:
    """Of all routes of the path; starlette tells those of the first."""
    routes = [route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE]
    return {method for route in routes for method in route.methods}


async def _render_nothing(_request: Request, _error: Exception) -> Response:
    """The client has gone: nobody reads this."""
    return Response(status_code=499)
