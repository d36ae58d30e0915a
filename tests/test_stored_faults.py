"""Output files that something happened to: what is wrong is told with the file and the place in it."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ovembed.corpus import FORMATS, Format, open_stored
from ovembed.corpus.formats import OWNERS
from ovembed.corpus.formats.parts import Manifest, Part, write_manifest
from ovembed.errors import InputError
from ovembed.search import VectorIndex, nearest_once
from tests.test_stored import DIMENSIONS, make_stored

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

COUNT = 50


def write(tmp_path: Path, kind: Format) -> Path:
    path = tmp_path / f"a.{kind}"
    OWNERS[kind].write(make_stored(count=COUNT), path)
    return path


def told(path: Path) -> str:
    """What a search says of the file, in one line that names it; an index, and reading the rows, say the same."""

    def use(search: Callable[[Any, Any], object]) -> None:
        with open_stored(path) as stored:
            search(stored, np.ones(stored.space.dimensions, dtype=np.float32))
            list(stored.rows)

    def attempt(search: Callable[[Any, Any], object]) -> str:
        with pytest.raises(InputError) as raised:
            use(search)
        message = str(raised.value)
        assert path.stem in message
        assert "\n" not in message
        return message

    def with_index(stored: Any, query: Any) -> None:
        with VectorIndex(stored, path.name) as index:
            index.nearest(query, COUNT)

    message = attempt(lambda stored, query: nearest_once(stored, str(path), query, COUNT))
    assert attempt(with_index).replace(str(path), path.name) == message.replace(str(path), path.name)
    return message


@pytest.mark.parametrize("kind", FORMATS)
def test_empty_files_and_folders_are_named(tmp_path: Path, kind: Format) -> None:
    path = write(tmp_path, kind)
    path.write_bytes(b"")
    assert told(path) == f"{path} is empty. Embed the texts again."
    path.unlink()
    path.mkdir()
    assert f"{path} is a folder without manifest.json" in told(path)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("other", FORMATS)
def test_a_file_of_another_format_is_told(tmp_path: Path, kind: Format, other: Format) -> None:
    content = write(tmp_path, other).read_bytes()
    path = write(tmp_path, kind)
    path.write_bytes(content)
    if {kind, other} == {"json", "jsonl"}:  # which begin alike
        assert "line" in told(path)
    elif kind != other:
        assert f"is no {kind} file. It looks like" in told(path)
        assert other in told(path)


@pytest.mark.parametrize(
    ("kind", "end"),
    [
        ("json", "unexpected end of data: line 51"),
        ("jsonl", "it ends in the middle of line 50"),
        ("npy", "it ends after 48 of 50 vectors"),
        ("npz", "its end is missing"),
        ("parquet", "its end is missing"),
        ("sqlite", "it ends in the middle of a page"),
    ],
)
def test_a_file_that_is_cut_off_is_told(tmp_path: Path, kind: Format, end: str) -> None:
    path = write(tmp_path, kind)
    path.write_bytes(path.read_bytes()[:-100])
    assert end in told(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "is damaged" in told(path)


def test_an_ending_that_none_of_ours_has_is_told(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("words", encoding="utf-8")
    assert "ends in none of .json, .jsonl, .npy" in told(path)


def changed(line: bytes, /, **changes: object) -> bytes:
    return json.dumps(json.loads(line) | changes).encode() + b"\n"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda _: b"rubbish\n", "line 5, column 1: unexpected character"),
        (lambda line: line[:200] + b"\n", "line 5, column 1: unexpected end of data"),
        (lambda line: line.replace(b"text", b"te\xff", 1), "line 5, column 1: str is not valid UTF-8"),
        (lambda _: b"\n", "line 5, column 1: input data is empty"),
        (lambda _: b"[1]\n", "line 5 is no JSON object"),
        (lambda line: changed(line, embedding=None), "line 5 has no embedding of 24 float32 numbers"),
        (lambda line: changed(line, embedding=[1.0] * 23), "line 5 has no embedding of 24 float32 numbers"),
        (lambda line: changed(line, embedding=["a"] * 24), "line 5 has no embedding of 24 float32 numbers"),
        (lambda line: changed(line, embedding=[[1]] * 24), "line 5 has no embedding of 24 float32 numbers"),
        (lambda line: changed(line, embedding=[float("nan")] * 24), "line 5, column"),
        (lambda line: changed(line, embedding=[1e39] * 24), "the vector of row 4, counted from 0, is not finite"),
        (lambda line: changed(line, fingerprint="other"), "line 5 is of another space than line 1"),
        (lambda line: changed(line, line="x"), "line 5 tells of no row"),
    ],
)
def test_a_line_that_is_wrong_is_told(tmp_path: Path, change: Callable[[bytes], bytes], problem: str) -> None:
    path = write(tmp_path, "jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:4], change(lines[4]), *lines[5:]]))
    assert problem in told(path)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"embedding": None}, "line 1 has no embedding"),
        ({"embedding": []}, "float32 vectors of 0 dimensions"),
        ({"precision": "float8"}, "float8 vectors of 24 dimensions"),
        ({"precision": "int8"}, "int8 vectors without their limit"),
        ({"precision": "int8", "limit": 1, "embedding": [300] * 24}, "line 1 has no embedding of 24 int8 numbers"),
    ],
)
def test_a_space_that_no_vectors_are_of_is_told(tmp_path: Path, changes: dict[str, object], problem: str) -> None:
    path = write(tmp_path, "jsonl")
    path.write_bytes(changed(path.read_bytes().splitlines()[0], **changes))
    assert problem in told(path)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda whole: whole.pop("data"), "it has no 'data'"),
        (lambda whole: whole["data"][4].update(embedding=[1.0]), "data[4] has no embedding of 24 float32 numbers"),
        (lambda whole: whole["data"].insert(4, [1]), "data[4] has no embedding of 24 float32 numbers"),
        (lambda whole: whole.update(dimensions=8), "data[0] has no embedding of 8 float32 numbers"),
        (lambda whole: whole.update(data=[]), "holds no vectors"),
    ],
)
def test_an_object_that_is_wrong_is_told(tmp_path: Path, change: Callable[[Any], object], problem: str) -> None:
    path = write(tmp_path, "json")
    whole = json.loads(path.read_bytes())
    change(whole)
    path.write_text(json.dumps(whole), encoding="utf-8")
    assert problem in told(path)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda rows: rows[:-1], "(49, 24), where its lines tell of float32 (50, 24)"),
        (lambda rows: rows[:, :8], "(50, 8), where its lines tell of float32 (50, 24)"),
        (lambda rows: rows.astype(np.float64), "float64 (50, 24), where"),
        (lambda rows: np.where(np.arange(COUNT)[:, None] == 7, np.nan, rows), "row 7, counted from 0, is not finite"),
    ],
)
def test_an_array_that_is_wrong_is_told(tmp_path: Path, change: Callable[[Any], Any], problem: str) -> None:
    path = write(tmp_path, "npy")
    np.save(path, change(np.load(path)))
    assert problem in told(path)
    packed = write(tmp_path, "npz")
    with zipfile.ZipFile(packed) as archive:
        meta = archive.read("meta.jsonl")
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(path, "vectors.npy")
        archive.writestr("meta.jsonl", meta)
    assert problem in told(packed)


def test_an_array_of_objects_is_told_and_not_unpickled(tmp_path: Path) -> None:
    path = write(tmp_path, "npy")
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert "its array holds objects" in told(path)


def test_a_header_that_describes_no_array_is_told(tmp_path: Path) -> None:
    path = write(tmp_path, "npy")
    path.write_bytes(path.read_bytes().replace(b"}", b"\n", 1))
    assert "its header describes no array" in told(path)


def test_a_member_behind_the_end_of_an_archive_is_told(tmp_path: Path) -> None:
    path = write(tmp_path, "npz")
    content = bytearray(path.read_bytes())
    directory = content.index(b"PK\x01\x02")
    content[directory + 42 : directory + 46] = len(content).to_bytes(4, "little")  # where the member is
    path.write_bytes(content)
    assert "vectors.npy is said to be behind its end" in told(path)


def test_an_archive_of_a_version_to_come_is_told(tmp_path: Path) -> None:
    path = write(tmp_path, "npz")
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 6] = 160  # the version that is needed to read it
    path.write_bytes(content)
    assert "zip file version 16.0" in told(path)


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_an_array_by_columns_gives_the_same_vectors(tmp_path: Path, kind: Format) -> None:
    path = write(tmp_path, "npy")
    rows = np.load(path)
    np.save(path, np.asfortranarray(rows))
    if kind == "npz":
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            archive.write(path, "vectors.npy")
            archive.write(tmp_path / "a.meta.jsonl", "meta.jsonl")
    np.testing.assert_array_equal(open_stored(tmp_path / f"a.{kind}").codes, rows)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda lines: [*lines[:10], b"rubbish\n", *lines[11:]], "line 11, column 1"),
        (lambda lines: [*lines[:-1], lines[-1][:-30]], "it ends in the middle of line 51"),
        (lambda lines: lines[1:], "it has no 'model'"),
        (lambda _: [], "line 1 is missing"),
    ],
)
def test_lines_beside_an_array_that_are_wrong_are_told(
    tmp_path: Path, change: Callable[[list[bytes]], list[bytes]], problem: str
) -> None:
    path, meta = write(tmp_path, "npy"), tmp_path / "a.meta.jsonl"
    meta.write_bytes(b"".join(change(meta.read_bytes().splitlines(keepends=True))))
    assert problem in told(path)
    assert str(meta) in told(path)


def test_an_archive_that_is_not_ours_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, np.zeros((3, 4)))
    assert "there is no vectors.npy in it" in told(path)


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("DROP TABLE space", "no such table: space"),
        ("ALTER TABLE rows DROP COLUMN text", "no such column: text"),
        ("UPDATE rows SET embedding = substr(embedding, 1, 10) WHERE position = 5", "position 5 has no embedding"),
        ("UPDATE rows SET embedding = 'é' WHERE position = 5", "position 5 has no embedding of 24 float32 numbers"),
        ("UPDATE rows SET embedding = CAST(X'ff' AS TEXT) WHERE position = 5", "position 5 has no embedding"),
        ("UPDATE rows SET line = 'x' WHERE position = 5", "position 5 holds no row"),
        ("UPDATE rows SET text = CAST(X'ff07' AS TEXT) WHERE position = 5", "decode to UTF-8 column 'text')"),
        ("UPDATE space SET value = '{' WHERE name = 'model'", "unexpected end of data"),
        ("DELETE FROM rows", "holds no vectors"),
    ],
)
def test_a_store_that_is_wrong_is_told(tmp_path: Path, statement: str, problem: str) -> None:
    path = write(tmp_path, "sqlite")
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)
    assert problem in told(path)


def test_blobs_whose_lengths_add_up_are_not_taken_for_others(tmp_path: Path) -> None:
    path = write(tmp_path, "sqlite")
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE rows SET embedding = substr(embedding, 1, 92) WHERE position = 5")
        connection.execute("UPDATE rows SET embedding = embedding || X'00000000' WHERE position = 6")
    assert "position 5 has no embedding" in told(path)


def test_a_store_that_somebody_writes_is_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "sqlite")
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **options: connect(*args, **options, timeout=0))
    with contextlib.closing(connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        assert told(path) == f"{path} cannot be read: database is locked."


@pytest.mark.parametrize("change", ["DELETE FROM rows WHERE position = 5", "INSERT INTO rows SELECT * FROM more"])
def test_a_store_that_changes_while_it_is_open_is_told(tmp_path: Path, change: str) -> None:
    path = write(tmp_path, "sqlite")
    with contextlib.closing(sqlite3.connect(path)) as connection, open_stored(path) as stored:
        with connection:
            connection.execute("CREATE TEMP TABLE more AS SELECT * FROM rows WHERE position = 1")
            connection.execute(f"UPDATE more SET position = {COUNT + 1}")
            connection.execute(change)
        with pytest.raises(InputError, match=r"has changed the rows of .*a\.sqlite"):
            _ = stored.codes
        if change.startswith("DELETE"):
            with pytest.raises(InputError, match=r"has changed the rows of .*a\.sqlite"):
                stored.row(4)


def with_vectors(table: pa.Table, change: Callable[[list[Any]], None], kind: pa.DataType) -> pa.Table:
    vectors = table["embedding"].to_pylist()
    change(vectors)
    return table.set_column(table.schema.get_field_index("embedding"), "embedding", pa.array(vectors, kind))


def moved(vectors: list[Any]) -> None:
    """A number of one row to another: the lengths add up."""
    vectors[26].append(vectors[25].pop())


def lost(vectors: list[Any]) -> None:
    vectors[25] = None


def not_a_number(vectors: list[Any]) -> None:
    vectors[25][3] = float("nan")


FIXED, LISTS = pa.list_(pa.float32(), DIMENSIONS), pa.list_(pa.float32())


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda table: table.replace_schema_metadata(None), "its schema has no metadata 'ovembed'"),
        (lambda table: table.drop_columns(["text"]), "it has no column 'text'"),
        (lambda table: table.drop_columns(["embedding"]), "it has no column 'embedding'"),
        (lambda table: table.set_column(7, "embedding", pa.array(["x"] * COUNT)), "holds string, not lists"),
        (lambda table: with_vectors(table, moved, LISTS), "row 25, counted from 0, has no embedding of 24 numbers"),
        (lambda table: with_vectors(table, lost, FIXED), "row 25, counted from 0, has no embedding of 24 numbers"),
        (lambda table: with_vectors(table, not_a_number, FIXED), "row 25, counted from 0, is not finite"),
        (lambda table: table.slice(0, 0), "holds no vectors"),
    ],
)
def test_a_table_that_is_wrong_is_told(tmp_path: Path, change: Callable[[pa.Table], pa.Table], problem: str) -> None:
    path = write(tmp_path, "parquet")
    pq.write_table(change(pq.read_table(path)), path, row_group_size=20)
    assert problem in told(path)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda part: part.unlink(), "No file {part}. Embed the texts again."),
        (lambda part: part.write_bytes(b""), "{part} was not written by ovembed embed, or is damaged (its end is"),
        (lambda part: part.write_bytes(part.read_bytes()[:-9]), "{part} was not written by ovembed embed, or is"),
        (lambda part: shutil.copy(part, part.with_name("0.parquet")), "damaged (0.parquet is not the part of the"),
        (lambda part: part.with_name("manifest.json").write_bytes(b"{"), "is damaged (unexpected end of data"),
    ],
)
def test_a_folder_of_parts_that_is_wrong_is_told(
    tmp_path: Path, change: Callable[[Path], object], problem: str
) -> None:
    folder, whole = tmp_path / "a", make_stored(count=COUNT)
    folder.mkdir()
    parts = (Part("0.parquet", 0, 20), Part("1.parquet", 20, 30))
    for part in parts:
        here = slice(part.first, part.first + part.rows)
        OWNERS["parquet"].write(replace(whole, given=whole.codes[here], rows=whole.rows[here]), folder / part.file)
    write_manifest(folder, Manifest(whole.space, parts, tokens=1, truncated=0, refused=0))
    change(folder / "1.parquet")
    assert problem.format(part=folder / "1.parquet") in told(folder)


def test_texts_that_are_damaged_in_a_table_are_told(tmp_path: Path) -> None:
    path = write(tmp_path, "parquet")
    column = pq.ParquetFile(path).metadata.row_group(0).column(1)
    start = column.dictionary_page_offset or column.data_page_offset
    content = bytearray(path.read_bytes())
    content[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(content)
    assert "is damaged" in told(path) or "cannot be read" in told(path)


def test_a_table_in_the_types_of_another_program_gives_the_same_vectors(tmp_path: Path) -> None:
    path = write(tmp_path, "parquet")
    table = pq.read_table(path)
    pq.write_table(with_vectors(table, lambda _: None, pa.list_(pa.float64())), path)
    codes = open_stored(path).codes
    assert codes.dtype == np.float32
    np.testing.assert_array_equal(codes, make_stored(count=COUNT).codes)
