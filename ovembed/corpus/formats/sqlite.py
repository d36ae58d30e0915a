"""SQLite: a vector store in one file that needs no server, no package and no extension to be written or read.

`rows` has a column for each thing known of a row, and `embedding` as the BLOB that sqlite-vec computes with
(float32 little-endian, int8, or packed bits): SELECT text, vec_distance_cosine(embedding, :query) AS distance FROM
rows ORDER BY distance LIMIT 10. `space` tells what the vectors are, as JSON values by name.

Why not a table of sqlite-vec's own: many builds of Python cannot load extensions. Why not LanceDB: a hundred
megabytes of packages, for an index that pays only far beyond what one machine embeds in a day.
"""

from __future__ import annotations

import contextlib
import sqlite3
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import orjson

from ovembed.corpus import precision
from ovembed.corpus.positions import Positions
from ovembed.corpus.rows import Row, Space
from ovembed.corpus.stored import BLOCK_ROWS, StoredVectors, reading
from ovembed.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from ovembed.corpus.precision import Codes

_COLUMNS = ("id", "text", "source", "line", "offset", "tokens", "truncated")
_SCHEMA = """
CREATE TABLE space (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE rows (
    position INTEGER PRIMARY KEY,
    id TEXT, text TEXT NOT NULL, source TEXT NOT NULL, line INTEGER NOT NULL, offset INTEGER NOT NULL,
    tokens INTEGER, truncated INTEGER NOT NULL,
    embedding BLOB NOT NULL
);
CREATE INDEX rows_id ON rows (id) WHERE id IS NOT NULL;
"""


def write(stored: StoredVectors, path: Path) -> None:
    """Raises OSError as files do."""
    path.unlink(missing_ok=True)
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        # The file shows up under its name when it is whole: nothing has to survive before.
        connection.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; BEGIN;" + _SCHEMA)
        space = [(name, orjson.dumps(value).decode()) for name, value in stored.space.to_json().items()]
        connection.executemany("INSERT INTO space VALUES (?, ?)", space)
        insert = f"INSERT INTO rows ({', '.join(_COLUMNS)}, embedding) VALUES ({'?, ' * len(_COLUMNS)}?)"  # noqa: S608  names of our own
        for rows, codes in stored.parts():
            known = (row.to_json() for row in rows)
            connection.executemany(
                insert,
                ([*map(row.get, _COLUMNS), code.tobytes()] for row, code in zip(known, codes, strict=True)),
            )
        connection.execute("COMMIT")
    except sqlite3.OperationalError as error:
        raise OSError(None, str(error)) from error
    finally:
        connection.close()


def read(path: Path) -> StoredVectors:
    """The vectors come in order, the rows from anywhere; rows may have been deleted."""
    with reading(path):
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            with _translated():
                values = connection.execute("SELECT name, value FROM space")
                space = Space.from_json({name: orjson.loads(value) for name, value in values})
                rows = _SqlRows(path, connection)
                _check_end(path, connection)
        except BaseException:
            connection.close()
            raise
        codes = partial(_codes, path, connection, space, len(rows))
        return StoredVectors(space, codes, rows, release=connection.close)


def _check_end(path: Path, connection: sqlite3.Connection) -> None:
    """SQLite finds missing pages, but takes a part of one for all of it."""
    (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    if path.stat().st_size % page_bytes:
        raise ValueError("it ends in the middle of a page")


def _codes(path: Path, connection: sqlite3.Connection, space: Space, count: int) -> Iterator[Codes]:
    dtype, width = precision.dtype(space.precision), precision.width(space)
    left = count
    with reading(path), _translated(), contextlib.closing(connection.cursor()) as cursor:
        # As a BLOB: of a cell that is none Python would make a text.
        cursor.execute("SELECT position, CAST(embedding AS BLOB) FROM rows ORDER BY position")
        while found := cursor.fetchmany(BLOCK_ROWS):
            for position, blob in found:
                if len(blob) != width * dtype.itemsize:
                    raise ValueError(f"position {position} has no embedding of {width} {dtype} numbers")
            left -= len(found)
            yield np.frombuffer(b"".join([blob for _, blob in found]), dtype).reshape(len(found), width)
        if left:
            raise _changed(path)


def _changed(path: Path) -> InputError:
    """Rows are found by their place in the order of all, as it was when the file was opened."""
    return InputError(f"Another program has changed the rows of {path} meanwhile. Ask again.")


class _SqlRows(Positions[Row]):
    """By their place in the order of the table, whose positions count from 1."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection
        count, last = connection.execute("SELECT count(*), max(position) FROM rows").fetchone()
        self._positions: range | NDArray[np.int64] = range(1, count + 1)
        if count != (last or 0):  # rows were deleted
            every = connection.execute("SELECT position FROM rows ORDER BY position")
            self._positions = np.fromiter((position for (position,) in every), np.int64, count)

    def __len__(self) -> int:
        return len(self._positions)

    def at(self, position: int) -> Row:
        select = f"SELECT {', '.join(_COLUMNS)} FROM rows WHERE position = ?"  # noqa: S608  names of our own
        stored_at = int(self._positions[position])
        with reading(self._path), _translated():
            found = self._connection.execute(select, (stored_at,)).fetchone()
            if found is None:
                raise _changed(self._path)
            try:
                return Row.from_json(dict(zip(_COLUMNS, found, strict=True)))
            except (ValueError, TypeError) as error:
                raise ValueError(f"position {stored_at} holds no row: {error}") from error


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
            raise OSError(None, str(error)) from error
        raise ValueError(str(error).partition(" with text ")[0]) from error  # which need not be one
