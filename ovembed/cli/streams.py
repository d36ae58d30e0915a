"""stdin, stdout and stderr as the program finds them: closed, on a full disk, or with nobody at the other end."""

from __future__ import annotations

import contextlib
import io
import os
import sys


def mend() -> None:
    """What was closed leads nowhere, and what cannot be said on stderr is lost, while the work goes on. What stdout's
    encoding does not know is written as its number.

    A stream that somebody has put in place of the process's own stays.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(_nowhere(), mode, encoding="utf-8", errors="backslashreplace"))
    if sys.stderr is sys.__stderr__ and isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr = _Stderr(sys.stderr.detach(), encoding="utf-8", errors="backslashreplace", line_buffering=True)
    if sys.stdout is sys.__stdout__ and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _nowhere() -> int:
    """In place of a stream, for the processes that we start too: else the next file that is opened would take its
    number, and be written to.
    """
    number = os.open(os.devnull, os.O_RDWR)
    os.set_inheritable(number, True)
    return number


class _Stderr(io.TextIOWrapper):
    def write(self, text: str, /) -> int:
        with contextlib.suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            super().flush()
