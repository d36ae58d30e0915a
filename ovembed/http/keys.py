"""Bearer keys out of a file: who may ask for work."""

from __future__ import annotations

import hashlib
import hmac
import logging
from typing import TYPE_CHECKING, TypeAlias

from starlette.datastructures import Headers

from ovembed.errors import InputError
from ovembed.http import replies

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

_LOG = logging.getLogger(__name__)

_Stamp: TypeAlias = tuple[int, int, int]

# They tell about the server (health, metrics, models), and give nobody work.
_OPEN_METHODS = {"GET", "HEAD"}


class KeyFile:
    """The keys of a file, one on each line; `#` begins a comment. The file is read again when it has changed.

    While it cannot be read, or holds no key, the keys known before go on to count: a file that is being
    replaced must not lock everybody out. Keys are kept as their SHA-256 only.
    """

    def __init__(self, path: Path) -> None:
        """Raises InputError, naming the file, when it cannot be read or holds no key."""
        self._path = path
        self._stamp = self._read_stamp()
        self._digests = self._read_digests()

    def allows(self, key: bytes) -> bool:
        """Takes as long for a wrong key as for a right one, and compares with all of them."""
        self._refresh()
        digest = hashlib.sha256(key).digest()
        return sum(hmac.compare_digest(digest, known) for known in self._digests) > 0

    def _refresh(self) -> None:
        try:
            stamp = self._read_stamp()
            if stamp == self._stamp:
                return
            self._stamp = stamp  # also of a file without keys: it is complained about once
            self._digests = self._read_digests()
        except InputError as error:
            _LOG.warning("%s The keys known before still count.", error)

    def _read_stamp(self) -> _Stamp | None:
        """Differs whenever the file has been written or replaced; None while it is not there."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _read_digests(self) -> tuple[bytes, ...]:
        try:
            lines = self._path.read_bytes().splitlines()
        except OSError as error:
            raise InputError(f"{self._path} cannot be read ({error.strerror}). Check --api-key-file.") from error
        digests = tuple(_digest(line, number, self._path) for number, line in enumerate(lines, 1) if _is_key(line))
        if not digests:
            raise InputError(f"{self._path} holds no key. Write one on each line.")
        return digests


def _is_key(line: bytes) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith(b"#")


def _digest(line: bytes, number: int, path: Path) -> bytes:
    key, *rest = line.split(maxsplit=1)
    if rest and not rest[0].startswith(b"#"):
        raise InputError(f"{path}, line {number} holds more than a key. Begin comments with #.")
    return hashlib.sha256(key).digest()


class RequireKey:
    """Lets only those in who have a key; what only tells about the server is open."""

    def __init__(self, app: ASGIApp, keys: KeyFile) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] in _OPEN_METHODS or self._keys.allows(_bearer_key(scope)):
            await self._app(scope, receive, send)
        else:
            await _unauthorized()(scope, receive, send)


def _unauthorized() -> Response:
    return replies.problem(
        401,
        "A valid key is needed. Send it as 'Authorization: Bearer KEY'.",
        kind="invalid_request_error",
        code="invalid_api_key",
        headers={"WWW-Authenticate": "Bearer"},
    )


def _bearer_key(scope: Scope) -> bytes:
    """Empty, which is nobody's key, where there is none."""
    scheme, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
    return key.strip().encode("latin-1") if scheme.lower() == "bearer" else b""
