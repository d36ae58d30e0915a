"""Bearer keys: who may ask for work."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from starlette.datastructures import Headers

from ovembed.errors import Unauthorized
from ovembed.http.key_file import read_keys
from ovembed.http.watched import Watched

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.types import Scope


class KeyFile:
    """The keys of a file, which is read again when it has changed. They are kept as their SHA-256 only."""

    def __init__(self, path: Path) -> None:
        """Raises InputError, naming the file, when it cannot be read or holds no key."""
        self._path = path
        self._file = Watched(path, read=self._read, meanwhile="The keys known before still count.")
        self._read()

    def check(self, scope: Scope) -> None:
        """Raises Unauthorized for a request without one of the keys."""
        if not self.allows(_bearer_key(scope)):
            raise Unauthorized("A valid key is needed. Send it as 'Authorization: Bearer KEY'.")

    def allows(self, key: bytes) -> bool:
        """Takes as long for a wrong key as for a right one, and compares with all of them."""
        self._file.refresh()
        digest = hashlib.sha256(key).digest()
        return sum(hmac.compare_digest(digest, known) for known in self._digests) > 0

    def _read(self) -> None:
        self._digests = tuple(hashlib.sha256(key).digest() for key in read_keys(self._path))


def _bearer_key(scope: Scope) -> bytes:
    """Empty, which is nobody's key, where there is none."""
    scheme, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
    return key.strip().encode("latin-1") if scheme.lower() == "bearer" else b""
