"""Bearer keys: who may ask for work."""

from __future__ import annotations

import hashlib
import hmac
import logging
from typing import TYPE_CHECKING

from starlette.datastructures import Headers

from ovembed.errors import InputError, Unauthorized
from ovembed.http.key_file import read_keys
from ovembed.repository.files import stamp

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.types import Scope

_LOG = logging.getLogger(__name__)


class KeyFile:
    """The keys of a file, which is read again when it has changed.

    While it cannot be read, or holds no key, the keys known before go on to count: a file that is being
    replaced must not lock everybody out. Keys are kept as their SHA-256 only.
    """

    def __init__(self, path: Path) -> None:
        """Raises InputError, naming the file, when it cannot be read or holds no key."""
        self._path = path
        self._stamp = stamp(path)
        self._digests = self._read_digests()
        self._told = ""

    def check(self, scope: Scope) -> None:
        """Raises Unauthorized for a request without one of the keys."""
        if not self.allows(_bearer_key(scope)):
            raise Unauthorized("A valid key is needed. Send it as 'Authorization: Bearer KEY'.")

    def allows(self, key: bytes) -> bool:
        """Takes as long for a wrong key as for a right one, and compares with all of them."""
        self._refresh()
        digest = hashlib.sha256(key).digest()
        return sum(hmac.compare_digest(digest, known) for known in self._digests) > 0

    def _refresh(self) -> None:
        """A file that cannot be used is tried again each time, for it may become so unchanged; it is told of once."""
        found = stamp(self._path)
        if found == self._stamp:
            return
        try:
            self._digests = self._read_digests()
        except InputError as error:
            if str(error) != self._told:
                _LOG.warning("%s The keys known before still count.", error)
            self._told = str(error)
        else:
            self._stamp, self._told = found, ""

    def _read_digests(self) -> tuple[bytes, ...]:
        return tuple(hashlib.sha256(key).digest() for key in read_keys(self._path))


def _bearer_key(scope: Scope) -> bytes:
    """Empty, which is nobody's key, where there is none."""
    scheme, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
    return key.strip().encode("latin-1") if scheme.lower() == "bearer" else b""
