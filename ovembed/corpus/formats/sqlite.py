"""SQLite: a vector store in one file that needs no server, no package and no extension to be written or read.

`rows` has a column for each thing known of a row, and `embedding` as the BLOB that sqlite-vec computes with
(float32 little-endian, int8, or packed bits): SELECT text, vec_distance_cosine(embedding, :query) AS distance FROM
rows ORDER BY distance LIMIT 10. `space` tells what the vectors are, as JSON values by name.

Why not a table of sqlite-vec's own: many builds of Python cannot load extensions. Why not LanceDB: a hundred
megabytes of packages, for an index that pays only far beyond what one machine embeds in a day.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from ovembed.corpus import precision
from ovembed.corpus.positions import Positions
from ovembed.corpus.rows import Row, Space
from ovembed.corpus.stored import StoredVectors, reading

if TYPE_CHECKING:
    from pathlib import Path

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
    """The vectors are in memory, the rows are not."""
    with reading(path):
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            return _read(connection)
        except (sqlite3.Error, ValueError, LookupError) as error:
            connection.close()
            raise ValueError(str(error)) from error


def _read(connection: sqlite3.Connection) -> StoredVectors:
    values = connection.execute("SELECT name, value FROM space")
    space = Space.from_json({name: orjson.loads(value) for name, value in values})
    (count,) = connection.execute("SELECT count(*) FROM rows").fetchone()
    codes = np.empty((count, precision.width(space)), dtype=precision.dtype(space.precision))
    for position, (blob,) in enumerate(connection.execute("SELECT embedding FROM rows ORDER BY position")):
        codes[position] = np.frombuffer(blob, dtype=codes.dtype)
    return StoredVectors(space, codes, _SqlRows(connection, count), release=connection.close)


class _SqlRows(Positions[Row]):
    """Positions in the table count from 1, as SQLite gives them."""

    def __init__(self, connection: sqlite3.Connection, count: int) -> None:
        self._connection = connection
        self._count = count

    def __len__(self) -> int:
        return self._count

    def at(self, position: int) -> Row:
        select = f"SELECT {', '.join(_COLUMNS)} FROM rows WHERE position = ?"  # noqa: S608  names of our own
        found: tuple[Any, ...] = self._connection.execute(select, (position + 1,)).fetchone()
        return Row.from_json(dict(zip(_COLUMNS, found, strict=True)))
