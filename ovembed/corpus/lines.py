"""Rows kept as JSON lines, found by position without reading the file into memory."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from ovembed.corpus.positions import Positions
from ovembed.corpus.rows import Row
from ovembed.corpus.stored import reading

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_SCAN_BYTES = 16 * 1024 * 1024
_LINE_FEED = ord("\n")


class Lines(Positions[bytes]):
    """The lines of a file, or of its bytes from `start` to `stop`, without their ends.

    path: the file, for messages.
    """

    def __init__(self, path: Path, start: int = 0, stop: int | None = None) -> None:
        self.path = path
        with path.open("rb") as file:
            file.seek(0, 2)
            size = file.tell() if stop is None else stop
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
        self._starts = _starts(self._map, start, size)

    def __len__(self) -> int:
        return len(self._starts) - 1

    def at(self, position: int) -> bytes:
        return self._whole(position).rstrip(b"\r\n")

    def object(self, position: int) -> dict[str, Any]:
        """The JSON object in a line.

        Raises ValueError or TypeError, with the number of the line from 1 on, when there is none.
        """
        if position >= len(self):
            raise ValueError(f"line {position + 1} is missing")
        line = self._whole(position)
        try:
            found = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            if not line.endswith(b"\n"):
                raise ValueError(f"it ends in the middle of line {position + 1}") from error
            raise ValueError(f"line {position + 1}, column {error.colno}: {error.msg}") from error
        if not isinstance(found, dict):
            raise TypeError(f"line {position + 1} is no JSON object")
        return found

    def _whole(self, position: int) -> bytes:
        return self._map[self._starts[position] : self._starts[position + 1]]


class LineRows(Positions[Row]):
    """A row in each line after the first `skip`."""

    def __init__(self, lines: Lines, skip: int = 0) -> None:
        self._lines = lines
        self._skip = skip

    def __len__(self) -> int:
        return len(self._lines) - self._skip

    def at(self, position: int) -> Row:
        number = self._skip + position
        with reading(self._lines.path):
            found = self._lines.object(number)
            try:
                return Row.from_json(found)
            except (ValueError, TypeError) as error:
                raise ValueError(f"line {number + 1} tells of no row: {error}") from error


def _starts(content: mmap.mmap | bytes, start: int, stop: int) -> NDArray[np.int64]:
    """Where each line begins, and where the last one ends."""
    ends = [np.array([start], dtype=np.int64)]
    for position in range(start, stop, _SCAN_BYTES):
        block = np.frombuffer(content[position : min(position + _SCAN_BYTES, stop)], dtype=np.uint8)
        ends.append(np.flatnonzero(block == _LINE_FEED) + position + 1)
    starts = np.concatenate(ends)
    return starts if starts[-1] == stop else np.append(starts, stop)
