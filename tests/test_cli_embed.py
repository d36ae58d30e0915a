"""`ovembed embed` as a user runs it, in process and against a real server."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ovembed.corpus import open_stored
from ovembed.errors import InputError
from ovembed.launch import local_server
from tests.cli import failure, ovembed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ovembed import ModelRepository

TEXTS = ["The cat is in the house.", "a bridge over the river", "Old trains!", "x"]


@pytest.fixture(scope="module")
def url(repository: ModelRepository) -> Iterator[str]:
    with local_server(repository, "tiny") as url:
        yield url


@pytest.fixture
def tiny(repository: ModelRepository) -> str:
    return str(repository.get("tiny").folder)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(TEXTS), encoding="utf-8")
    return path


def test_both_ways_give_the_same_numbers(texts: Path, tiny: str, url: str, tmp_path: Path) -> None:
    for target, name in (("--model", "local.npy"), ("--url", "remote.npy")):
        done = ovembed("embed", str(texts), target, tiny if target == "--model" else url, "-o", name, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "local.npy"), np.load(tmp_path / "remote.npy"), atol=1e-6)
    heads = [(tmp_path / f"{name}.meta.jsonl").read_text().splitlines()[0] for name in ("local", "remote")]
    assert json.loads(heads[0])["fingerprint"] == json.loads(heads[1])["fingerprint"]


def test_without_an_output_stdout_holds_json_and_nothing_else(tiny: str) -> None:
    done = ovembed("embed", "--text", "the cat", "--text", "a dog", "--model", tiny)
    reply = json.loads(done.stdout)
    assert set(reply) == {"model", "dimensions", "fingerprint", "data", "usage"}
    assert [row["text"] for row in reply["data"]] == ["the cat", "a dog"]
    assert len(reply["data"][0]["embedding"]) == reply["dimensions"] == 32


def test_stdin_to_jsonl(tiny: str) -> None:
    done = ovembed("embed", "--model", tiny, "--format", "jsonl", stdin=b"one\n\ntwo\n")
    assert [json.loads(line)["text"] for line in done.stdout.splitlines()] == ["one", "two"]
    assert done.stderr == b""


def test_prompts_by_name_and_by_word_are_the_same(tiny: str) -> None:
    named = ovembed("embed", "--text", "cat", "--model", tiny, "--prompt-name", "query")
    worded = ovembed("embed", "--text", "cat", "--model", tiny, "--prompt", "find: ")
    plain = ovembed("embed", "--text", "cat", "--model", tiny)
    rows = [json.loads(done.stdout)["data"][0]["embedding"] for done in (named, worded, plain)]
    assert rows[0] == rows[1] != rows[2]


def test_the_only_model_is_found_and_several_are_listed(repository: ModelRepository, tmp_path: Path) -> None:
    several = failure(ovembed("embed", "--text", "a", "--repository", str(repository.folder)))
    assert "minilm" in several
    assert "--model" in several
    assert "ovembed export" in failure(ovembed("embed", "--text", "a", cwd=tmp_path))


@pytest.mark.parametrize("target", ["--model", "--url"])
def test_too_long_a_text_is_named_and_cut_on_request(target: str, tiny: str, url: str, tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_text("short\n" + "cat " * 100, encoding="utf-8")
    where = tiny if target == "--model" else url
    refused = failure(ovembed("embed", str(path), target, where))
    assert f"{path} line 2: 102 tokens, but the model takes 32" in refused
    assert "--truncate" in refused
    cut = ovembed("embed", str(path), target, where, "--truncate")
    assert cut.returncode == 0
    assert "1 of 2 texts" in cut.stderr.decode()


def test_a_line_of_ten_megabytes_is_told_not_choked_on(tiny: str, tmp_path: Path) -> None:
    path = tmp_path / "huge.txt"
    path.write_text("cat " * 2_500_000, encoding="utf-8")
    assert "line 1: more than 1282 tokens" in failure(ovembed("embed", str(path), "--model", tiny))


@pytest.mark.parametrize(
    ("content", "word"),
    [(b"", "holds no text"), (bytes(range(128, 256)) * 40, "no text in any known encoding"), (None, "--text")],
)
def test_files_that_cannot_be_read_are_named(content: bytes | None, word: str, tiny: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.txt"
    if content is not None:
        path.write_bytes(content)
    message = failure(ovembed("embed", str(path), "--model", tiny, "-o", "out.json", cwd=tmp_path))
    assert "bad.txt" in message
    assert word in message
    assert not (tmp_path / "out.json").exists()


def test_existing_output_is_refused_then_forced(texts: Path, tiny: str, tmp_path: Path) -> None:
    command = ("embed", str(texts), "--model", tiny, "-o", "out.jsonl")
    assert ovembed(*command, cwd=tmp_path).returncode == 0
    assert "--force" in failure(ovembed(*command, cwd=tmp_path))
    assert ovembed(*command, "--force", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("embed", "a.txt", "--text", "a"),
        ("embed", "--text", "a", "--format", "csv"),
        ("embed", "-", "--column", "body"),
        ("embed", "--no-such-option"),
    ],
)
def test_wrong_usage_exits_2(arguments: tuple[str, ...]) -> None:
    assert ovembed(*arguments).returncode == 2


def test_nothing_behind_the_url(nowhere: str) -> None:
    message = failure(ovembed("embed", "--text", "a", "--url", nowhere))
    assert nowhere in message
    assert "ovembed serve" in message


def test_a_server_that_dies_halfway_leaves_no_output(texts: Path, tmp_path: Path) -> None:
    """It tells about its model, reads the request, sends half a reply, and goes."""
    listing = b'{"data": [{"id": "m"}]}'
    half = b'HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n{"object": "list", "da'

    def die_halfway(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            while connection.recv(65536).startswith(b"GET"):
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(listing), listing))
            connection.sendall(half)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=die_halfway, args=(listener,))
        server.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        command = ("embed", str(texts), "--url", url, "-o", "out.npy", "--retries", "0")
        message = failure(ovembed(*command, cwd=tmp_path))
        server.join()
    assert "broke off" in message
    assert {path.name for path in tmp_path.iterdir()} == {texts.name}


def test_a_closed_pipe_is_silent(tiny: str, tmp_path: Path) -> None:
    path = tmp_path / "many.txt"
    path.write_text("the cat\n" * 5000, encoding="utf-8")
    command = [sys.executable, "-m", "ovembed", "embed", str(path), "--model", tiny, "--format", "jsonl"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(100)
        process.stdout.close()
        assert process.stderr.read() == b""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Full after 1.5 MB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("no small disk can be mounted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_told_and_leaves_nothing(tiny: str, small_disk: Path, tmp_path: Path) -> None:
    (small_disk / "other").write_bytes(bytes(1_490_000))
    path = tmp_path / "many.txt"
    path.write_text("the cat\n" * 3000, encoding="utf-8")
    assert "no space left" in failure(ovembed("embed", str(path), "--model", tiny, "-o", str(small_disk / "a.npy")))
    assert [entry.name for entry in small_disk.iterdir()] == ["other"]


def test_a_full_disk_is_no_end_where_there_is_more_of_it(tiny: str, small_disk: Path, tmp_path: Path) -> None:
    path = tmp_path / "many.txt"
    path.write_text("the cat\n" * 12_000, encoding="utf-8")
    command = ("embed", str(path), "--model", tiny, "-o", str(small_disk / "a.npy"))
    told = failure(ovembed(*command))
    assert "no space left" in told
    assert "4096 rows are kept" in told
    assert "--resume" in told
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    done = ovembed(*command, "--resume")
    assert (done.returncode, "4,096 from the job that broke off" in done.stderr.decode()) == (0, True)
    assert np.load(small_disk / "a.npy").shape == (12_000, 32)
    assert sorted(entry.name for entry in small_disk.iterdir()) == ["a.meta.jsonl", "a.npy"]


def test_an_interrupt_tells_how_to_go_on(tiny: str, tmp_path: Path) -> None:
    """It comes while stdin stays open, when the first rows are there."""
    command = [sys.executable, "-m", "ovembed", "embed", "-", "--model", tiny, "-o", "a.npy"]
    with subprocess.Popen(command, bufsize=0, cwd=tmp_path, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        while not (tmp_path / "a.npy.partial" / "checkpoint.json").exists():
            process.stdin.write(b"the cat\n" * 4096)
        process.stdin.write(b"the cat\n" * 16 * 4096)  # taken only by a job that has gone on
        process.send_signal(signal.SIGINT)
        told = process.stderr.read().decode()
    assert process.returncode == 130
    assert re.fullmatch(r"ovembed: \d+ rows are kept in a\.npy\.partial: continue with --resume\.\n", told)


def test_bad_rows_are_told_by_the_exit_code_and_their_file(tiny: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "the cat", "nr": 1}\n{"text": ""}\n', encoding="utf-8")
    command = ("embed", "a.jsonl", "--id-column", "nr", "--model", tiny, "-o", "out.parquet")
    done = ovembed(*command, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.decode().splitlines()[-1] == (
        "ovembed: 1 of 2 texts could not be embedded: see out.parquet.errors.jsonl."
    )
    with open_stored(tmp_path / "out.parquet") as stored:
        assert [row.item.id for row in stored.rows] == ["1"]
    assert "a.jsonl line 2: the text is empty" in failure(ovembed(*command, "--strict", "--force", cwd=tmp_path))


def test_a_mistyped_column_of_ids_is_told(tiny: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "the cat", "nr": 1}\n', encoding="utf-8")
    done = ovembed("embed", "a.jsonl", "--id-column", "rn", "--model", tiny, "-o", "a.npy", cwd=tmp_path)
    assert done.returncode == 0
    assert "Nothing in a.jsonl has an id in 'rn'; --id-column takes another." in done.stderr.decode().splitlines()


def test_runs_of_tokens_by_the_models_own_tokenizer(tiny: str, url: str, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("the cat is in the house by the river " * 20, encoding="utf-8")
    command = ("embed", "a.md", "--split", "tokens:12:3", "--prompt-name", "query")
    done = ovembed(*command, "--model", tiny, "-o", "a.npy", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with open_stored(tmp_path / "a.npy") as stored:
        assert {row.tokens for row in stored.rows[:-1]} == {12}
        assert stored.space.prompt == "find: "
    words = failure(ovembed("embed", "a.md", "--split", "tokens:12", "--url", url, cwd=tmp_path))
    assert "does not tell its tokens" in words


def test_an_update_says_what_it_kept_and_a_complete_job_is_not_resumed(tiny: str, texts: Path, tmp_path: Path) -> None:
    command = ("embed", str(texts), "--model", tiny, "-o", "out.npz")
    assert ovembed(*command, cwd=tmp_path).returncode == 0
    assert "nothing to resume" in ovembed(*command, "--resume", cwd=tmp_path).stderr.decode()
    texts.write_text("\n".join([*TEXTS, "a new one"]), encoding="utf-8")
    assert "5 texts (4 unchanged)" in ovembed(*command, "--update", cwd=tmp_path).stderr.decode()


DIES_BETWEEN_BOTH_FILES = """
import os, signal
from ovembed.cli.main import main

rename = os.replace

def replace(source, target):
    if os.path.basename(target) == "a.npy":
        os.kill(os.getpid(), signal.SIGKILL)
    rename(source, target)

os.replace = replace
main()
"""


def test_an_update_that_dies_between_the_renames_goes_on(tiny: str, texts: Path, tmp_path: Path) -> None:
    command = ("embed", str(texts), "--model", tiny, "-o", "a.npy")
    assert ovembed(*command, cwd=tmp_path).returncode == 0
    texts.write_text("\n".join([*TEXTS, "a new one"]), encoding="utf-8")
    dies = subprocess.run([sys.executable, "-c", DIES_BETWEEN_BOTH_FILES, *command, "--update"], cwd=tmp_path)
    assert dies.returncode == -signal.SIGKILL
    with pytest.raises(InputError, match="damaged"):
        open_stored(tmp_path / "a.npy")
    assert "--resume" in failure(ovembed(*command, "--update", cwd=tmp_path))
    assert ovembed(*command, "--update", "--resume", cwd=tmp_path).returncode == 0
    with open_stored(tmp_path / "a.npy") as stored:
        assert [row.item.text for row in stored.rows] == [*TEXTS, "a new one"]
    assert not (tmp_path / "a.npy.partial").exists()
