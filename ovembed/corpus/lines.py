"""Rows kept as JSON lines, found by position without reading the file into memory."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING

import numpy as np
import orjson

from ovembed.corpus.positions import Positions
from ovembed.corpus.rows import Row

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_SCAN_BYTES = 16 * 1024 * 1024
_LINE_FEED = ord("\n")


class Lines(Positions[bytes]):
    """The lines of a file, or of its bytes from `start` to `stop`, without their ends."""

    def __init__(self, path: Path, start: int = 0, stop: int | None = None) -> None:
        with path.open("rb") as file:
            file.seek(0, 2)
            size = file.tell() if stop is None else stop
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
        self._starts = _starts(self._map, start, size)

    def __len__(self) -> int:
        return len(self._starts) - 1

    def at(self, position: int) -> bytes:
        return self._map[self._starts[position] : self._starts[position + 1]].rstrip(b"\r\n")


class LineRows(Positions[Row]):
    """A row in each line after the first `skip`."""

    def __init__(self, lines: Lines, skip: int = 0) -> None:
        self._lines = lines
        self._skip = skip

    def __len__(self) -> int:
        return len(self._lines) - self._skip

    def at(self, position: int) -> Row:
        return Row.from_json(orjson.loads(self._lines.at(self._skip + position)))


def _starts(content: mmap.mmap | bytes, start: int, stop: int) -> NDArray[np.int64]:
    """Where each line begins, and where the last one ends."""
    ends = [np.array([start], dtype=np.int64)]
    for position in range(start, stop, _SCAN_BYTES):
        block = np.frombuffer(content[position : min(position + _SCAN_BYTES, stop)], dtype=np.uint8)
        ends.append(np.flatnonzero(block == _LINE_FEED) + position + 1)
    starts = np.concatenate(ends)
    return starts if starts[-1] == stop else np.append(starts, stop)
