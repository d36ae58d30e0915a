"""Answers that come from around the application: OpenAI's error object, whatever the route."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response

from ovembed import wire

if TYPE_CHECKING:
    from collections.abc import Mapping


def problem(status: int, message: str, *, kind: str, code: str, headers: Mapping[str, str] | None = None) -> Response:
    body = wire.render_error(message, kind=kind, code=code)
    return Response(body, status_code=status, headers=headers, media_type="application/json")


def unavailable(message: str, code: str) -> Response:
    """503, with a time to come back; an error whose cause may be over by then."""
    return problem(503, message, kind="server_error", code=code, headers={"Retry-After": "1"})
