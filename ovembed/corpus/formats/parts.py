"""A folder of Parquet parts, as many machines write them, with `manifest.json`, which is written last.

The manifest holds the space, and in the order of the input each part's file, the index of its first row and the number
of its rows. Every part is a whole Parquet output of its own.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from dataclasses import asdict, dataclass
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import orjson

from ovembed.corpus.formats import parquet
from ovembed.corpus.positions import Positions
from ovembed.corpus.rows import Row, Space
from ovembed.corpus.stored import StoredVectors, reading
from ovembed.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ovembed.corpus.precision import Codes

MANIFEST = "manifest.json"
_PARTS_OPEN = 8


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
    """All parts as one: the vectors come in order, the rows are read in groups, of a few parts that are open at a time.

    Raises InputError, naming the folder, when it holds no manifest, or a part is not what the manifest says.
    """
    if not (folder / MANIFEST).exists():
        raise InputError(f"{folder} is a folder without {MANIFEST}, so no output of ovembed embed. Name a file in it.")
    with reading(folder):
        content = orjson.loads((folder / MANIFEST).read_bytes())
        space = Space.from_json(content["space"])
        parts = [(folder / part["file"], int(part["rows"])) for part in content["parts"]]
        for file, count in parts:
            with parquet.read(file) as part:
                same = part.space.is_same(space) and part.space.limit == space.limit
                if not same or len(part) != count:
                    raise ValueError(f"{file.name} is not the part of the manifest")
        files = [file for file, _ in parts]
        rows = _Rows(files, [count for _, count in parts])
        return StoredVectors(space, partial(_codes, files), rows, content["tokens"], release=rows.close)


def _codes(files: Sequence[Path]) -> Iterator[Codes]:
    for file in files:
        with parquet.read(file) as part:
            yield from part.code_blocks()


class _Rows(Positions[Row]):
    """The parts that were asked for last stay open."""

    def __init__(self, files: Sequence[Path], counts: Sequence[int]) -> None:
        self._files = files
        self._starts: list[int] = list(accumulate(counts, initial=0))
        self._open: OrderedDict[int, parquet.ParquetRows] = OrderedDict()

    def __len__(self) -> int:
        return self._starts[-1]

    def at(self, position: int) -> Row:
        part = bisect_right(self._starts, position) - 1
        return self._part(part)[position - self._starts[part]]

    def close(self) -> None:
        while self._open:
            self._open.popitem()[1].close()

    def _part(self, part: int) -> parquet.ParquetRows:
        if part not in self._open:
            if len(self._open) == _PARTS_OPEN:
                self._open.popitem(last=False)[1].close()
            self._open[part] = parquet.open_rows(self._files[part])
        self._open.move_to_end(part)
        return self._open[part]
