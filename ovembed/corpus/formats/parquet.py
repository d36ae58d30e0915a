"""Parquet: a column for each thing known of a row, `embedding` as fixed-size lists, the space in the schema.

The schema's metadata: `ovembed` holds the space as JSON. Format: https://parquet.apache.org/docs/file-format/
"""

from __future__ import annotations

import os
from bisect import bisect_right
from functools import lru_cache, partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import orjson

from ovembed.corpus import precision
from ovembed.corpus.positions import Positions
from ovembed.corpus.rows import Row, Space
from ovembed.corpus.stored import BLOCK_ROWS, StoredVectors, reading
from ovembed.errors import MissingExtra

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import pyarrow

    from ovembed.corpus.precision import Codes

_SPACE_KEY = b"ovembed"
_MARK = b"PAR1"  # every file begins and ends with it
_EMBEDDING = "embedding"
_GROUPS_KEPT = 2
_BUFFER_BYTES = 1024 * 1024
# Numbers do not get smaller, but slower to read.
_COMPRESSION = {"id": "zstd", "text": "zstd", "source": "zstd"}


def check_installed() -> None:
    """Raises MissingExtra without the package that the format needs."""
    _arrow()


def write(stored: StoredVectors, path: Path) -> None:
    pa, pq = _arrow()
    schema = _schema(pa, stored.space)
    with pq.ParquetWriter(path, schema, compression=_COMPRESSION, use_dictionary=["source"]) as writer:
        for rows, codes in stored.parts():
            objects = [row.to_json() for row in rows]
            columns = [
                pa.array([row.get(field.name) for row in objects], field.type)
                for field in schema
                if field.name != _EMBEDDING
            ]
            numbers = pa.array(codes.reshape(-1))
            columns.append(pa.FixedSizeListArray.from_arrays(numbers, type=schema.field(_EMBEDDING).type))
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def read(path: Path) -> StoredVectors:
    """The vectors come in order, the rows are read in groups."""
    with reading(path):
        file = _open(path)
        described = (file.schema_arrow.metadata or {}).get(_SPACE_KEY)
        if described is None:
            raise ValueError("its schema has no metadata 'ovembed'")
        space = Space.from_json(orjson.loads(described))
        rows = ParquetRows(path, file)
        return StoredVectors(space, partial(_codes, path, file, space), rows, release=rows.close)


def _codes(path: Path, file: pyarrow.parquet.ParquetFile, space: Space) -> Iterator[Codes]:
    width, dtype = precision.width(space), precision.dtype(space.precision)
    start = 0
    with reading(path):
        for batch in file.iter_batches(BLOCK_ROWS, columns=[_EMBEDDING]):
            lists = batch.column(_EMBEDDING)
            _check(lists, width, start)
            # Other programs write the same numbers in a wider type.
            numbers = lists.flatten().to_numpy(zero_copy_only=False).astype(dtype, copy=False)
            yield numbers.reshape(len(batch), width)
            start += len(batch)


def _check(lists: pyarrow.Array, width: int, start: int) -> None:
    """Raises ValueError, naming the row, for a vector of another length, or with numbers missing."""
    import pyarrow.compute as pc  # noqa: PLC0415  of an extra

    fitting = pc.equal(pc.list_value_length(lists), width).fill_null(False)
    if not pc.all(fitting).as_py():
        row = start + fitting.index(False).as_py()
        raise ValueError(f"row {row}, counted from 0, has no embedding of {width} numbers")


def open_rows(path: Path) -> ParquetRows:
    """The rows without the vectors; close them. Raises InputError, naming the file, as `read` does."""
    with reading(path):
        return ParquetRows(path, _open(path))


class ParquetRows(Positions[Row]):
    """Groups that were asked for last are kept, as Arrow has them: to make all their rows takes longer."""

    def __init__(self, path: Path, file: pyarrow.parquet.ParquetFile) -> None:
        self._path = path
        self._file = file
        self._columns = [name for name in file.schema_arrow.names if name != _EMBEDDING]
        counts = (file.metadata.row_group(group).num_rows for group in range(file.num_row_groups))
        self._starts: list[int] = list(accumulate(counts, initial=0))
        self._group = lru_cache(_GROUPS_KEPT)(self._read_group)

    def __len__(self) -> int:
        return self._starts[-1]

    def at(self, position: int) -> Row:
        (row,) = self.several(range(position, position + 1))
        return row

    def several(self, positions: range) -> Sequence[Row]:
        if positions.step != 1:
            return super().several(positions)
        rows: list[Row] = []
        while positions:
            group = bisect_right(self._starts, positions.start) - 1
            first, behind = self._starts[group], min(positions.stop, self._starts[group + 1])
            with reading(self._path):
                here = self._group(group).slice(positions.start - first, behind - positions.start)
                rows += map(Row.from_json, here.to_pylist())
            positions = range(behind, positions.stop)
        return rows

    def close(self) -> None:
        self._file.close()

    def _read_group(self, group: int) -> pyarrow.Table:
        return self._file.read_row_group(group, columns=self._columns)


def _schema(pa: Any, space: Space) -> pyarrow.Schema:
    number = pa.from_numpy_dtype(precision.dtype(space.precision))
    return pa.schema(
        {
            "id": pa.string(),
            "text": pa.string(),
            "source": pa.string(),
            "line": pa.int64(),
            "offset": pa.int64(),
            "tokens": pa.int32(),
            "truncated": pa.bool_(),
            _EMBEDDING: pa.list_(number, precision.width(space)),
        },
        metadata={_SPACE_KEY: orjson.dumps(space.to_json())},
    )


def _open(path: Path) -> pyarrow.parquet.ParquetFile:
    """Read a little at a time: Arrow would hold whole columns beside what is made of them."""
    pa, pq = _arrow()
    with path.open("rb") as raw:
        raw.seek(max(0, raw.seek(0, os.SEEK_END) - len(_MARK)))
        if raw.read() != _MARK:
            raise ValueError("its end is missing")
    file: pyarrow.parquet.ParquetFile = pq.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER_BYTES)
    schema = file.schema_arrow
    for name in ("text", _EMBEDDING):
        if name not in schema.names:
            raise ValueError(f"it has no column '{name}'")
    kind = schema.field(_EMBEDDING).type
    if not (pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind)):
        raise ValueError(f"its column '{_EMBEDDING}' holds {kind}, not lists of numbers")
    return file


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow  # noqa: PLC0415  of an extra, and slow to import
        import pyarrow.parquet  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtra("Parquet", "files") from error
    return pyarrow, pyarrow.parquet
