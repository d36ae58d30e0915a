"""The socket a server listens on."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from typing import TYPE_CHECKING

from ovembed.errors import ServerError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ovembed.http.tls import Tls

_BACKLOG = 2048


@contextlib.contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens there; port 0 takes a free one. Raises ServerError when the address cannot be bound."""
    with _bound(host, port) as listener:
        with _listening(host, port):
            listener.listen(_BACKLOG)
        yield listener


@contextlib.contextmanager
def bound_together(host: str, port: int, count: int) -> Iterator[list[socket.socket]]:
    """Sockets that share the port, for processes to listen on: the kernel spreads connections evenly over them.

    As long as one of them is open here, connections wait for a process that has ended and will be back.
    """
    with _bound(host, port) as probe:  # a port that others share with themselves is in use all the same
        port = probe.getsockname()[1]
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(_bound(host, port, socket.SO_REUSEPORT)) for _ in range(count)]


def again(listener: socket.socket) -> socket.socket:
    """In place of one of several, which is closed; until it listens, connections go to the others."""
    renewed = socket.socket(listener.family, listener.type, listener.proto)
    renewed.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    renewed.bind(listener.getsockname())
    listener.close()
    return renewed


@contextlib.contextmanager
def _bound(host: str, port: int, option: int = socket.SO_REUSEADDR) -> Iterator[socket.socket]:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ServerError(f"'{host}' is no address of this machine ({error.strerror}). Check --host.") from error
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, option, 1)
        with _listening(host, port):
            listener.bind(address)
        yield listener


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ServerError(
                f"Port {port} on {host} is in use. Choose another with --port (0: a free one)."
            ) from error
        step = "Choose --port 1024 or above." if error.errno == errno.EACCES else "Check --host."
        reason = os.strerror(error.errno or 0)
        raise ServerError(f"Cannot listen on port {port} of {host} ({reason}). {step}") from error


def url_of(listener: socket.socket, tls: Tls | None = None) -> str:
    host, port = listener.getsockname()[:2]
    scheme = "https" if tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
