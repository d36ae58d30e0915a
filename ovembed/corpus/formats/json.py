"""JSON: one object with model, dimensions, fingerprint, data (index, text, …, embedding) and usage."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

import numpy as np
import orjson

from ovembed.corpus import precision
from ovembed.corpus.rows import Row, Space
from ovembed.corpus.stored import StoredVectors, reading

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ovembed.corpus.precision import Codes


class JsonStream:
    """The object, written as its rows come."""

    def __init__(self, stream: IO[bytes], space: Space) -> None:
        self._stream = stream
        self._rows = 0
        head = {"model": space.model, "dimensions": space.dimensions, "fingerprint": space.fingerprint}
        stream.write(orjson.dumps(head | space.to_json()).removesuffix(b"}") + b',"data":[')

    def write(self, rows: Sequence[Row], codes: Codes) -> None:
        for row, code in zip(rows, codes, strict=True):
            line = {"index": self._rows, **row.to_json(), "embedding": code}
            self._stream.write(
                (b",\n" if self._rows else b"\n") + orjson.dumps(line, option=orjson.OPT_SERIALIZE_NUMPY)
            )
            self._rows += 1

    def finish(self, total_tokens: int | None) -> None:
        usage = orjson.dumps({"prompt_tokens": total_tokens, "total_tokens": total_tokens})
        self._stream.write(b'\n],"usage":' + usage + b"}\n")


def write(stored: StoredVectors, path: Path) -> None:
    with path.open("wb") as file:
        stream = JsonStream(file, stored.space)
        for rows, codes in stored.parts():
            stream.write(rows, codes)
        stream.finish(stored.total_tokens)


def read(path: Path) -> StoredVectors:
    """All of it is in memory: the format is for small outputs."""
    with reading(path):
        whole = _parsed(path.read_bytes())
        space = Space.from_json(whole)
        found = whole["data"]
        codes = np.empty((len(found), precision.width(space)), dtype=precision.dtype(space.precision))
        with finite_or_not():
            for position, row in enumerate(found):
                put(codes, position, row, f"data[{position}]")
        return StoredVectors(space, codes, [*map(Row.from_json, found)], whole["usage"]["total_tokens"])


def finite_or_not() -> np.errstate:
    """What is too large for its type becomes infinite without a word: the search tells of it."""
    return np.errstate(over="ignore")


def put(codes: Codes, position: int, row: object, place: str) -> None:
    """The embedding of a JSON object into a row of codes. Raises ValueError, naming the place, when it does not fit."""
    embedding = row.get("embedding") if isinstance(row, dict) else None
    try:
        if not isinstance(embedding, list) or len(embedding) != codes.shape[1]:
            raise ValueError  # noqa: TRY301  as what does not fit raises
        codes[position] = embedding
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{place} has no embedding of {codes.shape[1]} {codes.dtype} numbers") from error


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(content)
    except orjson.JSONDecodeError:
        content.decode()  # tells where it is no UTF-8, which orjson does not
        raise
    if not isinstance(found, dict):
        raise TypeError("it is no JSON object")
    return found
