"""How long a request may take, and how long its client may keep its body back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ovembed.http import replies

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


class TimeLimits:
    """Ends requests whose time is up: 504, or 408 when it was the client that kept us waiting.

    To the application such a client is one that has left, so it drops what it still had to do for it.
    `request_s` is for a request in all, `body_s` for each wait for a further part of its body.
    """

    def __init__(self, app: ASGIApp, *, request_s: float, body_s: float) -> None:
        self._app = app
        self._request_s = request_s
        self._body_s = body_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = _Exchange(receive, send, self._request_s, self._body_s)
        await self._app(scope, exchange.receive, exchange.send)
        if exchange.cut_off:
            await self._reply(body_complete=exchange.body_complete)(scope, receive, send)

    def _reply(self, *, body_complete: bool) -> Response:
        if body_complete:
            return replies.problem(
                504,
                f"The request took longer than {self._request_s:g} s. Send less at once, or try again later.",
                kind="server_error",
                code="timeout",
            )
        return replies.problem(
            408,
            f"The body did not arrive in time (--body-timeout {self._body_s:g}, --timeout {self._request_s:g}).",
            kind="invalid_request_error",
            code="request_timeout",
            headers={"Connection": "close"},
        )


class _Exchange:
    """One request and its reply, watched."""

    def __init__(self, receive: Receive, send: Send, request_s: float, body_s: float) -> None:
        self._receive = receive
        self._send = send
        self._clock = asyncio.get_running_loop().time
        self._deadline = self._clock() + request_s
        self._body_s = body_s
        self._time_is_up = False
        self._replied = False
        self.body_complete = False

    @property
    def cut_off(self) -> bool:
        """The time was up before a reply began."""
        return self._time_is_up and not self._replied

    async def receive(self) -> Message:
        if self._time_is_up:
            return {"type": "http.disconnect"}
        until = self._deadline if self.body_complete else min(self._deadline, self._clock() + self._body_s)
        try:
            async with asyncio.timeout_at(until):
                message = await self._receive()
        except TimeoutError:
            self._time_is_up = True
            return {"type": "http.disconnect"}
        if message["type"] == "http.request" and not message.get("more_body", False):
            self.body_complete = True
        return message

    async def send(self, message: Message) -> None:
        """What the application says to a client whose time was up is not passed on."""
        if not self.cut_off:
            self._replied = True
            await self._send(message)
