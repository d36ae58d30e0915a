"""Whether requests should be sent here: not while draining, and not while a model gives wrong vectors."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ovembed.http import replies

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.types import ASGIApp, Receive, Scope, Send

    from ovembed.http.drain import Traffic

# Where the dialects say that all models, or one, can be asked: TEI's two, and those of KServe v2.
_ROUTES = {"/", "/health", "/v2/health/ready"}
_ROUTE_OF_A_MODEL = re.compile(r"/v2/models/(?P<name>.+?)(?:/versions/[^/]+)?/ready")


class Readiness:
    """Puts what is known of the models before the application's health routes: 503 where they would say 200.

    `checks`: by model, whether it works now.
    """

    def __init__(self, app: ASGIApp, traffic: Traffic, checks: Mapping[str, Callable[[], Awaitable[bool]]]) -> None:
        self._app = app
        self._traffic = traffic
        self._checks = checks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        concerned = self._models_concerned(scope["path"]) if scope["method"] in ("GET", "HEAD") else None
        if concerned is None:
            await self._app(scope, receive, send)
        elif self._traffic.draining:
            await replies.unavailable("The server is shutting down.", "shutting_down")(scope, receive, send)
        elif failing := [name for name in concerned if not await self._checks[name]()]:
            message = f"{', '.join(failing)}: a batch failed, and the golden text does not embed right since."
            await replies.unavailable(message, "unhealthy")(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _models_concerned(self, path: str) -> list[str] | None:
        """The models whose readiness the path asks for; None for every other path."""
        if path in _ROUTES:
            return list(self._checks)
        about = _ROUTE_OF_A_MODEL.fullmatch(path)
        return [about["name"]] if about and about["name"] in self._checks else None
