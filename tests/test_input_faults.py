"""Input files that something is wrong with: what is read of them, and what is said of the rest."""

from __future__ import annotations

import datetime
import gzip
import io
import json
import os
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ovembed.corpus import Columns, Inputs, Item, Reading, Refused
from ovembed.errors import InputError
from tests.cli import ovembed
from tests.faulty_server import faulty_server
from tests.test_inputs import entries, texts, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

IDS = Columns(id="id")
ZSTANDARD = pa.Codec("zstd")


def table(tmp_path: Path, columns: Any, **options: Any) -> Path:
    path = tmp_path / "a.parquet"
    pq.write_table(columns if isinstance(columns, pa.Table) else pa.table(columns), path, **options)
    return path


def test_bytes_of_a_table_are_text_where_they_are_utf8(tmp_path: Path) -> None:
    for kind in (pa.binary(), pa.large_binary()):
        path = table(tmp_path, {"text": pa.array(["größe".encode(), b"\xff", None], kind)})
        no_text = [Refused(str(path), line, "'text' is no text.") for line in (2, 3)]
        assert entries(path) == [Item("größe", str(path), 1), *no_text]


@pytest.mark.parametrize(
    ("value", "identity"),
    [
        (7, "7"),
        (1.5, "1.5"),
        (True, "true"),
        (None, None),
        ("é", "é"),
        ("", ""),
        ({"a": [1, None]}, '{"a":[1,null]}'),
        (["a", "é"], '["a","é"]'),
    ],
)
def test_ids_are_the_same_from_every_kind_of_file(tmp_path: Path, value: object, identity: str | None) -> None:
    lines = write(tmp_path, "a.jsonl", json.dumps({"text": "t", "id": value}))
    assert entries(lines, columns=IDS) == [Item("t", str(lines), 1, 0, identity)]
    path = table(tmp_path, {"text": ["t"], "id": [value]})
    assert entries(path, columns=IDS) == [Item("t", str(path), 1, 0, identity)]


@pytest.mark.parametrize(
    ("value", "identity"),
    [
        (float("nan"), None),
        (b"key", "key"),
        (b"\xff\x01", "ff01"),
        (datetime.date(2020, 1, 2), "2020-01-02"),
        ({"a": b"\xff", "b": datetime.date(2020, 1, 2)}, '{"a":"ff","b":"2020-01-02"}'),
    ],
)
def test_ids_that_json_does_not_have(tmp_path: Path, value: object, identity: str | None) -> None:
    path = table(tmp_path, {"text": ["t"], "id": [value]})
    assert entries(path, columns=IDS) == [Item("t", str(path), 1, 0, identity)]


def test_lines_without_an_id_have_none(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", '{"text":"a","id":1}\n{"text":"b"}\n')
    assert entries(path, columns=IDS) == [Item("a", str(path), 1, 0, "1"), Item("b", str(path), 2)]


def test_an_id_that_is_no_text_refuses_its_row(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", b"text,id\n" + b"a,1\n" * 30_000 + b"b,gr\xf6\nc,2\n")
    assert entries(path, columns=IDS)[-2:] == [
        Refused(str(path), 30_002, "'id' holds bytes that are no text."),
        Item("c", str(path), 30_003, 0, "2"),
    ]


def test_a_column_that_is_there_twice_is_told(tmp_path: Path) -> None:
    arrays = [pa.array([value]) for value in "abc"]
    twice = table(tmp_path, pa.Table.from_arrays(arrays, names=["text", "id", "id"]))
    comma = write(tmp_path, "a.csv", "text,id,id\na,b,c\n")
    for path in (twice, comma):
        assert texts(entries(path)) == ["a"]
        with pytest.raises(InputError, match=r"has several columns 'id'"):
            entries(path, columns=IDS)
    with pytest.raises(InputError, match="has several columns 'text'"):
        entries(write(tmp_path, "a.csv", "text,text\na,b\n"))


@pytest.mark.parametrize("encoding", [None, "utf-8", "UTF8"])
def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path, encoding: str | None) -> None:
    path = write(tmp_path, "a.csv", b'\xef\xbb\xbf"id",text\n1,a\n')
    assert entries(path, columns=IDS, encoding=encoding) == [Item("a", str(path), 2, 0, "1")]


def test_a_quote_that_nothing_closes_ends_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", 'id,text\n1,"fine,\nor so"\n2,"open\n3,lost\n')
    assert entries(path) == [
        Item("fine,\nor so", str(path), 3),
        Refused(
            str(path),
            3,
            "the file cannot be read further than line 3 (nothing closes a quote in the row that begins in line 4).",
        ),
    ]
    path = write(tmp_path, "a.csv", 'text\n"open\n' + "lost\n" * 4_000_000)
    (refused,) = entries(path)
    assert "is a quote left open?" in str(refused)


@pytest.mark.parametrize("content", ["one\n", "one", 'one\n"two"', 'one\n"two\nthree"'])
def test_a_file_may_end_with_or_without_a_line_end(tmp_path: Path, content: str) -> None:
    found = texts(entries(write(tmp_path, "a.csv", f"text\n{content}")))
    assert found == [cell.strip('"') for cell in content.strip("\n").split("\n", 1)]


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.txt"])
@pytest.mark.parametrize(
    "pack", [gzip.compress, lambda content: ZSTANDARD.compress(content, asbytes=True)], ids=["gz", "zst"]
)
def test_packed_files_that_are_cut_off_tell_the_line(tmp_path: Path, name: str, pack: Callable[[bytes], bytes]) -> None:
    ending = ".gz" if pack is gzip.compress else ".ZST"  # whose case does not count
    words = [os.urandom(20).hex() for _ in range(5000)]
    line = '{{"text": "{}"}}\n' if name == "a.jsonl" else "{}\n"
    content = ("text\n" if name == "a.csv" else "") + "".join(map(line.format, words))
    path = write(tmp_path, f"{name}{ending}", pack(content.encode())[:-2000])
    *rows, last = entries(path)
    assert texts(rows) == words[: len(rows)]
    assert len(rows) > 1000
    assert isinstance(last, Refused)
    assert last.line == rows[-1].line
    assert f"cannot be read further than line {last.line} (" in last.reason


def test_a_damaged_table_tells_the_row(tmp_path: Path) -> None:
    path = table(tmp_path, {"text": ["x" * 50] * 5000}, row_group_size=1000, compression=None, use_dictionary=False)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 400] = b"\xff" * 400
    path.write_bytes(content)
    *rows, last = entries(path)
    assert rows[-1].line == len(rows) > 1000
    assert isinstance(last, Refused)
    assert f"cannot be read further than line {len(rows)} (" in last.reason
    assert "\n" not in last.reason


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", b""),
        ("a.jsonl", b"\n\n"),
        ("a.json", b"[]"),
        ("a.csv", b""),
        ("a.csv", b"text,id\n"),
        ("a.html", b""),
        ("a.jsonl.gz", b""),
        ("a.txt.zst", b""),
    ],
)
def test_files_without_a_text_are_told(
    tmp_path: Path, name: str, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path, name, content)
    assert entries(path) == [Refused(str(path), 1, "the file holds no text.")]
    assert caplog.text == ""


def test_a_table_without_rows_is_told(tmp_path: Path) -> None:
    path = table(tmp_path, {"text": pa.array([], pa.string())})
    assert entries(path) == [Refused(str(path), 1, "the file holds no text.")]


def test_long_lines_are_texts(tmp_path: Path) -> None:
    long = "word " * 2_000_000
    for name, content in (
        ("a.txt", f"{long}\nb\n"),
        ("a.jsonl", f'{{"text":"{long}"}}\n"b"\n'),
        ("a.csv", f"text\n{long}\nb\n"),
    ):
        assert [len(text) for text in texts(entries(write(tmp_path, name, content)))] == [len(long), 1]


@pytest.mark.parametrize("encoding", ["base64", "undefined", "nope"])
def test_encodings_of_no_text_are_told_at_once(tmp_path: Path, encoding: str) -> None:
    with pytest.raises(InputError, match=f"No encoding '{encoding}'"):
        Inputs([str(write(tmp_path, "a.txt", "a"))], io.BytesIO(), Reading(encoding=encoding))


def test_progress_ends_where_a_file_that_grows_began_to(tmp_path: Path) -> None:
    path, after = write(tmp_path, "a.txt", b"one\n" * 1000), write(tmp_path, "b.txt", b"two\n")
    inputs = Inputs([str(path), str(after)], io.BytesIO())
    with path.open("ab") as file:
        file.write(b"more\n" * 100_000)
    read = [inputs.bytes_read for _ in inputs.entries()]
    assert len(read) == 101_001
    assert read == sorted(read)
    assert read[-1] <= inputs.total_bytes == 4004


def test_progress_knows_nothing_of_pipes(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", b"one\n")
    ours, theirs = os.pipe()
    os.write(theirs, b"two\nthree\n")
    os.close(theirs)
    inputs = Inputs([str(path), f"/dev/fd/{ours}"], io.BytesIO())
    assert [inputs.bytes_read for _ in inputs.entries()][-1] == 4
    os.close(ours)


def test_a_name_that_is_not_utf8_is_written_with_its_numbers(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"na\xffme.txt")
    path.write_text("a\n", encoding="utf-8")
    with faulty_server() as server:
        done = ovembed("embed", str(path), "--url", server.url, "--format", "jsonl")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["source"] == f"{tmp_path}/na\\xffme.txt"
