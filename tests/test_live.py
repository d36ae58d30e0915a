"""Texts that come by and by: none is kept back when no more come."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ovembed.corpus import STDIN, Inputs, Item, Pause, Refused
from ovembed.corpus.live import with_pauses

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from ovembed import ModelRepository


def words(entry: Item | Refused | Pause) -> str:
    return entry.text if isinstance(entry, Item) else type(entry).__name__


def test_a_pause_comes_when_nothing_more_does() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stdin, os.fdopen(writing, "wb", buffering=0) as log:
        entries = map(words, Inputs([STDIN], stdin).entries())
        log.write(b"one\ntw")
        assert [next(entries), next(entries)] == ["one", "Pause"]
        log.write(b"o\nthree\n")
        assert [next(entries), next(entries), next(entries)] == ["two", "three", "Pause"]
        log.close()
        assert list(entries) == []


def test_what_is_all_there_has_no_pauses() -> None:
    lines = b"the cat\n" * 100_000
    assert sum(isinstance(entry, Item) for entry in Inputs([STDIN], io.BytesIO(lines)).entries()) == 100_000


def test_an_error_comes_after_what_was_read_before_it() -> None:
    def read(stream: BinaryIO) -> Iterator[bytes]:
        yield stream.readline()
        raise ValueError("bad")

    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stdin, os.fdopen(writing, "wb", buffering=0) as log:
        log.write(b"one\n")
        found = with_pauses(stdin, read)
        assert next(found) == b"one\n"
        with pytest.raises(ValueError, match="bad"):
            next(found)


def test_rows_of_a_log_come_while_it_is_written(repository: ModelRepository) -> None:
    command = [sys.executable, "-m", "ovembed", "embed", "--format", "jsonl"]
    target = ["--model", "tiny", "--repository", str(repository.folder)]
    with subprocess.Popen(
        command + target, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        for number in range(3):
            process.stdin.write(b"the cat %d\n" % number)
            assert json.loads(process.stdout.readline())["text"] == f"the cat {number}"
        process.stdin.close()
        assert (process.stdout.read(), process.stderr.read()) == (b"", b"")
