"""What it means when an endpoint answers with something else than vectors.

Statuses and texts: OpenAI's errors of ovembed, OVMS's `src/status.cpp` and calculators, `router/src/http` of TEI, and
what FastAPI (Infinity, vLLM) says of a body that it refuses.
"""

from __future__ import annotations

import re
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import httpx

from ovembed import wire
from ovembed.errors import EndpointBusy, EndpointError, TextError, TextTooLong

if TYPE_CHECKING:
    from ovembed.wire import ErrorReply

# A route that a server does not have: 404 by most, 400 by OVMS, 405 by some gateways.
NOT_OFFERED = {400, 404, 405}

_MAY_PASS = {408, 425, 429, 502, 503}
_KEY_REFUSED = {401, 403}
# The request was too large for the server, took it too long, or holds a text that it does not take.
_PERHAPS_TOO_LARGE = {400, 413, 422, 504}

_INPUT_POSITION = re.compile(r"input\[(\d+)\]")
_OVMS_RELOADS = "Mediapipe is not loaded yet"
_OVMS_KEY = "Unauthorized request"
_OVMS_FAULT = "MP status - INTERNAL"
# OVMS, TEI, and vLLM after OpenAI: some of them say it of a whole request without telling which text it was.
_TOO_LONG = re.compile(
    r"Input length \d+ longer than allowed \d+|must have less than \d+ tokens|maximum context length is \d+"
)


class TooMuch(EndpointError):
    """The request may go through in parts; `too_large` if the answer blames its size and nothing else.

    For a single text, `text_error` is what is wrong with it, as far as the answer tells.
    """

    def __init__(self, message: str, *, too_large: bool, text_error: TextError | None) -> None:
        super().__init__(message)
        self.too_large = too_large
        self.text_error = text_error


def failure(response: httpx.Response, base: str) -> Exception:
    """The error for an answer that holds no vectors.

    TextError and TextTooLong where the answer names the text, EndpointBusy where it may be another time, TooMuch
    where less may be taken, else EndpointError.
    """
    reply = wire.parse_error(response.content)
    position = _INPUT_POSITION.fullmatch(reply.param or "")
    if position is not None:
        problem = reply.message.removeprefix(f"Input {position[1]}: ")
        kind = TextTooLong if reply.code == "context_length_exceeded" else TextError
        return kind(int(position[1]), problem)
    status = response.status_code
    message = f"{base} answered {status}: {reply.message or response.reason_phrase}"
    if status in _KEY_REFUSED or reply.message.startswith(_OVMS_KEY):
        return EndpointError(f"{message} Give a key with --api-key.")
    if status in _MAY_PASS or reply.message == _OVMS_RELOADS:
        return EndpointBusy(message, _retry_after_s(response))
    if status in _PERHAPS_TOO_LARGE and _OVMS_FAULT not in reply.message:
        return TooMuch(message, too_large=status == httpx.codes.REQUEST_ENTITY_TOO_LARGE, text_error=_blamed(reply))
    return EndpointError(message)


def _blamed(reply: ErrorReply) -> TextError | None:
    too_long = _TOO_LONG.search(reply.message)
    return None if too_long is None else TextTooLong(0, f"the server says: {reply.message[too_long.start() :]}")


def _retry_after_s(response: httpx.Response) -> float | None:
    """Retry-After in either of its forms, seconds or a date (RFC 9110, 10.2.3); None for none, or for nonsense."""
    value = response.headers.get("Retry-After", "")
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None
