"""Around an application: who may give it work, and when."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.requests import Request

from ovembed.errors import OvembedError, ShuttingDown

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from ovembed.http.keys import KeyFile

# They tell about the server (health, metrics, models), and give nobody work.
_OPEN_METHODS = {"GET", "HEAD"}

# For the rest of a body that nobody wants.
_HEARING_S = 5.0


class Traffic:
    """Requests at work, and whether the server is to end after them."""

    def __init__(self, *, draining: bool = False) -> None:
        self.running = 0
        self.draining = draining

    def check(self) -> None:
        """Raises ShuttingDown while draining."""
        if self.draining:
            raise ShuttingDown()


class Guards:
    """Lets requests for work in that have a key, unless the server drains, and counts them while they run.

    `render` makes the reply to a refusal: what clients of the request's path expect.
    """

    def __init__(
        self,
        app: ASGIApp,
        traffic: Traffic,
        keys: KeyFile | None = None,
        *,
        render: Callable[[Request, OvembedError], Response],
    ) -> None:
        self._app = app
        self._render = render
        self._traffic = traffic
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reply = _Reply(send, self._traffic)
        if scope["method"] in _OPEN_METHODS:
            await self._app(scope, receive, reply.send)
            return
        try:
            await self._admit(scope, receive)
            await self._run(scope, receive, reply)
        except OvembedError as error:
            await self._render(Request(scope), error)(scope, receive, reply.send)

    async def _admit(self, scope: Scope, receive: Receive) -> None:
        try:
            if self._keys is not None:
                self._keys.check(scope)
            self._traffic.check()
        except OvembedError:
            if self._traffic.draining:
                await _hear_out(scope, receive)
            raise

    async def _run(self, scope: Scope, receive: Receive, reply: _Reply) -> None:
        """Raises ShuttingDown for a request that is cut off, at the end of the grace, before its reply began."""
        self._traffic.running += 1
        try:
            await self._app(scope, receive, reply.send)
        except asyncio.CancelledError as error:
            if not reply.began:
                raise ShuttingDown() from error
        finally:
            self._traffic.running -= 1


class _Reply:
    """While the server drains, it keeps no connection: the next request on it could not be answered."""

    def __init__(self, send: Send, traffic: Traffic) -> None:
        self._send = send
        self._traffic = traffic
        self.began = False

    async def send(self, message: Message) -> None:
        self.began = True
        if self._traffic.draining and message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
        await self._send(message)


async def _hear_out(scope: Scope, receive: Receive) -> None:
    """Let the body come, of a request that is refused on a connection that ends with the reply: a connection closed
    with something unread takes the reply with it.
    """
    if "expect" in Headers(scope=scope):  # it waits for leave to send the body
        return
    with contextlib.suppress(TimeoutError, asyncio.CancelledError):  # cancelled at the end of the grace
        async with asyncio.timeout(_HEARING_S):
            while (await receive()).get("more_body", False):
                pass
