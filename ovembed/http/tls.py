"""The certificate of a server that speaks TLS."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ovembed.errors import InputError
from ovembed.repository.files import stamp

if TYPE_CHECKING:
    from pathlib import Path

    from ovembed.repository.files import Stamp

_LOG = logging.getLogger(__name__)

_POLL_S = 1.0


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files; `key` None when the certificate's file holds the key as well."""

    cert: Path
    key: Path | None = None

    def check(self) -> None:
        """Raises InputError when they cannot be used."""
        self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))

    async def follow(self, context: ssl.SSLContext) -> None:
        """Connections get the certificate as it is when they begin, until cancelled; one that cannot be used is told of
        once, and the one before goes on.
        """
        known, told = self._stamps(), ""
        while True:
            await asyncio.sleep(_POLL_S)
            found = self._stamps()
            if found == known:
                continue
            try:
                self.check()  # a pair that does not go together would leave a context without either
                self._load(context)
            except InputError as error:
                if str(error) != told:
                    _LOG.warning("%s The certificate known before still counts.", error)
                told = str(error)
            else:
                _LOG.info("%s has changed: new connections get the certificate as it is now.", self.cert)
                known, told = found, ""

    def _stamps(self) -> tuple[Stamp | None, ...]:
        return tuple(stamp(path) for path in (self.cert, self.key) if path is not None)

    def _load(self, context: ssl.SSLContext) -> None:
        """Raises InputError."""
        files = f"{self.cert} and {self.key}" if self.key else str(self.cert)

        def ask_nobody() -> str:
            raise InputError(f"{files} cannot be used for TLS: the key is encrypted. Decrypt it: openssl pkey -in FILE")

        try:
            context.load_cert_chain(self.cert, self.key, password=ask_nobody)
        except OSError as error:
            raise InputError(
                f"{files} cannot be used for TLS ({_tls_problem(error)}). Check --tls-cert and --tls-key."
            ) from error


def _tls_problem(error: OSError) -> str:
    """In words of ours where OpenSSL has none but its own names."""
    if not isinstance(error, ssl.SSLError):
        return os.strerror(error.errno or 0)
    if error.reason == "KEY_VALUES_MISMATCH":
        return "the key is not that of the certificate"
    return "they do not hold a certificate and its key, in PEM"
