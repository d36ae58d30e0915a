"""A stream that is read as it is written, like the end of a log or what somebody types."""

from __future__ import annotations

import io
import os
import select
import threading
import time
from queue import Queue
from typing import TYPE_CHECKING, BinaryIO, TypeVar, cast

from ovembed.corpus.rows import Pause

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Made = TypeVar("Made")

# Between a text and its row, beside the work; a stream that never stops for so long is as good as a file.
PATIENCE_S = 0.2
_AHEAD = 64


def with_pauses(stream: BinaryIO, read: Callable[[BinaryIO], Iterator[Made]]) -> Iterator[Made | Pause]:
    """What `read` makes of the stream, and a Pause where it was kept waiting for PATIENCE_S since the one before.

    The stream is read by a thread, and by its file descriptor; one that has none has no pauses either. Whoever ends
    early waits for nothing.
    """
    try:
        number = stream.fileno()
    except OSError:
        yield from read(stream)
        return
    found: Queue[Made | Pause | _End] = Queue(_AHEAD)
    watched = _Watched(number, lambda: found.put(Pause()))

    def feed() -> None:
        try:
            for made in read(cast("BinaryIO", io.BufferedReader(watched))):
                found.put(made)
            found.put(_End())
        except BaseException as error:  # noqa: BLE001  raised where its turn comes
            found.put(_End(error))

    # A daemon, and not by Python's own stdin, which it would hold locked: neither may keep the program from its end.
    threading.Thread(target=feed, name="stdin", daemon=True).start()
    while not isinstance(each := found.get(), _End):
        yield each
    if each.error is not None:
        raise each.error


class _End:
    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class _Watched(io.RawIOBase):
    """Reads a file descriptor, and tells before a read for which patience has run out."""

    def __init__(self, number: int, on_pause: Callable[[], None]) -> None:
        self._number = number
        self._on_pause = on_pause
        self._patience_s = PATIENCE_S

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        began = time.monotonic()
        if select.select([self._number], [], [], max(0.0, self._patience_s))[0]:
            self._patience_s -= time.monotonic() - began
        else:
            self._on_pause()
            self._patience_s = PATIENCE_S
        return os.readv(self._number, [buffer])
