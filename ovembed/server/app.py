"""The HTTP application: the routes of every dialect over one set of models, each error in the dialect of its path."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ovembed.http.application import Application
from ovembed.http.requests import Limits
from ovembed.server.dialects import openai, ovms, tei
from ovembed.server.exchange import Exchange
from ovembed.server.reload import nothing_to_reload

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from ovembed.server.catalog import Catalog
    from ovembed.server.dialects import Dialect
    from ovembed.server.readiness import Readiness
    from ovembed.server.reload import Reload

# The first that owns a path answers there.
DIALECTS: tuple[Dialect, ...] = (ovms, tei, openai)


def create_app(
    catalog: Catalog, readiness: Readiness, limits: Limits | None = None, reload: Reload = nothing_to_reload
) -> Application:
    """The ASGI application that serves these models."""
    exchange = Exchange(catalog, readiness, limits or Limits(), reload)
    # Routes are tried in turn, and /v1/embeddings is asked for most.
    routes = [route for dialect in reversed(DIALECTS) for route in dialect.routes(exchange)]
    return Application(routes, error_response)


def error_response(request: Request, error: Exception) -> Response:
    """The error as the dialect of the request's path says it. `request.state.error` tells middleware which it was."""
    request.state.error = error
    path = request.scope["path"]
    return next(dialect for dialect in DIALECTS if dialect.owns(path)).render(request, error)
