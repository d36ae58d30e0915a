"""Every request has an id, is counted, and is logged: never its text, its key or its query."""

from __future__ import annotations

import logging
import re
import time
import uuid
from typing import TYPE_CHECKING

from starlette.datastructures import Headers

from ovembed.server import logs

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from ovembed.server.metrics import Metrics

_LOG = logging.getLogger(__name__)

REQUEST_ID = "X-Request-ID"
_UNFIT_FOR_IDS = re.compile(r"[^A-Za-z0-9._:/+=@-]")
_LONGEST_ID = 128
_LONGEST_PATH = 200
_NO_REPLY = 499  # what nginx logs of a client that left


class Observed:
    """Around everything else, so that refusals are seen as well.

    The application may put the name of the model it chose into `request.state.model`; it finds the request's id
    in `request.state.request_id`.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        status = _NO_REPLY

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message["headers"], (REQUEST_ID.lower().encode(), request_id.encode())]
                message = {**message, "headers": headers}
            await send(message)

        self._metrics.request_began()
        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            _LOG.exception("Request %s failed. This is a bug.", request_id)
            if status == _NO_REPLY:
                raise
        finally:
            self._account(scope, request_id, status, time.perf_counter() - began)

    def _account(self, scope: Scope, request_id: str, status: int, took_s: float) -> None:
        model = scope["state"].get("model", "")
        self._metrics.request_ended(
            route=getattr(scope.get("route"), "path", ""),
            model=model,
            status=status,
            took_s=took_s,
            asked_for_work=scope["method"] not in ("GET", "HEAD"),
        )
        logs.access(
            method=scope["method"],
            path=_loggable_path(scope),
            status=status,
            took_s=took_s,
            model=model,
            client=(scope.get("client") or ("",))[0],
            request_id=request_id,
        )


def _request_id(scope: Scope) -> str:
    """The client's own, without what could break a log line or a header; one of ours where nothing is left of it."""
    claimed = Headers(scope=scope).get(REQUEST_ID, "")
    return _UNFIT_FOR_IDS.sub("", claimed)[:_LONGEST_ID] or uuid.uuid4().hex


def _loggable_path(scope: Scope) -> str:
    """As it was sent, so percent-encoded: it cannot break the line."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode("unicode_escape")
    return raw.decode("ascii", "backslashreplace")[:_LONGEST_PATH]
