"""Requests to a server that stops, which wait at the port for a worker that has ended before it could accept them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import Request

from ovembed.errors import ShuttingDown
from ovembed.http import door
from ovembed.http.guards import Guards, Traffic
from ovembed.http.run import turn_away
from ovembed.server.app import error_response

if TYPE_CHECKING:
    import socket

    from starlette.types import Receive, Scope, Send

    from ovembed.server.settings import ServeSettings

_GRACE_S = 1.0  # beyond that of the server, which may be over


async def refuse(listener: socket.socket, settings: ServeSettings) -> None:
    """Tell them that the server is shutting down, and close the socket: whoever comes later finds nobody there."""
    door.close(listener)
    if door.has_waiting(listener):
        app = Guards(_tell, Traffic(draining=True), render=error_response)
        await turn_away(listener, app, grace_s=_GRACE_S, patience_s=settings.limits.body_s, tls=settings.tls)
    listener.close()


async def _tell(scope: Scope, receive: Receive, send: Send) -> None:
    await error_response(Request(scope), ShuttingDown())(scope, receive, send)
