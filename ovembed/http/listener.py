"""The socket a server listens on, and TLS on it."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ovembed.errors import InputError, ServerError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BACKLOG = 2048


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files; `key` None when the certificate's file holds the key as well."""

    cert: Path
    key: Path | None = None

    def check(self) -> None:
        """Raises InputError when they cannot be used."""
        try:
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(self.cert, self.key)
        except OSError as error:  # ssl.SSLError is one
            files = f"{self.cert} and {self.key}" if self.key else str(self.cert)
            reason = getattr(error, "reason", None) or error.strerror
            raise InputError(f"{files} cannot be used for TLS ({reason}). Check --tls-cert and --tls-key.") from error


@contextlib.contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens there; port 0 takes a free one. Raises ServerError when the address cannot be bound."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ServerError(f"'{host}' is no address of this machine ({error.strerror}). Check --host.") from error
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen(_BACKLOG)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise ServerError(
                    f"Port {port} on {host} is in use. Choose another with --port (0: a free one)."
                ) from error
            raise ServerError(f"Cannot listen on {host}:{port} ({os.strerror(error.errno or 0)}).") from error
        yield listener


def url_of(listener: socket.socket, tls: Tls | None = None) -> str:
    host, port = listener.getsockname()[:2]
    scheme = "https" if tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
