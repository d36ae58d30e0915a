"""Every output format: what is written is read again, by us and by the programs that the format is for."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import replace
from typing import TYPE_CHECKING, get_args

import numpy as np
import psutil
import pytest

from ovembed import vectors
from ovembed.corpus import FORMATS, Format, Item, Row, Space, StoredVectors, open_stored, precision
from ovembed.corpus.formats import OWNERS, files_of, format_of
from ovembed.corpus.formats.parts import Manifest, Part, write_manifest
from ovembed.corpus.precision import PRECISIONS, VectorPrecision
from ovembed.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

DIMENSIONS = 24
COUNT = 20_000  # more than one part


def make_stored(kind: VectorPrecision = "float32", count: int = 50, dimensions: int = DIMENSIONS) -> StoredVectors:
    rows = vectors.normalize(np.random.default_rng(7).standard_normal((count, dimensions), dtype=np.float32))
    space = Space("m", "0123456789abcdef", dimensions, kind, precision.limit_for(rows, kind), prompt="find: ")
    items = [
        Item(f"text {number} ✓ \n", "a.csv", number + 1, number * 7, f"id{number}" if number % 2 else None)
        for number in range(count)
    ]
    return StoredVectors(
        space,
        precision.encode(rows, space),
        [Row(item, tokens=None if number == 3 else number, truncated=number == 4) for number, item in enumerate(items)],
        total_tokens=1234,
    )


def test_the_formats_are_those_that_have_an_owner() -> None:
    assert set(OWNERS) == set(get_args(Format)) == set(FORMATS)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("numbers", PRECISIONS)
def test_what_is_written_is_read_again(tmp_path: Path, kind: Format, numbers: VectorPrecision) -> None:
    stored, path = make_stored(numbers), tmp_path / f"a.{kind}"
    OWNERS[kind].write(stored, path)
    assert {entry.name for entry in tmp_path.iterdir()} == {file.name for file in files_of(path, kind)}
    with open_stored(path) as read:
        assert read.space == stored.space
        assert read.codes.dtype == stored.codes.dtype
        np.testing.assert_array_equal(read.codes, stored.codes)
        assert list(read.rows) == stored.rows
        assert len(read) == len(read.rows) == 50
        assert read.vectors.dtype == np.float32
        assert read.vectors.shape == (50, DIMENSIONS)
        assert (read.text(49), read.item(-1), read.row(3)) == (
            stored.text(49),
            stored.item(49),
            stored.row(3),
        )


@pytest.mark.parametrize("kind", FORMATS)
def test_rows_are_found_anywhere_in_a_large_file(tmp_path: Path, kind: Format) -> None:
    stored, path = make_stored(count=COUNT, dimensions=4), tmp_path / f"a.{kind}"
    OWNERS[kind].write(stored, path)
    with open_stored(path) as read:
        for position in (0, 8191, 8192, COUNT - 1):
            assert read.row(position) == stored.row(position)
        assert read.rows[8000:17000] == stored.rows[8000:17000]
        assert read.rows[8193:8190:-1] == stored.rows[8193:8190:-1]
        with pytest.raises(IndexError):
            read.row(COUNT)
        np.testing.assert_array_equal(np.concatenate(list(read.code_blocks())), stored.codes)


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_vectors_of_numpys_formats_are_mapped_not_read(tmp_path: Path, kind: Format) -> None:
    path = tmp_path / f"a.{kind}"
    OWNERS[kind].write(make_stored(), path)
    mapped = open_stored(path).vectors
    assert isinstance(mapped, np.memmap)
    loaded = np.load(path)
    np.testing.assert_array_equal(loaded if kind == "npy" else loaded["vectors"], mapped)


def test_parquet_is_read_by_arrow(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    stored = make_stored()
    OWNERS["parquet"].write(stored, tmp_path / "a.parquet")
    table = pq.read_table(tmp_path / "a.parquet")
    assert str(table.schema.field("embedding").type) == f"fixed_size_list<element: float>[{DIMENSIONS}]"
    assert table["text"].to_pylist() == [row.item.text for row in stored.rows]
    np.testing.assert_array_equal(np.stack(table["embedding"].to_numpy()), stored.vectors)


@pytest.mark.parametrize(("numbers", "call"), [("float32", "vec_f32"), ("int8", "vec_int8")])
def test_sqlite_vec_searches_the_store(tmp_path: Path, numbers: VectorPrecision, call: str) -> None:
    """Through apsw, for this Python's own sqlite3 may be one that loads no extensions."""
    import apsw
    import sqlite_vec

    stored = make_stored(numbers)
    OWNERS["sqlite"].write(stored, tmp_path / "a.sqlite")
    connection = apsw.Connection(str(tmp_path / "a.sqlite"), flags=apsw.SQLITE_OPEN_READONLY)
    connection.enable_load_extension(True)
    connection.load_extension(sqlite_vec.loadable_path())
    nearest = connection.execute(
        f"SELECT text FROM rows ORDER BY vec_distance_cosine({call}(embedding), {call}(?)) LIMIT 3",
        (stored.codes[7].tobytes(),),
    ).fetchall()
    positions, _ = vectors.top_k(stored.vectors[7], stored.vectors, 3)
    assert [text for (text,) in nearest] == [stored.text(position) for position in positions]
    connection.close()


def test_rows_that_were_deleted_from_the_store_are_gone(tmp_path: Path) -> None:
    stored = make_stored()
    OWNERS["sqlite"].write(stored, tmp_path / "a.sqlite")
    with contextlib.closing(sqlite3.connect(tmp_path / "a.sqlite")) as connection, connection:
        connection.execute("DELETE FROM rows WHERE text LIKE 'text 1%'")
    left = [number for number in range(50) if not str(number).startswith("1")]
    with open_stored(tmp_path / "a.sqlite") as read:
        np.testing.assert_array_equal(read.codes, stored.codes[left])
        assert list(read.rows) == [stored.rows[number] for number in left]


@pytest.mark.parametrize("numbers", ["int8", "binary"])
def test_precisions_are_those_of_sentence_transformers(numbers: VectorPrecision) -> None:
    from sentence_transformers import quantize_embeddings

    rows = make_stored(count=300).vectors
    space = Space("m", None, DIMENSIONS, numbers, precision.limit_for(rows, numbers))
    ranges = None if space.limit is None else np.array([[-space.limit], [space.limit]]).repeat(DIMENSIONS, axis=1)
    expected = quantize_embeddings(rows, numbers, ranges=None if ranges is None else ranges.astype(np.float32))
    codes = precision.encode(rows, space)
    assert codes.dtype == expected.dtype == np.int8
    np.testing.assert_array_equal(codes, expected)
    np.testing.assert_array_equal(precision.encode(precision.decode(codes, space), space), codes)


def test_int8_keeps_directions_and_cuts_what_is_beyond_its_limit() -> None:
    rows = make_stored(count=300, dimensions=384).vectors
    space = Space("m", None, 384, "int8", precision.limit_for(rows[:10], "int8"))
    assert vectors.cosine(precision.decode(precision.encode(rows, space), space), rows).min() > 0.999
    assert precision.encode(np.full((1, 384), 9, np.float32), space).max() == 127
    assert precision.encode(np.full((1, 384), -9, np.float32), space).min() == -128


@pytest.mark.parametrize("numbers", PRECISIONS)
def test_products_with_codes_are_those_with_their_vectors(numbers: VectorPrecision) -> None:
    stored = make_stored(numbers)
    if numbers == "float16":
        stored.codes[0, :3] = (-6e-8, 0, 65504)  # the smallest there is, the largest
    query = stored.vectors[7]
    products = precision.dot(stored.codes, query, stored.space)
    np.testing.assert_allclose(products, stored.vectors @ query, rtol=1e-5, atol=1e-6)


def test_one_text_alone_is_a_fair_int8_vector() -> None:
    row = make_stored(count=1, dimensions=384).vectors
    space = Space("m", None, 384, "int8", precision.limit_for(row, "int8"))
    assert vectors.cosine(precision.decode(precision.encode(row, space), space), row)[0] > 0.999


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("content", [b"", b"{}", b"\x00\xff nothing of the kind\n"])
def test_files_of_another_kind_are_named(tmp_path: Path, kind: Format, content: bytes) -> None:
    path = tmp_path / f"a.{kind}"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.{kind}"):
        open_stored(path)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"No file .*a\.npy"):
        open_stored(tmp_path / "a.npy")
    OWNERS["npy"].write(make_stored(), tmp_path / "a.npy")
    (tmp_path / "a.meta.jsonl").unlink()
    with pytest.raises(InputError, match=r"No file .*a\.meta\.jsonl"):
        open_stored(tmp_path / "a.npy")


def test_meta_of_other_vectors_is_refused(tmp_path: Path) -> None:
    OWNERS["npy"].write(make_stored(), tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", np.zeros((3, DIMENSIONS), np.float32))
    with pytest.raises(InputError, match="3, 24"):
        open_stored(tmp_path / "a.npy")


def test_lines_of_two_spaces_are_refused(tmp_path: Path) -> None:
    OWNERS["jsonl"].write(make_stored(), tmp_path / "a.jsonl")
    with (tmp_path / "a.jsonl").open("ab") as file:
        file.write(b'{"text": "x", "embedding": [' + b",".join([b"1"] * DIMENSIONS) + b"]}\n")
    with pytest.raises(InputError, match=r"a\.jsonl .*line 51 is of another space"):
        _ = open_stored(tmp_path / "a.jsonl").codes


def test_sqlite_also_ends_in_db(tmp_path: Path) -> None:
    assert format_of(tmp_path / "a.db") == "sqlite"


def test_of_many_parts_few_are_open_at_a_time(tmp_path: Path) -> None:
    whole, size = make_stored(count=200), 5
    parts = [Part(f"{first:03}.parquet", first, size) for first in range(0, len(whole), size)]
    for part in parts:
        here = slice(part.first, part.first + size)
        OWNERS["parquet"].write(replace(whole, given=whole.codes[here], rows=whole.rows[here]), tmp_path / part.file)
    write_manifest(tmp_path, Manifest(whole.space, tuple(parts), tokens=1234, truncated=1, refused=0))

    def open_now() -> int:
        return sum(file.path.startswith(str(tmp_path)) for file in psutil.Process().open_files())

    with open_stored(tmp_path) as read:
        assert open_now() == 0
        np.testing.assert_array_equal(read.codes, whole.codes)
        assert list(read.rows) == whole.rows
        assert read.rows[3:12] == whole.rows[3:12]
        assert 0 < open_now() <= 8
    assert open_now() == 0
