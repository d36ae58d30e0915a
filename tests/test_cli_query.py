"""`ovembed query` as a user runs it."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.cli import failure, ovembed
from tests.fakes import FakeEngine, make_spec
from tests.faulty_server import FaultyServer, faulty_server
from tests.serving import application, on_a_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ovembed import ModelRepository

TEXTS = Path(__file__).parents[1] / "examples" / "texts.txt"
QUESTION = "I can't remember my login"
ANSWER = "You can reset your password from the sign-in page"


@pytest.fixture(scope="module")
def minilm(repository: ModelRepository) -> str:
    return str(repository.folder)


@pytest.fixture(scope="module")
def embedded(minilm: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example texts by minilm-fp32, in a file that knows it."""
    path = tmp_path_factory.mktemp("embedded") / "texts.npy"
    done = ovembed("embed", str(TEXTS), "--repository", minilm, "--model", "minilm-fp32", "-o", str(path))
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture(scope="module")
def tiny_prompted(repository: ModelRepository, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The repository with a model that has a prompt for queries, and a file that was made without it."""
    path = tmp_path_factory.mktemp("prompted") / "tiny.npy"
    options = ("--model", "tiny", "--repository", str(repository.folder), "--prompt", "")
    done = ovembed("embed", "--text", "the cat", "--text", "a dog", *options, "-o", str(path))
    assert done.returncode == 0, done.stderr
    return str(repository.folder), path


def test_the_table_shows_the_nearest_first_with_its_place(embedded: Path, minilm: str) -> None:
    done = ovembed("query", QUESTION, str(embedded), "-k", "2", "--repository", minilm)
    assert (done.returncode, done.stderr) == (0, b"")
    _, _, first, *_ = done.stdout.decode().splitlines()
    assert ANSWER[:20] in first
    assert "█" in first
    assert "texts.txt:1" in done.stdout.decode()


@pytest.mark.parametrize("ending", ["parquet", "jsonl", "sqlite", "npz"])
def test_every_kind_of_file_gives_the_same(ending: str, minilm: str, tmp_path: Path) -> None:
    path = tmp_path / f"out.{ending}"
    options = ("--repository", minilm, "--model", "minilm-fp32", "-o", str(path))
    assert ovembed("embed", str(TEXTS), *options).returncode == 0
    done = ovembed("query", QUESTION, str(path), "--model", "minilm-fp32", "--json", "--repository", minilm, "-k", "3")
    found = json.loads(done.stdout)
    assert found["query"] == QUESTION
    assert len(found["results"]) == 3
    first = found["results"][0]
    assert first["text"].startswith(ANSWER)
    assert (first["index"], first["line"]) == (0, 1)
    assert first["score"] > found["results"][1]["score"]


def test_lines_of_stdin_are_looked_for_one_after_the_other(embedded: Path, minilm: str) -> None:
    command = ("query", "--interactive", str(embedded), "--json", "-k", "1", "--repository", minilm)
    done = ovembed(*command, stdin=f"{QUESTION}\n\nsecond question\n".encode())
    assert (done.returncode, done.stderr) == (0, b"")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["query"] for each in found] == [QUESTION, "second question"]


def test_in_a_terminal_lines_are_asked_for_until_ctrl_d(embedded: Path, minilm: str) -> None:
    command = [sys.executable, "-m", "ovembed", "query", "-i", str(embedded), "-k", "1", "--repository", minilm]
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=os.environ | {"TERM": "dumb"}
    ) as process:
        os.close(theirs)
        _read_until_asked(ours)
        os.write(ours, f"{QUESTION}\n".encode())
        shown = _read_until_asked(ours)
        os.write(ours, b"\x04")
        assert process.wait(30) == 0
    os.close(ours)
    assert b"reset your password" in shown


def test_typed_lines_are_not_asked_for_in_a_file(embedded: Path, minilm: str) -> None:
    command = [sys.executable, "-m", "ovembed", "query", "-i", str(embedded), "--json", "--repository", minilm]
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE) as process:
        os.close(theirs)
        assert process.stdout is not None
        os.write(ours, f"{QUESTION}\n\x04".encode())
        assert json.loads(process.stdout.read())["query"] == QUESTION
        assert process.wait(30) == 0
    os.close(ours)


def _read_until_asked(terminal: int) -> bytes:
    """What is shown until the program waits for the next line."""
    shown = b""
    while not shown.endswith(b"> "):
        shown += os.read(terminal, 4096)
    return shown


def test_a_closed_pipe_is_silent(embedded: Path, minilm: str) -> None:
    command = [sys.executable, "-m", "ovembed", "query", "-i", "--json", str(embedded), "--repository", minilm]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(f"{QUESTION}\n".encode())
        process.stdin.flush()
        process.stdout.readline()
        process.stdout.close()
        process.stdin.write(b"another\n" * 3)
        process.stdin.close()
        assert process.stderr.read() == b""


def test_the_prompt_for_queries_is_put_before_them(tiny_prompted: tuple[str, Path]) -> None:
    repository, path = tiny_prompted

    def top(*options: str) -> float:
        done = ovembed("query", "the cat", str(path), "--json", "-k", "1", "--repository", repository, *options)
        assert done.returncode == 0, done.stderr
        return float(json.loads(done.stdout)["results"][0]["score"])

    assert top() == top("--prompt-name", "query") == top("--prompt", "find: ")
    assert top() != top("--prompt", "")
    assert top("--prompt", "") == pytest.approx(1, abs=1e-5)


def test_vectors_of_another_model_are_refused(embedded: Path, minilm: str) -> None:
    message = failure(ovembed("query", "a", str(embedded), "--model", "minilm", "--repository", minilm))
    assert "cannot be compared" in message
    assert "'minilm-fp32'" in message


def test_a_maker_that_is_not_here_is_told(embedded: Path, tmp_path: Path) -> None:
    message = failure(ovembed("query", "a", str(embedded), "--repository", str(tmp_path / "none")))
    assert "made by 'minilm-fp32'" in message or "'minilm-fp32', fingerprint" in message
    assert "--model" in message


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with faulty_server() as server:
        yield server


def test_an_endpoint_that_tells_no_fingerprint_is_warned_of_once(server: FaultyServer, tmp_path: Path) -> None:
    server.fingerprint = None  # type: ignore[assignment]
    path = tmp_path / "out.npy"
    assert ovembed("embed", "--text", "a", "--text", "b", "--url", server.url, "-o", str(path)).returncode == 0
    done = ovembed("query", "-i", "--json", str(path), "--url", server.url, stdin=b"a\nb\n")
    assert [json.loads(line)["results"][0]["text"] for line in done.stdout.splitlines()] == ["a", "b"]
    assert len(done.stderr.decode().splitlines()) == 1
    assert "no fingerprint" in done.stderr.decode()


def test_our_server_tells_the_prompt_for_queries(tmp_path: Path) -> None:
    engine = FakeEngine(make_spec(prompts={"query": "q: "}))
    path = tmp_path / "out.npy"
    with application({"org/fake": engine}) as (app, _), on_a_port(app) as url:
        assert ovembed("embed", "--text", "q: a", "--text", "b", "--url", url, "-o", str(path)).returncode == 0
        done = ovembed("query", "a", str(path), "--url", url, "--json")
    assert json.loads(done.stdout)["results"][0]["score"] == pytest.approx(1)


def test_files_that_cannot_be_used_are_named(embedded: Path, minilm: str, tmp_path: Path) -> None:
    def told(path: Path) -> str:
        message = failure(ovembed("query", "a", str(path), "--repository", minilm))
        assert path.name in message
        return message

    missing = tmp_path / "missing.npy"
    assert f"ovembed embed FILE -o {missing}" in told(missing)
    (tmp_path / "words.txt").write_text("a", encoding="utf-8")
    assert "ends in none of" in told(tmp_path / "words.txt")
    meta = embedded.with_suffix(".meta.jsonl").read_bytes()
    short = tmp_path / "short.npy"
    np.save(short, np.load(embedded)[:2])
    short.with_suffix(".meta.jsonl").write_bytes(meta)
    assert "damaged" in told(short)
    broken = tmp_path / "nan.npy"
    rows = np.load(embedded)
    rows[1, 2] = np.nan
    np.save(broken, rows)
    broken.with_suffix(".meta.jsonl").write_bytes(meta)
    assert "row 1, counted from 0, is not finite" in told(broken)


def test_wrong_usage_exits_2(embedded: Path) -> None:
    for arguments in (
        ("a",),
        ("a", str(embedded), "-k", "0"),
        ("a", str(embedded), "--prompt", "", "--prompt-name", "q"),
    ):
        assert ovembed("query", *arguments).returncode == 2


def test_words_and_file_in_the_wrong_order_are_told(embedded: Path) -> None:
    done = ovembed("query", str(embedded), "my question")
    assert done.returncode == 2
    assert "the text comes first" in done.stderr.decode()


def test_an_empty_query_is_told(embedded: Path, minilm: str) -> None:
    assert "query is empty" in failure(ovembed("query", " ", str(embedded), "--repository", minilm))
