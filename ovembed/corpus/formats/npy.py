"""NPY: the codes alone, C order, (n, width); beside them `.meta.jsonl` with the space, then a line for each row.

Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import math
import os
import tokenize
from typing import IO, TYPE_CHECKING

import numpy as np
import orjson

from ovembed.corpus import precision
from ovembed.corpus.lines import LineRows, Lines
from ovembed.corpus.rows import Space
from ovembed.corpus.stored import StoredVectors, reading

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ovembed.corpus.precision import Codes
    from ovembed.corpus.rows import Row


def meta_path(path: Path) -> Path:
    return path.with_suffix(".meta.jsonl")


def write(stored: StoredVectors, path: Path) -> None:
    with path.open("wb") as vectors, meta_path(path).open("wb") as meta:
        write_header(vectors, stored.space, len(stored))
        meta.write(meta_head(stored.space))
        start = 0
        for rows, codes in stored.parts():
            vectors.write(codes.tobytes())
            meta.writelines(meta_lines(rows, start))
            start += len(rows)


def read(path: Path) -> StoredVectors:
    """The vectors are a memory map of the file."""
    with reading(path), path.open("rb") as file:
        codes = mapped(path, file, os.fstat(file.fileno()).st_size)
        return with_meta(codes, Lines(meta_path(path)))


def mapped(path: Path, file: IO[bytes], stop: int) -> Codes:
    """The array that begins where the file is read and ends before `stop`. Raises ValueError when it is cut off."""
    np.lib.format.read_magic(file)
    try:
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
    except tokenize.TokenError as error:  # of numpy's second look, for what Python 2 wrote
        raise ValueError("its header describes no array") from error
    start = file.tell()
    if dtype.hasobject:
        raise ValueError("its array holds objects, not numbers")
    if math.prod(shape) * dtype.itemsize > stop - start:
        held = (stop - start) // (math.prod(shape[1:]) * dtype.itemsize)
        raise ValueError(f"it ends after {held} of {shape[0]} vectors")
    return np.memmap(path, dtype, "r", start, shape, order="F" if fortran_order else "C")


def write_header(stream: IO[bytes], space: Space, rows: int) -> None:
    """Of the same length for any number of rows, so that it can be replaced: numpy pads for 20 digits."""
    descr = precision.dtype(space.precision).str
    header = {"descr": descr, "fortran_order": False, "shape": (rows, precision.width(space))}
    np.lib.format.write_array_header_1_0(stream, header)


def meta_head(space: Space) -> bytes:
    return orjson.dumps(space.to_json(), option=orjson.OPT_APPEND_NEWLINE)


def meta_lines(rows: Sequence[Row], start: int) -> Iterator[bytes]:
    """A line for each row; `start` is the index of the first."""
    for index, row in enumerate(rows, start=start):
        yield orjson.dumps({"index": index, **row.to_json()}, option=orjson.OPT_APPEND_NEWLINE)


def with_meta(codes: Codes, lines: Lines) -> StoredVectors:
    """Codes, and the lines that belong to them. Raises ValueError when these are of other vectors."""
    with reading(lines.path):
        space = Space.from_json(lines.object(0))
    rows = LineRows(lines, skip=1)
    width, dtype = precision.width(space), precision.dtype(space.precision)
    if (codes.shape, codes.dtype) != ((len(rows), width), dtype):
        raise ValueError(
            f"its array is {codes.dtype} {codes.shape}, where its lines tell of {dtype} {(len(rows), width)}"
        )
    return StoredVectors(space, codes, rows)
