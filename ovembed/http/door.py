"""Whether a listening socket lets connections in: closed, those that are in can still be accepted."""

from __future__ import annotations

import contextlib
import ctypes
import select
import socket
import struct

# Of asm-generic/socket.h; Python does not name them.
_ATTACH_FILTER = 26
_DETACH_FILTER = 27

# A classic BPF program, which sees a packet from its TCP header on: (operation, jump if true, jump if false, operand).
_DROP_BEGINNINGS = (
    (0x30, 0, 0, 13),  # load the byte of the flags
    (0x54, 0, 0, 0x12),  # of them, SYN and ACK
    (0x15, 0, 1, 0x02),  # SYN alone begins a connection:
    (0x06, 0, 0, 0),  # drop it
    (0x06, 0, 0, 0xFFFFFFFF),  # or else let it pass
)


def close(listener: socket.socket) -> None:
    """From now on no connection begins here, in whichever process the socket is open.

    A client's first packet goes unheard; it sends it again after a second, and by then reaches another socket of the
    port, or hears that there is none. A system without such filters goes on as it was.
    """
    packed = b"".join(struct.pack("HBBI", *step) for step in _DROP_BEGINNINGS)
    program = ctypes.create_string_buffer(packed, len(packed))
    with contextlib.suppress(OSError):
        listener.setsockopt(
            socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("HP", len(_DROP_BEGINNINGS), ctypes.addressof(program))
        )


def open_again(listener: socket.socket) -> None:
    """After another process that has closed it; it may never have been closed."""
    with contextlib.suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, _DETACH_FILTER, 0)


def has_waiting(listener: socket.socket) -> bool:
    """Whether there is a connection to be accepted; False of a socket that does not listen."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    return any(events & select.POLLIN for _, events in poll.poll(0))
