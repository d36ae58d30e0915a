"""The certificate of a server that speaks TLS."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ovembed.errors import InputError
from ovembed.http.certificate import expiry
from ovembed.http.watched import Watched

if TYPE_CHECKING:
    from pathlib import Path

_LOG = logging.getLogger(__name__)

_POLL_S = 1.0


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files; `key` None when the certificate's file holds the key as well."""

    cert: Path
    key: Path | None = None

    def check(self) -> None:
        """Raises InputError when they cannot be used; warns when the certificate has expired."""
        self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        ends = expiry(self.cert.read_bytes())
        if ends is not None and ends < datetime.now(UTC):
            _LOG.warning("%s expired on %s: clients refuse it. Renew it.", self.cert, f"{ends:%F, %H:%M} UTC")

    async def follow(self, context: ssl.SSLContext) -> None:
        """Connections get the certificate as it is when they begin, until cancelled; while it cannot be used, the one
        before goes on.
        """

        def read() -> None:
            self.check()  # a pair that does not go together would leave a context without either
            self._load(context)

        files = (self.cert, self.key) if self.key else (self.cert,)
        watched = Watched(*files, read=read, meanwhile="The certificate known before still counts.")
        while True:
            await asyncio.sleep(_POLL_S)
            if watched.refresh():
                _LOG.info("%s has changed: new connections get the certificate as it is now.", self.cert)

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
