"""A folder of Parquet parts, as many machines write them, with `manifest.json`, which is written last.

The manifest holds the space, and in the order of the input each part's file, the index of its first row and the number
of its rows. Every part is a whole Parquet output of its own.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import orjson

from ovembed.corpus.formats import parquet
from ovembed.corpus.rows import Row, Space
from ovembed.corpus.stored import StoredVectors, reading

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Part:
    """A file beside the manifest, and the rows in it; `first` counts from 0 through all parts."""

    file: str
    first: int
    rows: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a folder of parts holds. `tokens` and `truncated` are sums; `refused` texts have no row."""

    space: Space
    parts: tuple[Part, ...]
    tokens: int
    truncated: int
    refused: int

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.parts)

    def to_json(self) -> dict[str, Any]:
        sums = {"rows": self.rows, "tokens": self.tokens, "truncated": self.truncated, "refused": self.refused}
        return {"space": self.space.to_json(), **sums, "parts": [asdict(part) for part in self.parts]}


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Raises OSError as files do."""
    (folder / MANIFEST).write_bytes(orjson.dumps(manifest.to_json(), option=orjson.OPT_INDENT_2))


def read(folder: Path) -> StoredVectors:
    """All parts as one: the vectors are in memory, the rows are read in groups.

    Raises InputError, naming the folder, when it holds no manifest, or a part is not what the manifest says.
    """
    with reading(folder), ExitStack() as parts:
        content = orjson.loads((folder / MANIFEST).read_bytes())
        space = Space.from_json(content["space"])
        stored = [parts.enter_context(parquet.read(folder / part["file"])) for part in content["parts"]]
        for one, part in zip(stored, content["parts"], strict=True):
            if (one.space, len(one)) != (space, part["rows"]):
                raise ValueError(f"{part['file']} is not the part of the manifest")
        codes = np.concatenate([one.codes for one in stored])
        return StoredVectors(space, codes, _Rows(stored), content["tokens"], release=parts.pop_all().close)


class _Rows(Sequence[Row]):
    def __init__(self, parts: Sequence[StoredVectors]) -> None:
        self._parts = parts
        self._starts = np.cumsum([0, *map(len, parts)]).tolist()

    def __len__(self) -> int:
        return int(self._starts[-1])

    @overload
    def __getitem__(self, position: int) -> Row: ...
    @overload
    def __getitem__(self, position: slice) -> Sequence[Row]: ...
    def __getitem__(self, position: int | slice) -> Row | Sequence[Row]:
        if isinstance(position, slice):
            return [self[one] for one in range(*position.indices(len(self)))]
        one = range(len(self))[position]
        part = bisect_right(self._starts, one) - 1
        return self._parts[part].row(one - self._starts[part])
