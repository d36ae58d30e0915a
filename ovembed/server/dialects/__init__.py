"""The protocols that this server speaks, one module each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from ovembed.server.exchange import Exchange
    from ovembed.server.openapi import Described


class Dialect(Protocol):
    """A module that answers on paths of its own, in the words that its clients expect."""

    def owns(self, path: str, /) -> bool:
        """Whether what goes wrong at this path is told in this dialect."""

    def routes(self, exchange: Exchange, /) -> list[Described]: ...

    def render(self, request: Request, error: Exception, /) -> Response:
        """Any error: one of ours, starlette's HTTPException where there is no such route, or a bug."""
