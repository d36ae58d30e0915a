"""Routes, and one function that tells of every error: an application without layers in between, each of which would
take part in every message of every request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Route, Router

from ovembed.errors import OvembedError
from ovembed.http.replies import CLIENT_LEFT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import ASGIApp, Receive, Scope, Send

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]


class Answered(Route):
    """A route whose endpoint makes the response, or raises."""

    def __init__(self, path: str, endpoint: Endpoint, *, method: str = "GET") -> None:
        super().__init__(path, endpoint, methods=[method])
        self.app = _answering(endpoint)


def _answering(endpoint: Endpoint) -> ASGIApp:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        response = await endpoint(Request(scope, receive))
        await response(scope, receive, send)

    return answer


class Application(Router):
    """`render` makes the reply to an error: one of ours, starlette's HTTPException where no route takes the request, or
    a bug, which is raised again when it is answered.
    """

    def __init__(self, routes: Iterable[Route], render: Callable[[Request, Exception], Response]) -> None:
        super().__init__(list(routes), redirect_slashes=False)
        self._render = render

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self
        try:
            await super().__call__(scope, receive, send)
        except ClientDisconnect:  # nobody reads this
            await Response(status_code=CLIENT_LEFT)(scope, receive, send)
        except (OvembedError, HTTPException) as error:
            await self._answer(error, scope, receive, send)
        except Exception as error:
            await self._answer(error, scope, receive, send)
            raise

    async def _answer(self, error: Exception, scope: Scope, receive: Receive, send: Send) -> None:
        if isinstance(error, HTTPException) and error.status_code == 405:
            error.headers = {"Allow": ", ".join(sorted(self._allowed_methods(scope)))}
        response = self._render(Request(scope, receive), error)
        await response(scope, receive, send)

    def _allowed_methods(self, scope: Scope) -> set[str]:
        """Of all routes of the path; starlette tells those of the first."""
        routes = [route for route in self.routes if isinstance(route, Route)]
        fitting = [route for route in routes if route.matches(scope)[0] is not Match.NONE]
        return {method for route in fitting for method in route.methods or ()}
