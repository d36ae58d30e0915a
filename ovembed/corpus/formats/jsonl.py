"""JSONL: an object a line with index, text, source, space and embedding, so that every line stands for itself."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from ovembed.corpus import precision
from ovembed.corpus.formats.json import finite_or_not, put
from ovembed.corpus.lines import LineRows, Lines
from ovembed.corpus.rows import Space
from ovembed.corpus.stored import BLOCK_ROWS, StoredVectors, reading

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ovembed.corpus.precision import Codes
    from ovembed.corpus.rows import Row


def write(stored: StoredVectors, path: Path) -> None:
    start = 0
    with path.open("wb") as file:
        for rows, codes in stored.parts():
            file.writelines(row_lines(rows, codes, start, stored.space))
            start += len(rows)


def row_lines(rows: Sequence[Row], codes: Codes, start: int, space: Space) -> Iterator[bytes]:
    """A line for each row; `start` is the index of the first."""
    told = {name: value for name, value in space.to_json().items() if name != "dimensions"}
    for index, (row, code) in enumerate(zip(rows, codes, strict=True), start=start):
        line = {"index": index, **row.to_json(), **told, "embedding": code}
        yield orjson.dumps(line, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE)


def read(path: Path) -> StoredVectors:
    """The vectors come in order, the rows from anywhere. Lines of other programs do: they need `embedding` alone."""
    with reading(path):
        lines = Lines(path)
        space = _space(lines.object(0))
        return StoredVectors(space, partial(_codes, path, lines, space), LineRows(lines))


def _codes(path: Path, lines: Lines, space: Space) -> Iterator[Codes]:
    with reading(path):
        for start in range(0, len(lines), BLOCK_ROWS):
            yield _block(lines, range(start, min(start + BLOCK_ROWS, len(lines))), space)


def _block(lines: Lines, positions: range, space: Space) -> Codes:
    codes = np.empty((len(positions), precision.width(space)), dtype=precision.dtype(space.precision))
    told = _told(lines.object(0))
    with finite_or_not():
        for place, position in enumerate(positions):
            values = lines.object(position)
            put(codes, place, values, f"line {position + 1}")
            if _told(values) != told and _space(values) != space:  # the quick look does for nearly all
                raise ValueError(f"line {position + 1} is of another space than line 1")
    return codes


def _told(line: dict[str, Any]) -> tuple[object, ...]:
    """What a line says of its space, beside the dimensions."""
    return tuple(map(line.get, ("model", "fingerprint", "precision", "limit", "prompt")))


def _space(line: dict[str, Any]) -> Space:
    embedding = line.get("embedding")
    if not isinstance(embedding, list):
        raise TypeError("line 1 has no embedding")  # the others are told by `put`
    dimensions = len(embedding) * 8 if line.get("precision") == "binary" else len(embedding)
    return Space.from_json({"model": "", "dimensions": dimensions} | line)
