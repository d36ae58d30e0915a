"""The end of a server: what runs is finished, nothing more is taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ovembed.server import replies

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

_UNCOUNTED_METHODS = {"GET", "HEAD"}


class Traffic:
    """Requests at work, and whether the server is to end after them."""

    def __init__(self) -> None:
        self.running = 0
        self.draining = False


class Drain:
    """Counts the requests that give work, and refuses more of them while draining: 503."""

    def __init__(self, app: ASGIApp, traffic: Traffic) -> None:
        self._app = app
        self._traffic = traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] in _UNCOUNTED_METHODS:
            await self._app(scope, receive, send)
        elif self._traffic.draining:
            await replies.unavailable("The server is shutting down.", "shutting_down")(scope, receive, send)
        else:
            self._traffic.running += 1
            try:
                await self._app(scope, receive, send)
            finally:
                self._traffic.running -= 1
