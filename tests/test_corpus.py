from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from ovembed import corpus
from ovembed.corpus import Format, Options
from ovembed.errors import InputError, MissingExtra
from ovembed.local import LocalEmbedder
from tests.fakes import FakeEngine, make_spec


def write(tmp_path: Path, name: str, content: bytes) -> Path:
    (tmp_path / name).write_bytes(content)
    return tmp_path / name


@pytest.mark.parametrize(
    ("output", "chosen", "expected"),
    [(None, None, "json"), (Path("a.npy"), None, "npy"), (Path("a.jsonl"), None, "jsonl"), (Path("a.x"), "npy", "npy")],
)
def test_the_format_comes_from_the_flag_or_the_ending(
    output: Path | None, chosen: Format | None, expected: Format
) -> None:
    assert corpus.format_of(output, chosen) == expected


def test_an_unknown_ending_is_refused() -> None:
    with pytest.raises(InputError, match=r"out\.csv.*--format"):
        corpus.format_of(Path("out.csv"), None)


def embed(output: Path, kind: Format, texts: list[str], *, dimensions: int | None = None, force: bool = False) -> None:
    options = Options(dimensions=dimensions, strict=True)
    engine = FakeEngine(make_spec(max_tokens=1000))
    with (
        corpus.open_writer(output, kind, io.BytesIO(), force=force) as writer,
        LocalEmbedder(engine, "fake") as embedder,
    ):
        corpus.embed_corpus(corpus.GivenTexts(texts).entries(), embedder, writer, options)


TEXTS = [f"text {'x' * (number % 7)} {number}" for number in range(2500)]


def expected(texts: list[str]) -> np.ndarray:
    engine = FakeEngine()
    return np.stack([engine.row(tokens) for tokens in engine.tokenize(texts)])


def test_npy_holds_all_rows_in_order_and_meta_says_which_is_which(tmp_path: Path) -> None:
    embed(tmp_path / "a.npy", "npy", TEXTS)
    rows = np.load(tmp_path / "a.npy")
    assert rows.dtype == np.dtype("<f4")
    assert rows.flags.c_contiguous
    np.testing.assert_array_equal(rows, expected(TEXTS))
    head, *meta = map(json.loads, (tmp_path / "a.meta.jsonl").read_text().splitlines())
    assert head == {"model": "fake", "fingerprint": make_spec(max_tokens=1000).fingerprint, "dimensions": 8}
    assert [row["text"] for row in meta] == TEXTS
    assert [row["index"] for row in meta] == list(range(len(TEXTS)))


def test_jsonl_and_json_hold_the_same_rows(tmp_path: Path) -> None:
    embed(tmp_path / "a.jsonl", "jsonl", TEXTS)
    embed(tmp_path / "a.json", "json", TEXTS)
    whole = json.loads((tmp_path / "a.json").read_text())
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    space = {"model": "fake", "fingerprint": make_spec(max_tokens=1000).fingerprint}
    assert [row | space for row in whole["data"]] == lines
    assert {name: whole[name] for name in space} == space
    assert whole["dimensions"] == 8
    assert whole["usage"]["prompt_tokens"] == sum(len(text) + 2 for text in TEXTS)
    rows = np.array([row["embedding"] for row in whole["data"]], dtype=np.float32)
    np.testing.assert_allclose(rows, expected(TEXTS), rtol=1e-6)


def test_dimensions_cut_and_normalize(tmp_path: Path) -> None:
    embed(tmp_path / "a.npy", "npy", TEXTS[:5], dimensions=3)
    rows = np.load(tmp_path / "a.npy")
    assert rows.shape == (5, 3)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-6)


def test_existing_output_is_kept_without_force(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", b"mine")
    with pytest.raises(InputError, match="--force"):
        embed(path, "jsonl", ["a"])
    assert path.read_bytes() == b"mine"
    embed(path, "jsonl", ["a"], force=True)
    assert json.loads(path.read_text())["text"] == "a"


@pytest.mark.parametrize("kind", corpus.FORMATS)
def test_a_failed_job_leaves_nothing_and_replaces_nothing(tmp_path: Path, kind: Format) -> None:
    path = write(tmp_path, f"a.{kind}", b"mine")
    with pytest.raises(InputError, match="--text line 1: the text is empty"):
        embed(path, kind, ["", "a"], force=True)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == b"mine"


def test_json_on_stdout_is_whole_or_nothing() -> None:
    stdout = io.BytesIO()
    with pytest.raises(InputError), corpus.open_writer(None, "json", stdout, force=False) as writer:
        corpus.embed_corpus(
            corpus.GivenTexts(["a", ""]).entries(), LocalEmbedder(FakeEngine(), "fake"), writer, Options(strict=True)
        )
    assert stdout.getvalue() == b""


def test_npy_needs_a_file() -> None:
    with pytest.raises(InputError, match="--output"), corpus.open_writer(None, "npy", io.BytesIO(), force=False):
        pass


def test_parquet_asks_for_its_package_before_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with (
        pytest.raises(MissingExtra, match=r"ovembed\[files\]"),
        corpus.open_writer(tmp_path / "a.parquet", "parquet", io.BytesIO()),
    ):
        pytest.fail("The job began.")
    assert list(tmp_path.iterdir()) == []


def test_no_texts_are_an_error() -> None:
    with (
        pytest.raises(InputError, match="no texts"),
        corpus.open_writer(None, "json", io.BytesIO(), force=False) as writer,
    ):
        corpus.embed_corpus([], LocalEmbedder(FakeEngine(), "fake"), writer, Options())


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        embed(tmp_path / "nowhere" / "a.jsonl", "jsonl", ["a"])


def test_cut_texts_are_named_by_their_place() -> None:
    engine = FakeEngine(make_spec(max_tokens=4))
    with corpus.open_writer(None, "json", io.BytesIO(), force=False) as writer:
        summary = corpus.embed_corpus(
            corpus.GivenTexts(["a", "too long"]).entries(),
            LocalEmbedder(engine, "fake"),
            writer,
            Options(truncate=True),
        )
    assert summary.truncated_places == ("--text line 2",)
    assert (summary.texts, summary.tokens) == (2, 3 + 4)
