"""Every request has an id, is counted, and is logged: never its text, its key or its query."""

from __future__ import annotations

import logging
import re
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from starlette.datastructures import Headers

from ovembed.http import logs
from ovembed.http.replies import CLIENT_LEFT

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LOG = logging.getLogger(__name__)

REQUEST_ID = "X-Request-ID"
_UNFIT_FOR_IDS = re.compile(r"[^A-Za-z0-9._:/+=@-]")
_LONGEST_ID = 128
_LONGEST_PATH = 200


@dataclass(frozen=True, slots=True)
class RequestReport:
    """A request that has ended; `status` 499 when its client left before a reply.

    `route` is a pattern of the application's, `model` one that it chose; both empty where there is none. The sizes
    are those that the headers of request and reply state, 0 where they state none. `error` is what the reply tells of.
    """

    method: str
    route: str
    model: str
    status: int
    took_s: float
    request_bytes: int
    reply_bytes: int
    error: Exception | None

    @property
    def asked_for_work(self) -> bool:
        return self.method not in ("GET", "HEAD")


class RequestObserver(Protocol):
    """Told of every request when it begins and when it has ended."""

    def request_began(self) -> None: ...

    def request_ended(self, request: RequestReport, /) -> None: ...


class Observed:
    """Around everything else, so that refusals are seen as well.

    The application may put the name of the model it chose into `request.state.model`, and the error it answers with
    into `request.state.error`; it finds the request's id in `request.state.request_id`.
    """

    def __init__(self, app: ASGIApp, observer: RequestObserver) -> None:
        self._app = app
        self._observer = observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        status, reply_bytes = CLIENT_LEFT, 0

        async def send_with_id(message: Message) -> None:
            nonlocal status, reply_bytes
            if message["type"] == "http.response.start":
                status, reply_bytes = message["status"], _stated_bytes(Headers(raw=message["headers"]))
                headers = [*message["headers"], (REQUEST_ID.lower().encode(), request_id.encode())]
                message = {**message, "headers": headers}
            await send(message)

        self._observer.request_began()
        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            _LOG.exception("Request %s failed. This is a bug.", request_id)
            if status == CLIENT_LEFT:
                raise
        finally:
            report = RequestReport(
                method=scope["method"],
                route=getattr(scope.get("route"), "path", ""),
                model=scope["state"].get("model", ""),
                status=status,
                took_s=time.perf_counter() - began,
                request_bytes=_stated_bytes(Headers(scope=scope)),
                reply_bytes=reply_bytes,
                error=scope["state"].get("error"),
            )
            self._observer.request_ended(report)
            _log(report, scope, request_id)


def _log(report: RequestReport, scope: Scope, request_id: str) -> None:
    logs.access(
        method=report.method,
        path=_loggable_path(scope),
        status=report.status,
        took_s=report.took_s,
        model=report.model,
        client=(scope.get("client") or ("",))[0],
        request_id=request_id,
    )


def _stated_bytes(headers: Headers) -> int:
    stated = headers.get("content-length", "")
    return int(stated) if stated.isdecimal() else 0


def _request_id(scope: Scope) -> str:
    """The client's own, without what could break a log line or a header; one of ours where nothing is left of it."""
    claimed = Headers(scope=scope).get(REQUEST_ID, "")
    return _UNFIT_FOR_IDS.sub("", claimed)[:_LONGEST_ID] or secrets.token_hex(16)


def _loggable_path(scope: Scope) -> str:
    """As it was sent, so percent-encoded: it cannot break the line."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode("unicode_escape")
    return raw.decode("ascii", "backslashreplace")[:_LONGEST_PATH]
