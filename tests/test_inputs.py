"""What is read from files, folders and stdin, and where it is said to come from."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ovembed.corpus import Columns, Inputs, Item, Reading, Refused, Split, places_of
from ovembed.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

SENTENCE = "Zürich ist größer als Köln, und schöner. "


def entries(*paths: Path | str, stdin: bytes = b"", **reading: object) -> list[Item | Refused]:
    inputs = Inputs([str(path) for path in paths], io.BytesIO(stdin), Reading(**reading))  # type: ignore[arg-type]
    return list(inputs.entries())


def texts(found: Sequence[Item | Refused]) -> list[str]:
    return [entry.text for entry in found if isinstance(entry, Item)]


def write(tmp_path: Path, name: str, content: bytes | str) -> Path:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_each_line_is_a_text_with_its_place(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", "one\r\n\n  \nzwölf ✓\n")
    assert entries(path) == [Item("one", str(path), 1, 0), Item("zwölf ✓", str(path), 4, 9)]


def test_files_and_stdin_follow_each_other(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", b"a")
    assert [entry.place for entry in entries(path, "-", stdin=b"b\nc")] == [
        f"{path} line 1",
        "stdin line 1",
        "stdin line 2",
    ]


class Endless(io.RawIOBase):
    """Lines without end, and a count of the bytes that somebody took."""

    taken = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        line = b"the cat is in the house\n"
        self.taken += len(line)
        buffer[: len(line)] = line
        return len(line)


def test_stdin_without_end_is_read_as_it_is_needed() -> None:
    stream = Endless()
    found = Inputs(["-"], io.BufferedReader(stream)).entries()
    assert [next(found).line for _ in range(100)] == list(range(1, 101))
    assert stream.taken < 200_000


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "cp1252", "shift_jis"])
def test_encodings_are_found_and_told(tmp_path: Path, encoding: str) -> None:
    text = "日本語の文章を読みます。\n" if encoding == "shift_jis" else f"{SENTENCE}\n"
    path = write(tmp_path, "a.txt", (text * 20).encode(encoding))
    told: list[tuple[str, str]] = []
    inputs = Inputs([str(path)], io.BytesIO(), on_encoding=lambda *found: told.append(found))
    assert texts(list(inputs.entries())) == [text.strip("\n")] * 20
    assert len(told) == (0 if encoding.startswith("utf-8") else 1)


def test_a_few_foreign_bytes_are_western_text(tmp_path: Path) -> None:
    assert texts(entries(write(tmp_path, "a.txt", "fine\ncaf\xe9\n".encode("latin-1")))) == ["fine", "café"]


@pytest.mark.parametrize("name", ["a.txt", "a.csv"])
def test_a_stray_zero_is_part_of_a_text(tmp_path: Path, name: str) -> None:
    told: list[tuple[str, str]] = []
    path = write(tmp_path, name, b"text\na\0b\nc\n")
    inputs = Inputs([str(path)], io.BytesIO(), on_encoding=lambda *found: told.append(found))
    assert texts(list(inputs.entries()))[-2:] == ["a\0b", "c"]
    assert told == []


def test_an_encoding_can_be_named(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", "жизнь".encode("koi8-r"))
    assert texts(entries(path, encoding="koi8-r")) == ["жизнь"]


def test_an_unknown_encoding_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No encoding 'nope'"):
        Inputs([str(write(tmp_path, "a.txt", "a"))], io.BytesIO(), Reading(encoding="nope"))


def test_what_is_no_text_is_refused_and_the_others_are_read(tmp_path: Path) -> None:
    picture = write(tmp_path, "a.txt", bytes(range(128, 256)) * 40 + b"\0\x01")
    other = write(tmp_path, "b.txt", "fine")
    found = entries(picture, other)
    assert isinstance(found[0], Refused)
    assert "no text in any known encoding" in found[0].reason
    assert texts(found) == ["fine"]


def test_bytes_that_are_not_utf8_far_below_stay_with_their_line(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", b"fine\n" * 20_000 + b"caf\xe9\nfine\n")
    found = entries(path)
    assert len(found) == 20_002
    with pytest.raises(UnicodeEncodeError):
        texts(found)[20_000].encode()


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_a_file_without_text_is_refused(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path, "a.txt", content)
    assert entries(path) == [Refused(str(path), 1, "the file holds no text.")]


def test_missing_files_are_told_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--text 'hello'"):
        Inputs(["-", "hello"], io.BytesIO(b"x"))
    with pytest.raises(InputError, match="No files in"):
        Inputs([str(tmp_path)], io.BytesIO())
    with pytest.raises(InputError, match=r"match '\*\.md'"):
        Inputs([str(tmp_path)], io.BytesIO(), Reading(glob="*.md"))


def test_folders_leave_out_what_the_job_itself_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "a.npy"
    (tmp_path / "a.npy.partial" / "deeper").mkdir(parents=True)
    for name in ("a.meta.jsonl", "a.npy.errors.jsonl", "a.npy.partial/errors.jsonl", "a.npy.partial/deeper/x.txt"):
        write(tmp_path, name, '"own"')
    write(tmp_path, "b.meta.jsonl", '"mine"')
    monkeypatch.chdir(tmp_path)
    for folder, given in ((".", "a.npy"), (".", output), (tmp_path, "a.npy"), (f"../{tmp_path.name}", "a.npy")):
        without = places_of(Path(given), "npy")
        found = Inputs([str(folder)], io.BytesIO(), without=without).entries()
        assert texts(list(found)) == ["mine"]


def test_folders_give_their_files_sorted(tmp_path: Path) -> None:
    for name in ("b.md", "a.txt", "sub/c.txt", "picture.png"):
        write(tmp_path, name, name)
    assert texts(entries(tmp_path)) == ["a.txt", "b.md", "sub/c.txt"]
    assert texts(entries(tmp_path, glob="*.txt")) == ["a.txt", "sub/c.txt"]
    assert texts(entries(tmp_path, glob="*.png")) == ["picture.png"]


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_compressed_files_are_read_as_what_is_in_them(tmp_path: Path, ending: str) -> None:
    import pyarrow

    zstandard = pyarrow.Codec("zstd")
    pack = gzip.compress if ending == ".gz" else lambda content: zstandard.compress(content, asbytes=True)
    path = write(tmp_path, f"a.csv{ending}", pack(b"text\none\ntwo\n"))
    assert texts(entries(path)) == ["one", "two"]
    path.write_bytes(pack(b"text\none\n" * 5000)[:-20])
    assert isinstance(entries(path)[-1], Refused)
    path.write_bytes(pack(b"text\none\n")[:6] + b"damaged in the middle")
    assert isinstance(entries(path)[-1], Refused)


def test_tables_give_the_text_and_the_id_of_each_row(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", 'key,text\nx,"one, or\nmore"\ny\nz,two\n')
    assert entries(path, columns=Columns(id="key")) == [
        Item("one, or\nmore", str(path), 3, 0, "x"),
        Refused(str(path), 4, "the row has 1 of 2 columns."),
        Item("two", str(path), 5, 0, "z"),
    ]
    tabs = write(tmp_path, "a.tsv", "title\tbody\nhead\tlong\n")
    assert texts(entries(tabs, columns=Columns("body"))) == ["long"]
    with pytest.raises(InputError, match=r"no column 'text' \(it has: title, body\).*--column"):
        entries(tabs)
    with pytest.raises(InputError, match="--id-column"):
        entries(tabs, columns=Columns("body", "nr"))


def test_a_file_in_which_nothing_has_an_id_is_told(tmp_path: Path) -> None:
    """A line of JSONL may lack it; that all of them do is a slip."""
    files = [
        write(tmp_path, "none.jsonl", '{"text": "one", "key": 1}\n{"text": "two"}\n'),
        write(tmp_path, "some.jsonl", '{"text": "one"}\n{"text": "two", "nr": 2}\n'),
        write(tmp_path, "empty.csv", "text,nr\none,\n"),
    ]
    told: list[str] = []
    for columns in (Columns(id="nr"), Columns()):
        inputs = Inputs([*map(str, files)], io.BytesIO(), Reading(columns=columns), on_no_ids=told.append)
        assert texts(list(inputs.entries())) == ["one", "two", "one", "two", "one"]
    assert told == [str(files[0])]


def test_semicolons_delimit_where_the_header_has_them(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", 'key;text\nx;"one; or, more"\n')
    assert entries(path, columns=Columns(id="key")) == [Item("one; or, more", str(path), 2, 0, "x")]
    alone = write(tmp_path, "b.csv", "sentence\none; or more\n")
    assert texts(entries(alone)) == ["one; or more"]


def test_a_quote_in_tab_separated_values_hides_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, "a.tsv", 'text\tn\n"One," he said.\t1\n"so ""called"" two"\t2\n"\t3\n"three\t4\n')
    assert texts(entries(path)) == ['"One," he said.', 'so "called" two', '"', '"three']


def test_a_table_without_a_header_is_refused(tmp_path: Path) -> None:
    assert entries(write(tmp_path, "a.csv", "")) == [Refused(str(tmp_path / "a.csv"), 1, "the file holds no text.")]


def test_json_gives_the_elements_of_an_array_or_lines(tmp_path: Path) -> None:
    array = write(tmp_path, "a.json", ' [{"text": "one", "id": {"n": 7}},\n "two", [1]]')
    one, two, refused = entries(array, columns=Columns(id="id"))
    assert (one, two) == (Item("one", str(array), 1, 0, '{"n":7}'), Item("two", str(array), 2))
    assert isinstance(refused, Refused)
    assert texts(entries(write(tmp_path, "b.json", '{"text": "one"}\n"two"\n'))) == ["one", "two"]
    assert "cannot be read" in entries(write(tmp_path, "c.json", "[1,"))[0].reason  # type: ignore[union-attr]
    with pytest.raises(InputError, match="No files"):
        entries(tmp_path)


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "parquet"])
def test_stdin_is_read_as_what_it_is_said_to_hold(kind: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = io.BytesIO()
    pq.write_table(pa.table({"text": ["one", "two"]}), table)
    held = {
        "jsonl": b'{"text": "one"}\n"two"\n',
        "json": b'["one",\n "two"]',
        "csv": b"text\none\ntwo\n",
        "parquet": table.getvalue(),
    }
    assert texts(entries("-", stdin=held[kind], kind=kind)) == ["one", "two"]


def test_json_lines_give_objects_and_texts_and_refuse_the_rest(tmp_path: Path) -> None:
    lines = ['{"text": "one", "id": 7}', '"two"', "{broken", "[1]", '{"text": null}', '{"body": "three"}']
    path = write(tmp_path, "a.jsonl", "\n".join(lines))
    one, two, *refused = entries(path, columns=Columns(id="id"))
    assert (one, two) == (Item("one", str(path), 1, 0, "7"), Item("two", str(path), 2))
    assert [(entry.line, type(entry)) for entry in refused] == [(line, Refused) for line in (3, 4, 5, 6)]
    assert "--column" in refused[-1].reason  # type: ignore[union-attr]


def test_parquet_gives_the_text_and_the_id_of_each_row(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"nr": [1, 2, 3], "text": ["one", None, "three"]}), tmp_path / "a.parquet")
    found = entries(tmp_path / "a.parquet", columns=Columns(id="nr"))
    assert [entry.id for entry in found] == ["1", "2", "3"]
    assert texts(found) == ["one", "three"]
    damaged = write(tmp_path, "b.parquet", b"no such thing")
    assert isinstance(entries(damaged)[0], Refused)


def test_paragraphs_and_files(tmp_path: Path) -> None:
    path = write(tmp_path, "a.md", "# Title\n\n\nFirst line\nsecond line\n  \nLast.")
    assert entries(path) == [
        Item("# Title", str(path), 1, 0),
        Item("First line\nsecond line", str(path), 4, 10),
        Item("Last.", str(path), 7, 36),
    ]
    assert texts(entries(path, split=Split("file"))) == ["# Title\n\n\nFirst line\nsecond line\n  \nLast."]
    assert len(entries(path, split=Split("line"))) == 4


def test_lines_within_a_row_keep_its_place(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", json.dumps({"text": "one\ntwo"}))
    assert entries(path, split=Split("line")) == [Item("one", str(path), 1, 0), Item("two", str(path), 1, 4)]


def test_html_gives_what_a_person_reads(tmp_path: Path) -> None:
    html = (
        "<html><head><title>no</title><meta charset=latin-1></head><body><script>no()</script><h1>Head\n line</h1>"
        "<p>One <b>bold</b> word<br>and caf\xe9</p><ul><li>item<li>other</ul><table><tr><td>a<td>b</table>"
    )
    found = texts(entries(write(tmp_path, "a.html", html.encode("latin-1"))))
    assert found == ["Head line", "One bold word\nand café", "item", "other", "a b"]


def pdf(*pages: str) -> bytes:
    """A PDF with a line of text on each page."""
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, text in enumerate(pages):
        content = f"BT /F1 12 Tf 20 50 Td ({text}) Tj ET" if text else ""
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 100] /Contents {5 + 2 * number} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>"
        )
        objects.append(f"<< /Length {len(content)} >>\nstream\n{content}\nendstream")
    body = b"%PDF-1.4\n"
    places = []
    for number, content in enumerate(objects, start=1):
        places.append(len(body))
        body += f"{number} 0 obj\n{content}\nendobj\n".encode()
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    end = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}trailer\n"
    return body + f"{end}<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(body)}\n%%EOF".encode()


def test_pdf_gives_its_pages(tmp_path: Path) -> None:
    path = write(tmp_path, "a.pdf", pdf("The first page.", "", "The third page."))
    assert entries(path) == [
        Item("The first page.", f"{path}#page=1", 1),
        Item("The third page.", f"{path}#page=3", 1),
    ]
    assert "OCR" in entries(write(tmp_path, "b.pdf", pdf("")))[0].reason  # type: ignore[union-attr]
    assert isinstance(entries(write(tmp_path, "c.pdf", b"no PDF"))[0], Refused)


def test_a_line_that_no_model_takes_is_refused_and_passed_over(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", b"x" * 17_000_000 + b"\nfine\n")
    refused, fine = entries(path)
    assert isinstance(refused, Refused)
    assert "17000001 characters" in refused.reason
    assert fine == Item("fine", str(path), 2, 17_000_001)
    rows = write(tmp_path, "a.jsonl", b'"' + b"x" * 17_000_000 + b'"\n"fine"\n')
    assert [type(entry) for entry in entries(rows)] == [Refused, Item]


def test_a_file_that_vanishes_ends_itself_not_the_others(tmp_path: Path) -> None:
    gone, going, last = (write(tmp_path, f"{name}.txt", name) for name in "abc")
    inputs = Inputs([str(tmp_path)], io.BytesIO())
    gone.unlink()
    found = inputs.entries()
    refused = next(found)
    assert isinstance(refused, Refused)
    assert (refused.source, "cannot be read (No such file" in refused.reason) == (str(gone), True)
    assert next(found) == Item("b", str(going), 1)
    going.unlink()
    assert list(found) == [Item("c", str(last), 1)]
    assert inputs.total_bytes == inputs.bytes_read == 3


def test_how_much_of_the_files_is_read(tmp_path: Path) -> None:
    paths = [write(tmp_path, f"{name}.txt", name * 1000) for name in "ab"]
    inputs = Inputs([str(path) for path in paths], io.BytesIO())
    assert inputs.total_bytes == 2000
    assert [inputs.bytes_read for _ in inputs.entries()] == [1000, 2000]
    assert Inputs(["-"], io.BytesIO()).total_bytes is None


@pytest.mark.parametrize("words", ["lines", "tokens", "tokens:", "tokens:x", "tokens:5:5", "tokens:1:2:3", "line:3"])
def test_what_is_no_split_is_refused(words: str) -> None:
    with pytest.raises(InputError, match=words):
        Split.parse(words)


def test_splits_by_their_words() -> None:
    assert Split.parse("tokens:256:32") == Split("tokens", 256, 32)
    assert Split.parse("paragraph") == Split("paragraph")


def test_runs_of_tokens_need_a_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no tokens"):
        entries(write(tmp_path, "a.txt", "a"), split=Split("tokens", 5))
