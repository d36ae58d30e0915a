"""Jobs that break off and go on, rows that are refused, outputs that are brought up to date."""

from __future__ import annotations

import contextlib
import io
import json
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ovembed import corpus
from ovembed.corpus import Format, Item, Known, Options, Refused, Summary, job, open_stored
from ovembed.corpus.partial import Partial
from ovembed.corpus.rows import Block, Space, Standing
from ovembed.errors import EngineError, InputError
from ovembed.local import LocalEmbedder
from tests.fakes import FakeEngine, make_spec
from tests.resume_child import CHUNK_TEXTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ovembed import ModelRepository
    from ovembed.batches import Layout
    from ovembed.protocols import Tokens, Vectors

KILLS = 6
COMMAND_KILLS = 3


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "CHUNK_TEXTS", CHUNK_TEXTS)


def lines(count: int, start: int = 0) -> list[str]:
    """Every 50th is longer than the model takes."""
    return [f"text {number}" + "x" * (60 if number % 50 == 7 else number % 9) for number in range(start, start + count)]


def embed(
    output: Path,
    entries: Iterable[Item | Refused] | Sequence[str],
    engine: FakeEngine | None = None,
    *,
    known: Known | None = None,
    options: Options | None = None,
    name: str = "fake",
    **flags: bool,
) -> Summary:
    engine = engine or FakeEngine(make_spec(max_tokens=40))
    given = [Item(entry, "a", line) if isinstance(entry, str) else entry for line, entry in enumerate(entries, start=1)]
    with (
        corpus.open_writer(output, corpus.format_of(output), io.BytesIO(), **flags) as writer,
        LocalEmbedder(engine, name) as embedder,
    ):
        return corpus.embed_corpus(given, embedder, writer, options or Options(), known=known)


class FailsAfter(FakeEngine):
    def __init__(self, texts: int) -> None:
        super().__init__(make_spec(max_tokens=40))
        self.left = texts

    def run(self, batch: Sequence[Sequence[int]], layout: Layout | None = None) -> Vectors:
        self.left -= len(batch)
        if self.left < 0:
            raise EngineError("inference failed")
        return super().run(batch, layout)


def broken_off(output: Path, texts: list[str], after: int = 3 * CHUNK_TEXTS) -> None:
    with pytest.raises(EngineError) as caught:
        embed(output, texts, FailsAfter(after))
    assert any("--resume" in note for note in caught.value.__notes__)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".txt"}


@pytest.mark.parametrize("ending", ["npy", "jsonl"])
def test_killed_at_any_point_a_job_goes_on_to_the_very_same_files(tmp_path: Path, ending: Format) -> None:
    source = tmp_path / "texts.txt"
    source.write_text("\n".join(lines(600)), encoding="utf-8")
    chance = random.Random(ending)

    def run(folder: str, number: int) -> int:
        (tmp_path / folder).mkdir(exist_ok=True)
        command = [sys.executable, "-m", "tests.resume_child", source, tmp_path / folder / f"a.{ending}", str(number)]
        return subprocess.run(command, cwd=Path(__file__).parents[1]).returncode

    assert run("whole", 0) == 0
    kills = 0
    while (code := run("killed", chance.randint(1, 25) if kills < KILLS else 0)) != 0:
        assert code == -signal.SIGKILL
        kills += 1
    assert kills > 2
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert set(contents(tmp_path / "whole")) >= {f"a.{ending}", f"a.{ending}.errors.jsonl"}


def test_the_command_killed_at_any_moment_goes_on_to_the_very_same_file(
    repository: ModelRepository, tmp_path: Path
) -> None:
    """Runs of tokens from a folder, into a database, by the real model: at its start, in the middle, at its end."""
    chance = random.Random(20)
    (tmp_path / "in").mkdir()
    for number in range(4):
        (tmp_path / "in" / f"{number}.md").write_text("\n\n".join(lines(1500, start=1500 * number)), encoding="utf-8")
    command = [sys.executable, "-m", "ovembed", "embed", "in", "--split", "tokens:16:4", "--quiet", "--resume"]
    target = ["--repository", str(repository.folder), "--model", "tiny", "--output"]

    def run(output: str, killed_after_s: float | None) -> int:
        process = subprocess.Popen([*command, *target, output], cwd=tmp_path)
        try:
            return process.wait(killed_after_s)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    began = time.monotonic()
    assert run("whole.sqlite", None) == 0
    whole_s = time.monotonic() - began
    codes = [run("killed.sqlite", chance.uniform(0.1, 0.5) * whole_s) for _ in range(COMMAND_KILLS)]
    assert -signal.SIGKILL in codes
    assert {*codes, run("killed.sqlite", None)} == {0, -signal.SIGKILL}
    assert (tmp_path / "killed.sqlite").read_bytes() == (tmp_path / "whole.sqlite").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"in", "killed.sqlite", "whole.sqlite"}


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    texts = lines(400)
    broken_off(tmp_path / "a.npy", texts)
    engine = FakeEngine(make_spec(max_tokens=40))
    summary = embed(tmp_path / "a.npy", texts, engine, resume=True)
    assert summary.resumed > 0
    assert sum(map(len, engine.batches)) == summary.texts - summary.resumed
    embed(tmp_path / "b.npy", texts)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), np.load(tmp_path / "b.npy"))
    assert (tmp_path / "a.meta.jsonl").read_bytes() == (tmp_path / "b.meta.jsonl").read_bytes()
    assert not (tmp_path / "a.npy.partial").exists()


def test_the_share_is_that_of_the_work_there_was(tmp_path: Path) -> None:
    """It follows what is written, not what is read ahead; a job that goes on counts from where it stood."""
    taken = 0

    def entries() -> Iterable[Item]:
        nonlocal taken
        for taken, text in enumerate(map(str, range(8 * CHUNK_TEXTS)), start=1):
            yield Item(text, "a", taken)

    def shares(*, resume: bool, fails_after: int = 10_000) -> list[float | None]:
        found: list[float | None] = []
        with (
            contextlib.suppress(EngineError),
            corpus.open_writer(tmp_path / "a.npy", "npy", io.BytesIO(), resume=resume) as writer,
            LocalEmbedder(FailsAfter(fails_after), "fake") as embedder,
        ):
            corpus.embed_corpus(
                entries(),
                embedder,
                writer,
                Options(),
                share_read=lambda: taken / (8 * CHUNK_TEXTS),
                on_progress=lambda progress: found.append(progress.share),
            )
        return found

    begun = shares(resume=False, fails_after=5 * CHUNK_TEXTS)
    assert begun == [number / 8 for number in range(1, len(begun) + 1)]
    rest = 8 - len(begun)
    assert shares(resume=True) == pytest.approx([number / rest for number in range(1, rest + 1)])


def test_a_broken_off_job_is_neither_lost_nor_mixed_with_another(tmp_path: Path) -> None:
    output = tmp_path / "a.parquet"
    broken_off(output, lines(400))
    with pytest.raises(InputError, match=r"broke off after \d+ rows.*--resume.*--force"):
        embed(output, lines(400))
    same = r"\. Continue with the same, or start over with --force\."
    for others in (lines(400, start=1), lines(10)):
        with pytest.raises(InputError, match=f"^The job that broke off had other texts{same}"):
            embed(output, others, resume=True)
    others = "another model, prompt, precision or number of dimensions"
    with pytest.raises(InputError, match=f"^The job that broke off had {others}{same}"):
        embed(output, lines(400), options=Options(dimensions=4), resume=True)
    with pytest.raises(InputError, match="another model"):
        embed(output, lines(400), FakeEngine(make_spec(max_tokens=40, source="b", weights_sha256="1")), resume=True)
    assert embed(output, lines(400), resume=True).texts == 392
    assert embed(output, lines(10), force=True).texts == 9
    assert len(open_stored(output)) == 9


def test_force_starts_over(tmp_path: Path) -> None:
    broken_off(tmp_path / "a.npy", lines(400))
    assert embed(tmp_path / "a.npy", lines(70), force=True).resumed == 0
    assert len(open_stored(tmp_path / "a.npy")) == 68


def test_one_output_has_one_job(tmp_path: Path) -> None:
    with (
        corpus.open_writer(tmp_path / "a.npy", "npy", io.BytesIO()),
        pytest.raises(InputError, match="Another job is writing"),
    ):
        embed(tmp_path / "a.npy", lines(3), force=True)


def test_a_damaged_checkpoint_is_told(tmp_path: Path) -> None:
    broken_off(tmp_path / "a.npy", lines(400))
    (tmp_path / "a.npy.partial" / "checkpoint.json").write_bytes(b"{}")
    with pytest.raises(InputError, match=r"checkpoint\.json is damaged.*--force"):
        embed(tmp_path / "a.npy", lines(400), resume=True)


@pytest.mark.parametrize("name", ["vectors.npy", "vectors.meta.jsonl", "errors.jsonl"])
@pytest.mark.parametrize("lost", [1, None], ids=["a byte", "all"])
def test_rows_that_are_lost_are_told_and_not_made_up(tmp_path: Path, name: str, lost: int | None) -> None:
    broken_off(tmp_path / "a.npy", lines(400))
    path = tmp_path / "a.npy.partial" / name
    with path.open("r+b") as file:
        length = json.loads((path.parent / "checkpoint.json").read_bytes())["lengths"][name]
        file.truncate(length - lost if lost else 0)
    if lost is None:
        path.unlink()
    with pytest.raises(InputError, match=rf"{name} is damaged\. Start over with --force\."):
        embed(tmp_path / "a.npy", lines(400), resume=True)


def test_a_job_that_was_done_but_for_its_names_keeps_its_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError(None, "no permission")

    output = tmp_path / "a.parquet"
    with monkeypatch.context() as patch:
        patch.setattr(Partial, "_publish", broken)
        with pytest.raises(InputError, match="no permission"):
            embed(output, lines(10))
    with (
        pytest.raises(InputError, match=r"^The job that broke off had another format\. Continue with the same"),
        corpus.open_writer(output, "npy", io.BytesIO(), resume=True),
    ):
        pytest.fail("The rows would be lost.")
    assert embed(output, lines(10), resume=True).texts == 9
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".jsonl"] == ["a.parquet"]


def test_refused_texts_are_told_and_the_others_have_their_rows(tmp_path: Path) -> None:
    given = [Item("one", "a", 1), Refused("a", 2, "no JSON."), Item("x" * 60, "a", 3, id="long"), Item("", "a", 4)]
    summary = embed(tmp_path / "a.npy", [*given, Item("two", "a", 5)])
    assert (summary.texts, summary.refused) == (2, 3)
    told = [json.loads(line) for line in (tmp_path / "a.npy.errors.jsonl").read_text().splitlines()]
    assert [(row["line"], row.get("id")) for row in told] == [(2, None), (3, "long"), (4, None)]
    assert "62 tokens" in told[1]["reason"]
    with open_stored(tmp_path / "a.npy") as stored:
        assert [stored.text(position) for position in range(2)] == ["one", "two"]
    embed(tmp_path / "a.npy", ["one"], force=True)
    assert not (tmp_path / "a.npy.errors.jsonl").exists()


BAD = [Refused("a", 3, "the line is no JSON."), Item("", "a", 3), Item("x" * 60, "a", 3)]
STRICT = Options(strict=True)


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("kind", ["npy", "jsonl"])
def test_strict_ends_at_the_first_and_keeps_the_rows_before_it(
    tmp_path: Path, bad: Item | Refused, kind: Format
) -> None:
    output = tmp_path / "out" / f"a.{kind}"
    output.parent.mkdir()
    before, after = [Item("one", "a", 1), Item("two", "a", 2)], [Item("one", "a", 4), Item("", "a", 5)]
    with pytest.raises(InputError, match=r"^a line 3: ") as caught:
        embed(output, [*before, bad, *after], options=STRICT)
    assert caught.value.__notes__ == [f"2 rows are kept in {output}.partial: continue with --resume."]
    engine = Watched(make_spec(max_tokens=40))
    mended = [*before, Item("mended", "a", 3), *after[:1]]
    assert embed(output, mended, engine, options=STRICT, resume=True).resumed == 2
    assert engine.texts == ["mended", "one"]
    (tmp_path / "whole").mkdir()
    embed(tmp_path / "whole" / output.name, mended, options=STRICT)
    assert contents(output.parent) == contents(tmp_path / "whole")


@pytest.mark.parametrize("bad", BAD)
def test_a_strict_job_goes_on_without_strict(tmp_path: Path, bad: Item | Refused) -> None:
    given = [Item("one", "a", 1), Item("two", "a", 2), bad, Item("three", "a", 4), *BAD]
    with pytest.raises(InputError, match=r"^a line 3: "):
        embed(tmp_path / "a.npy", given, options=STRICT)
    with pytest.raises(InputError, match=r"^a line 3: "):
        embed(tmp_path / "a.npy", given, options=STRICT, resume=True)
    summary = embed(tmp_path / "a.npy", given, resume=True)
    assert (summary.texts, summary.resumed, summary.refused) == (3, 2, 4)
    with open_stored(tmp_path / "a.npy") as stored:
        assert [row.item.text for row in stored.rows] == ["one", "two", "three"]


@pytest.mark.parametrize("bad", BAD)
def test_strict_leaves_nothing_of_a_job_without_rows(tmp_path: Path, bad: Item | Refused) -> None:
    with pytest.raises(InputError, match=r"^a line 3: "):
        embed(tmp_path / "a.npy", [bad, Item("one", "a", 4)], options=STRICT)
    assert list(tmp_path.iterdir()) == []


def test_nothing_but_refused_texts_is_an_error_that_names_the_first(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a line 1: the text is empty.*None of all 2 texts"):
        embed(tmp_path / "a.npy", ["", ""])
    assert list(tmp_path.iterdir()) == []


def test_a_chunk_of_refused_texts_only(tmp_path: Path) -> None:
    texts = [*["x" * 60] * CHUNK_TEXTS, *lines(5), *["x" * 60] * CHUNK_TEXTS]
    assert embed(tmp_path / "a.npy", texts).refused == 2 * CHUNK_TEXTS
    assert len(open_stored(tmp_path / "a.npy")) == 5


class Tokenizing(FakeEngine):
    """Counts the texts that it is given."""

    given = 0

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        self.given += len(texts)
        return super().tokenize(texts)


def test_many_texts_at_fault_cost_one_more_look_at_the_others(tmp_path: Path) -> None:
    texts = [text if place % 3 else text + "x" * 60 for place, text in enumerate(lines(CHUNK_TEXTS))]
    engine = Tokenizing(make_spec(max_tokens=40))
    summary = embed(tmp_path / "a.npy", texts, engine)
    assert engine.given == CHUNK_TEXTS + summary.texts
    refused = [json.loads(line)["line"] for line in (tmp_path / "a.npy.errors.jsonl").read_text().splitlines()]
    assert refused == [place for place, text in enumerate(texts, start=1) if len(text) >= 60]


class Watched(FakeEngine):
    """Knows the texts that it was run on."""

    @property
    def texts(self) -> list[str]:
        def text(tokens: Tokens) -> str:
            return bytes(tokens[1:-1]).decode()

        return sorted(text(tokens) for batch in self.batches for tokens in batch)


def test_equal_texts_of_a_chunk_are_run_once(tmp_path: Path) -> None:
    engine = Watched(make_spec(max_tokens=40))
    texts = ["one", "two", "one", "x" * 60, "two", "", "x" * 60, "one", "three"]
    summary = embed(tmp_path / "a.npy", texts, engine)
    assert engine.texts == ["one", "three", "two"]
    assert (summary.texts, summary.refused, summary.repeated) == (6, 3, 3)
    assert summary.tokens == sum(len(text) + 2 for text in engine.texts)
    with open_stored(tmp_path / "a.npy") as stored:
        assert [row.item.line for row in stored.rows] == [1, 2, 3, 5, 8, 9]
        expected = [engine.row([1, *row.item.text.encode(), 2]) for row in stored.rows]
        np.testing.assert_array_equal(stored.vectors, expected)
        assert [row.tokens for row in stored.rows] == [len(row.item.text) + 2 for row in stored.rows]
    refused = [json.loads(line)["line"] for line in (tmp_path / "a.npy.errors.jsonl").read_text().splitlines()]
    assert refused == [4, 6, 7]


@pytest.mark.parametrize("output", ["a.npy", "a.sqlite"])
@pytest.mark.parametrize("precision", corpus.PRECISIONS)
def test_an_update_embeds_what_is_new(tmp_path: Path, output: str, precision: corpus.VectorPrecision) -> None:
    path, options = tmp_path / output, Options(precision=precision)
    engine = Watched()
    embed(path, ["one", "two", "three"], FakeEngine(), options=options)
    with open_stored(path) as stored:
        before = stored.codes.copy()
        summary = embed(path, ["new", "three", "one"], engine, known=Known(stored), options=options, update=True)
    assert summary.reused == 2
    assert engine.texts == ["a", "new"]  # the first asks for the space
    with open_stored(path) as updated:
        assert [row.item.text for row in updated.rows] == ["new", "three", "one"]
        assert [row.item.line for row in updated.rows] == [1, 2, 3]
        np.testing.assert_array_equal(updated.codes[1:], before[[2, 0]])


def test_an_update_by_another_model_embeds_all(tmp_path: Path) -> None:
    embed(tmp_path / "a.npy", ["one", "two"])
    engine = Watched(make_spec(max_tokens=40, weights_sha256="1"))
    with open_stored(tmp_path / "a.npy") as stored:
        assert embed(tmp_path / "a.npy", ["one"], engine, known=Known(stored), update=True).reused == 0
    assert engine.texts == ["a", "one"]


def test_a_model_under_another_name_is_the_same(tmp_path: Path) -> None:
    output = tmp_path / "a.npy"
    broken_off(output, lines(400))
    assert embed(output, lines(400), name="renamed", resume=True).texts == 392
    with open_stored(output) as stored:
        assert embed(output, lines(400), name="again", known=Known(stored), update=True).reused == 392


def test_names_count_where_a_fingerprint_is_not_known() -> None:
    told, untold = Space("fake", "1", 8), Space("fake", None, 8)
    assert told.is_same(untold)
    assert not told.is_same(Space("other", None, 8))
    assert not told.is_same(Space("fake", "2", 8))


def test_an_update_embeds_again_what_was_cut_and_may_not_be_now(tmp_path: Path) -> None:
    texts = ["x" * 60, "short"]
    embed(tmp_path / "a.npy", texts, options=Options(truncate=True))
    with open_stored(tmp_path / "a.npy") as stored:
        known = Known(stored)
        assert embed(tmp_path / "a.npy", texts, known=known, update=True).refused == 1
        assert embed(tmp_path / "a.npy", texts, known=known, options=Options(truncate=True), update=True).reused == 2


class Ends:
    """A Writer that knows how far the job was each time."""

    def __init__(self, standing: Standing | None = None) -> None:
        self.standing = standing or Standing()
        self.reached: list[Standing] = []

    def write(self, block: Block, standing: Standing) -> None:
        self.reached.append(standing)
        self.standing = standing

    def finish(self) -> None:
        pass


def ends_of(items: list[Item], begun: Standing | None = None) -> list[Standing]:
    writer = Ends(begun)
    with LocalEmbedder(FakeEngine(), "fake") as embedder:
        corpus.embed_corpus(items, embedder, writer, Options())
    return writer.reached


def test_chunks_grow_and_are_the_same_for_a_job_that_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "FIRST_CHUNK_TEXTS", 8)
    items = [Item("text", "a", line) for line in range(1, 3 * CHUNK_TEXTS)]
    reached = ends_of(items)
    assert [standing.rows for standing in reached] == [8, 16, 32, 64, 128, 191]
    for number, standing in enumerate(reached, start=1):
        assert ends_of(items, standing) == reached[number:]


def test_a_chunk_of_long_texts_is_a_small_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "_CHARACTERS_OF_A_TEXT", 4)
    items = [Item("x" * 12, "a", line) for line in range(1, CHUNK_TEXTS)]
    assert ends_of(items)[0].rows == -(-CHUNK_TEXTS // 3)


class OneAhead(FakeEngine):
    """Runs nothing before the texts of two chunks are tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.tokenized = 0
        self.is_ahead = threading.Event()

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        self.tokenized += len(texts)
        if self.tokenized == 2 * CHUNK_TEXTS:
            self.is_ahead.set()
        return super().tokenize(texts)

    def run(self, batch: Sequence[Sequence[int]], layout: Layout | None = None) -> Vectors:
        assert self.is_ahead.wait(timeout=30)
        return super().run(batch, layout)


def test_a_chunk_is_tokenized_while_the_one_before_runs(tmp_path: Path) -> None:
    texts = [f"text {number}" for number in range(2 * CHUNK_TEXTS)]
    assert embed(tmp_path / "a.npy", texts, OneAhead()).texts == 2 * CHUNK_TEXTS


def test_little_is_read_ahead_of_what_is_written(tmp_path: Path) -> None:
    taken = 0

    def endless() -> Iterable[Item]:
        nonlocal taken
        while True:
            taken += 1
            yield Item("text", "a", taken)

    class Enough(Exception):
        pass

    class FullAfterThree:
        standing = Standing()

        def write(self, block: Block, standing: Standing) -> None:
            self.standing = standing
            if standing.rows == 3 * CHUNK_TEXTS:
                raise Enough

    with pytest.raises(Enough), LocalEmbedder(FakeEngine(), "fake") as embedder:
        corpus.embed_corpus(endless(), embedder, FullAfterThree(), Options())  # type: ignore[arg-type]
    assert taken <= 6 * CHUNK_TEXTS
