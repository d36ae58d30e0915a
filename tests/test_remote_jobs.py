"""Embed jobs by servers that are slow, refuse texts, or are gone in the middle: what is shown, kept and sent again."""

from __future__ import annotations

import contextlib
import gc
import io
import json
import random
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from queue import Queue
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ovembed import corpus
from ovembed.corpus import Format, Item, Options, Progress, Summary, open_stored
from ovembed.errors import EndpointLost, InputError
from ovembed.remote import RemoteEmbedder, RemoteSettings
from tests.cli import ovembed
from tests.faulty_server import CUT_OFF, FaultyServer, Reply, faulty_server
from tests.serving import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

# A job that ends early waits for no request that is under way: its connection is left to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:.*unclosed <socket:ResourceWarning")

MOST = 16
LONGEST = 40


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    """Takes MOST texts at once, and none that is longer than LONGEST."""
    with faulty_server() as server:
        server.gets["/info"] = Reply(200, {"model_id": "m", "max_client_batch_size": MOST})
        server.fault = picky
        yield server
    gc.collect()


def picky(texts: list[str]) -> Reply | None:
    if len(texts) > MOST:
        return Reply(422, {"error": "too many"})
    place = next((place for place, text in enumerate(texts) if len(text) > LONGEST), None)
    error = {"message": f"Input {place}: too long.", "param": f"input[{place}]"}
    return None if place is None else Reply(400, {"error": error})


def lines(count: int) -> list[str]:
    """Every 50th is too long, every seventh is one that was there before."""
    return [
        "x" * (LONGEST + number) if number % 50 == 17 else f"text {number // 2 if number % 7 == 0 else number}"
        for number in range(count)
    ]


def embed(
    server: FaultyServer,
    output: Path,
    texts: Sequence[str],
    *,
    options: Options | None = None,
    resume: bool = False,
    on_progress: Callable[[Progress], None] = lambda _: None,
    concurrency: int = 1,
) -> Summary:
    settings = RemoteSettings(concurrency=concurrency, retries=0)
    with (
        corpus.open_writer(output, corpus.format_of(output), io.BytesIO(), resume=resume) as writer,
        RemoteEmbedder(server.url, settings=settings) as embedder,
    ):
        items = [Item(text, "a", line) for line, text in enumerate(texts, start=1)]
        return corpus.embed_corpus(items, embedder, writer, options or Options(), on_progress=on_progress)


class Mortal:
    """A fault: the server takes `left` texts, and cuts off every request then. `taken` are those texts."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.taken: list[str] = []

    def __call__(self, asked: list[str]) -> Reply | None:
        if (refusal := picky(asked)) is not None:
            return refusal
        if len(asked) > self.left:
            self.left = 0
            return CUT_OFF
        self.left -= len(asked)
        self.taken += asked
        return None


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def kept(output: Path) -> int:
    """Rows that a job which is killed now would go on from."""
    checkpoint = output.with_name(f"{output.name}.partial") / "checkpoint.json"
    return int(json.loads(checkpoint.read_bytes())["standing"]["rows"]) if checkpoint.exists() else 0


def test_every_reply_moves_the_progress_and_is_kept(server: FaultyServer, tmp_path: Path) -> None:
    """The server gives one reply at a time, and the next only when the one before is shown."""
    output = tmp_path / "a.npy"
    may_reply = threading.Semaphore(0)
    shown: Queue[tuple[Progress, int]] = Queue()

    def fault(texts: list[str]) -> Reply | None:
        if (refusal := picky(texts)) is None:
            assert may_reply.acquire(timeout=PATIENCE_S)
        return refusal

    server.fault = fault
    texts = [f"text {number}" for number in range(4 * MOST)]
    job = threading.Thread(
        target=embed, args=(server, output, texts), kwargs={"on_progress": lambda now: shown.put((now, kept(output)))}
    )
    job.start()
    for number in range(1, 5):
        may_reply.release()
        progress, rows = shown.get(timeout=PATIENCE_S)
        assert (progress.texts, rows) == (number * MOST, number * MOST)
    job.join()
    assert len(open_stored(output)) == len(texts)


@pytest.mark.parametrize("ending", ["npy", "json", "parquet"])
def test_a_server_that_is_gone_in_the_middle_costs_no_text_that_it_took(
    server: FaultyServer, tmp_path: Path, ending: Format
) -> None:
    texts = lines(700)
    for folder in ("whole", "gone"):
        (tmp_path / folder).mkdir()
    server.fault = whole = Mortal(len(texts))
    embed(server, tmp_path / "whole" / f"a.{ending}", texts)
    output = tmp_path / "gone" / f"a.{ending}"
    taken: Counter[str] = Counter()
    failures = 0
    while not output.exists():
        server.fault = mortal = Mortal(150)
        with contextlib.suppress(EndpointLost):
            embed(server, output, texts, resume=True)
        failures += not output.exists()
        taken.update(mortal.taken)
    assert failures > 2
    assert contents(tmp_path / "gone") == contents(tmp_path / "whole")
    again = [text for text in (taken - Counter(whole.taken)).elements() if texts.count(text) == 1]
    # Where one chunk ends, a request of the next may go before what is left of a refused one.
    assert len(again) <= failures * MOST


@pytest.mark.parametrize("ending", ["npy", "parquet"])
def test_killed_at_any_point_a_job_goes_on_to_the_very_same_files(
    server: FaultyServer, tmp_path: Path, ending: Format
) -> None:
    source = tmp_path / "texts.txt"
    source.write_text("\n".join(lines(300)), encoding="utf-8")
    chance = random.Random(ending)

    def run(folder: str, number: int) -> int:
        (tmp_path / folder).mkdir(exist_ok=True)
        output = tmp_path / folder / f"a.{ending}"
        command = [sys.executable, "-m", "tests.resume_child", source, output, str(number), server.url]
        return subprocess.run(command, cwd=Path(__file__).parents[1]).returncode

    assert run("whole", 0) == 0
    kills = 0
    while (code := run("killed", chance.randint(1, 60) if kills < 4 else 0)) != 0:
        assert code == -signal.SIGKILL
        kills += 1
    assert kills > 1
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_a_strict_job_sends_what_it_kept_no_second_time(server: FaultyServer, tmp_path: Path) -> None:
    texts = [f"text {number}" for number in range(100)]
    texts[70] = "x" * (LONGEST + 1)
    with pytest.raises(InputError, match=r"^a line 71: too long\."):
        embed(server, tmp_path / "a.npy", texts, options=Options(strict=True), concurrency=3)
    assert kept(tmp_path / "a.npy") == 70
    texts[70] = "mended"
    server.fault = mortal = Mortal(len(texts))
    assert embed(server, tmp_path / "a.npy", texts, options=Options(strict=True), resume=True).resumed == 70
    assert mortal.taken == texts[70:]
    np.testing.assert_allclose(np.load(tmp_path / "a.npy"), server.rows(texts), atol=1e-6)


def test_tokens_that_a_server_does_not_tell_are_not_called_none(server: FaultyServer, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\nthree\n", encoding="utf-8")
    done = ovembed("embed", "a.txt", "--url", server.url, "-o", "a.npy", cwd=tmp_path)
    assert done.returncode == 0
    assert re.fullmatch(r"3 texts in [\d.]+ s \([\d,]+ texts/s\) -> a\.npy\n", done.stderr.decode())
