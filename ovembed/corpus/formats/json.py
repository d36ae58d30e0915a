"""JSON: one object with model, dimensions, fingerprint, data (index, text, …, embedding) and usage."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

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
        whole = orjson.loads(path.read_bytes())
        space = Space.from_json(whole)
        codes = np.array([row["embedding"] for row in whole["data"]], dtype=precision.dtype(space.precision))
        return StoredVectors(
            space, codes, [Row.from_json(row) for row in whole["data"]], whole["usage"]["total_tokens"]
        )
