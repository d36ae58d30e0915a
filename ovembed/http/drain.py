"""The end of a server: what runs is finished, nothing more is taken."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ovembed.http import replies

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_UNCOUNTED_METHODS = {"GET", "HEAD"}


class Traffic:
    """Requests at work, and whether the server is to end after them."""

    def __init__(self) -> None:
        self.running = 0
        self.draining = False


class Drain:
    """Counts the requests that give work; 503 to new ones while draining, and to those cut off in the end."""

    def __init__(self, app: ASGIApp, traffic: Traffic) -> None:
        self._app = app
        self._traffic = traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] in _UNCOUNTED_METHODS:
            await self._app(scope, receive, send)
        elif self._traffic.draining:
            await _refuse(scope, receive, send)
        else:
            self._traffic.running += 1
            try:
                await self._run(scope, receive, send)
            finally:
                self._traffic.running -= 1

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        replied = False

        async def watched_send(message: Message) -> None:
            nonlocal replied
            replied = True
            await send(message)

        try:
            await self._app(scope, receive, watched_send)
        except asyncio.CancelledError:  # the grace is over
            if not replied:
                await _refuse(scope, receive, send)


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    await replies.unavailable("The server is shutting down.", "shutting_down")(scope, receive, send)
