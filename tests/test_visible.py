"""Characters that a terminal obeys: shown as signs, and kept as they are for programs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ovembed.cli.output import tell_failure
from ovembed.cli.visible import visible
from ovembed.errors import QUOTE
from tests.cli import failure, ovembed
from tests.faulty_server import FaultyServer, faulty_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# A cleared screen, red words, a window's title, a bell, an overwritten line, words turned round, a C1 sequence.
TRICKS = "\x1b[2J\x1b[31mred\x1b]0;title\x07\rgone\x08\x00\u202eabc\u2066d\x7f\x9b1A\u2028end"
SHOWN = "␛[2J␛[31mred␛]0;title␇"
ARABIC_AND_EMOJI = "می‌خواهم שלום 👩‍💻 e\u0301 a\u00ad"


def test_what_a_terminal_obeys_becomes_a_sign() -> None:
    assert visible(TRICKS) == SHOWN + "␍gone␈␀\\u202eabc\\u2066d␡\\x9b1A\\u2028end"
    assert visible("two\nlines\tand a tab") == "two␊lines␉and a tab"
    assert visible(ARABIC_AND_EMOJI) == ARABIC_AND_EMOJI


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with faulty_server() as server:
        yield server


@pytest.fixture
def tricky(server: FaultyServer, tmp_path: Path) -> Path:
    """An output whose text, source and id are tricks."""
    source = tmp_path / "\x1b[31mname\x07.jsonl"
    source.write_text(json.dumps({"text": TRICKS, "key": "\x1b[32mid\n\u202e"}) + "\n", encoding="utf-8")
    path = tmp_path / "out.jsonl"
    done = ovembed("embed", str(source), "--id-column", "key", "--url", server.url, "-o", str(path))
    assert done.returncode == 0, done.stderr
    return path


def test_a_table_shows_them(server: FaultyServer, tricky: Path) -> None:
    done = ovembed("query", "a", str(tricky), "--url", server.url)
    assert done.returncode == 0, done.stderr
    shown = "".join(done.stdout.decode().split())
    assert not set("\x1b\x07\x00\x7f\x9b\u202e\u2066") & set(shown)
    for sign in ("␛[2J", "␇", "\\u202eabc", "␛[32mid␊"):
        assert sign in shown


def test_json_and_files_hold_them_as_they_are(server: FaultyServer, tricky: Path) -> None:
    done = ovembed("query", "a", str(tricky), "--url", server.url, "--json")
    assert b"\x1b" not in done.stdout
    (found,) = json.loads(done.stdout)["results"]
    assert found["text"] == json.loads(tricky.read_bytes())["text"] == TRICKS
    assert found["id"] == "\x1b[32mid\n\u202e"


def test_errors_and_talk_show_them(server: FaultyServer, tmp_path: Path) -> None:
    message = failure(ovembed("query", "a", str(tmp_path / "\x1b[31mnone\x07\n.npy"), "--url", server.url))
    assert "␛[31mnone␇␊.npy" in message
    odd = tmp_path / "\x1b[31mwords.txt"
    odd.write_bytes("größer\n".encode("latin-1"))
    done = ovembed("embed", str(odd), "--url", server.url, "-o", str(tmp_path / "\x1b[0mout.npy"))
    assert done.returncode == 0
    assert b"\x1b" not in done.stderr
    assert "␛[31mwords.txt is read as" in done.stderr.decode()


def test_an_output_that_knows_few_characters_gets_the_numbers_of_others(server: FaultyServer, tricky: Path) -> None:
    words = [sys.executable, "-m", "ovembed", "query", "a", str(tricky), "--url", server.url]
    done = subprocess.run(words, capture_output=True, env=os.environ | {"PYTHONIOENCODING": "ascii"}, check=True)
    assert b"\\u241b[2J" in b"".join(done.stdout.split())


def test_the_last_words_of_a_program_keep_their_lines(capsys: pytest.CaptureFixture[str]) -> None:
    tell_failure(f"It ended. Its last words:{QUOTE}one \x1b[2J{QUOTE}two\nlines")
    assert capsys.readouterr().err == "ovembed: It ended. Its last words:\n  | one ␛[2J\n  | two␊lines\n"
