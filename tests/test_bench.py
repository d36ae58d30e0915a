"""Measuring: what is counted, not how fast it was."""

from __future__ import annotations

import json
import shutil
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from ovembed import batches
from ovembed.bench import Load, find_ceiling, make_texts, measure_model, run_load
from ovembed.bench.tune import Trial, choose, tune
from ovembed.engine import EngineSettings
from ovembed.errors import EndpointError, EndpointRefused, EngineError, InputError, RepositoryError
from ovembed.launch import local_server
from ovembed.repository import Tuning, read_model, read_tuning, write_tuning
from ovembed.serving.work import work_for
from tests.cli import failure, ovembed
from tests.fakes import FakeEngine, make_entry, make_spec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ovembed import ModelRepository

QUICK = 0.3


class TestTexts:
    def test_they_are_the_same_every_time(self) -> None:
        assert make_texts("mixed", 20) == make_texts("mixed", 20)

    def test_short_ones_and_passages(self) -> None:
        short, mixed = ([len(text.split()) for text in make_texts(kind, 300)] for kind in ("short", "mixed"))
        assert min(short) >= 4
        assert max(short) <= 20
        assert min(mixed) >= 5
        assert max(mixed) > 200


class TestInProcess:
    def test_the_ceiling_is_of_batches_without_padding(self) -> None:
        engine = FakeEngine()
        ceiling = find_ceiling(engine, [9, 10, 11])
        assert ceiling.length == 10
        shapes = {(len(batch), tuple(sorted({len(tokens) for tokens in batch}))) for batch in engine.batches}
        assert shapes == {(count, (10,)) for count in (1, 2, 4, 8, 16, 32)}
        assert ceiling.tokens_per_s > 0

    def test_what_a_model_is_measured_by(self) -> None:
        engine = FakeEngine(make_spec(max_tokens=60), streams=2)
        found = measure_model(engine, ["one", "one more", "the longest of them"])
        lengths = [5, 10, 21]
        assert (found.texts, found.tokens) == (3, sum(lengths))
        assert found.padding > 0
        assert found.share_of_ceiling == pytest.approx(found.tokens_per_s / found.ceiling.tokens_per_s)
        assert found.ceiling.length == batches.padded_length(12)


@pytest.fixture(scope="module")
def url(repository: ModelRepository) -> Iterator[str]:
    with local_server(repository, "tiny") as found:
        yield found


class Replies(BaseHTTPRequestHandler):
    """Answers every request with the status of the server, or hangs up when that is 0."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append(body)  # type: ignore[attr-defined]
        status = self.server.status  # type: ignore[attr-defined]
        if not status:
            self.close_connection = True
            return
        reply = json.dumps({"usage": {"prompt_tokens": 5, "total_tokens": 5}}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Replies)
    server.status, server.seen = 200, []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def address(server: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_port}"


class TestLoad:
    def test_every_request_of_a_real_server_is_answered_and_counted(self, url: str) -> None:
        result = run_load(url, ["a text", "another"], Load(3, seconds=QUICK, warmup_s=0.1))
        assert result.refused == {}
        assert result.texts == len(result.latencies_s) > 3
        assert result.tokens >= 3 * result.texts
        assert 0 < result.latency_ms(50) <= result.latency_ms(99) <= result.latency_ms(100)

    def test_what_is_sent(self, endpoint: ThreadingHTTPServer) -> None:
        load = Load(2, texts_per_request=2, encoding="base64", seconds=QUICK, warmup_s=0)
        result = run_load(address(endpoint), ["a", "b", "c", "d", "left over"], load, model="m")
        assert result.texts == 2 * len(result.latencies_s)
        assert result.tokens == 5 * len(result.latencies_s)
        wanted = {"encoding_format": "base64", "model": "m", "truncate": True}
        seen = endpoint.seen  # type: ignore[attr-defined]
        assert {tuple(body["input"]) for body in seen} == {("a", "b"), ("c", "d")}
        assert all(body == {"input": body["input"]} | wanted for body in seen)

    def test_refusals_are_counted_by_status_and_are_no_replies(self, endpoint: ThreadingHTTPServer) -> None:
        endpoint.status = 429  # type: ignore[attr-defined]
        result = run_load(address(endpoint), ["a"], Load(2, seconds=QUICK, warmup_s=0))
        assert result.texts == 0
        assert set(result.refused) == {429}
        assert result.latency_ms(50) != result.latency_ms(50)

    def test_a_server_that_hangs_up_is_told(self, endpoint: ThreadingHTTPServer) -> None:
        endpoint.status = 0  # type: ignore[attr-defined]
        with pytest.raises(EndpointError, match="hung up"):
            run_load(address(endpoint), ["a"], Load(2, seconds=QUICK, warmup_s=0))

    def test_more_texts_for_each_request_than_there_are(self) -> None:
        with pytest.raises(InputError, match="3 texts in a request are more than the 2"):
            run_load("http://127.0.0.1:9", ["a", "b"], Load(1, texts_per_request=3))

    def test_why_there_is_no_tls_is_told(self, endpoint: ThreadingHTTPServer) -> None:
        with pytest.raises(EndpointRefused, match=r"no TLS connection to https://127\.0\.0\.1.*SSL"):
            run_load(address(endpoint).replace("http:", "https:"), ["a"], Load(2, seconds=QUICK))

    def test_nothing_there_is_told(self) -> None:
        with pytest.raises(EndpointRefused, match="Nothing answers"):
            run_load("http://127.0.0.1:9", ["a"], Load(2, seconds=QUICK))


class TestTuning:
    def test_it_is_read_back_for_its_machine_only(self, tmp_path: Path) -> None:
        tuning, other = Tuning(2, 4, 384), Tuning(1, 1, 96)
        write_tuning(tmp_path, "big", tuning)
        write_tuning(tmp_path, "small", other)
        assert (read_tuning(tmp_path, "big"), read_tuning(tmp_path, "small")) == (tuning, other)
        assert read_tuning(tmp_path, "unknown") is None

    @pytest.mark.parametrize("content", ["", "[]", '{"m": 1}', '{"m": {"streams": 1}}', '{"m": {"streams": "x"}}'])
    def test_a_damaged_file_is_named_and_mended_by_tuning_again(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "tuning.json").write_text(content, encoding="utf-8")
        with pytest.raises(RepositoryError, match=r"tuning\.json is damaged"):
            read_tuning(tmp_path, "m")
        write_tuning(tmp_path, "m", Tuning(1, 1, 96))
        assert read_tuning(tmp_path, "m") == Tuning(1, 1, 96)

    def test_a_file_that_cannot_be_read_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "tuning.json").mkdir()
        with pytest.raises(RepositoryError, match=r"tuning\.json cannot be read: Is a directory"):
            read_tuning(tmp_path, "m")

    def test_small_batches_win_when_they_are_nearly_as_fast(self) -> None:
        trials = [Trial(Tuning(1, 2, 768), 99), Trial(Tuning(2, 2, 384), 100), Trial(Tuning(2, 2, 192), 98)]
        assert choose(trials) == Tuning(2, 2, 192)
        assert choose([*trials, Trial(Tuning(2, 2, 1536), 110)]) == Tuning(2, 2, 1536)

    def test_a_server_works_as_it_was_tuned_unless_told_otherwise(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("ovembed.cores.describe_machine", lambda: "here")
        entry = make_entry(tmp_path)
        assert not work_for(entry, EngineSettings()).tuned
        write_tuning(tmp_path, "here", Tuning(3, 6, 100))
        work = work_for(entry, EngineSettings())
        assert (work.engine.resolve(), work.batch_tokens, work.tuned) == ((3, 6), 100, True)
        assert str(work) == "3 streams on 6 threads as tuned, batches of up to 100 tokens"
        assert work_for(entry, EngineSettings(), 50) == replace(work, batch_tokens=50)
        assert work_for(entry, EngineSettings(streams=1)).engine.streams == 1
        assert work_for(entry, EngineSettings(threads=8, streams=2)).batch_tokens == 4 * 256

    def test_every_streams_and_batch_is_tried_and_the_best_is_kept(
        self, repository: ModelRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("ovembed.bench.tune._WARM_UP_S", 0.02)
        monkeypatch.setattr("ovembed.bench.tune._COUNTED_S", 0.05)
        shutil.copytree(repository.folder / "tiny", tmp_path / "tiny")
        entry = read_model(tmp_path / "tiny")
        tried: list[Trial] = []
        best = tune(entry, EngineSettings(threads=2), on_trial=tried.append)
        assert [(trial.tuning.streams, trial.tuning.batch_tokens) for trial in tried] == [
            *((1, 2 * tokens) for tokens in (128, 256, 512, 1024)),
            *((2, tokens) for tokens in (128, 256, 512, 1024)),
        ]
        assert best in [trial.tuning for trial in tried]
        assert best in [Tuning(**known) for known in json.loads((entry.folder / "tuning.json").read_text()).values()]

    def test_a_folder_that_cannot_be_written_is_told_before_anything_is_tried(self, tmp_path: Path) -> None:
        with pytest.raises(RepositoryError, match="cannot be written"):
            tune(make_entry(tmp_path / "gone"), EngineSettings(threads=1), on_trial=pytest.fail)

    def test_a_model_that_cannot_run_is_not_tuned(
        self, repository: ModelRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shutil.copytree(repository.folder / "tiny", tmp_path / "tiny")

        def fail(*_: object) -> None:
            raise EngineError("inference failed")

        monkeypatch.setattr("ovembed.engine.OpenVINOEngine.run", fail)
        monkeypatch.setattr("ovembed.bench.tune._WARM_UP_S", 0.02)
        monkeypatch.setattr("ovembed.bench.tune._COUNTED_S", 0.02)
        with pytest.raises(EngineError, match="inference failed"):
            tune(read_model(tmp_path / "tiny"), EngineSettings(threads=1))
        assert not (tmp_path / "tiny" / "tuning.json").exists()


class TestCommand:
    def test_a_model_in_this_process(self, repository: ModelRepository) -> None:
        done = ovembed("bench", "-r", str(repository.folder), "--model", "tiny", "--json")
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert told["model"] == "tiny"
        assert told["texts_per_s"] > 0
        assert told["ceiling"]["tokens_per_s"] > 0
        assert told["share_of_ceiling"] > 0

    def test_a_server_under_load_against_the_ceiling(self, url: str, repository: ModelRepository) -> None:
        arguments = ["bench", "--url", url, "-r", str(repository.folder), "-c", "1", "-c", "4", "--seconds", "0.5"]
        done = ovembed(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        loads = json.loads(done.stdout)["loads"]
        assert [load["connections"] for load in loads] == [1, 4]
        assert all(load["refused"] == {} and load["share_of_ceiling"] > 0 for load in loads)
        shown = ovembed(*arguments, "--texts", "mixed", "--texts-per-request", "8").stdout.decode()
        assert "Of the ceiling" in shown

    def test_the_ceiling_is_unknown_where_the_model_is_not_here(self, url: str, tmp_path: Path) -> None:
        done = ovembed("bench", "--url", url, "-r", str(tmp_path), "-c", "2", "--seconds", "0.3", "--json")
        assert json.loads(done.stdout)["ceiling"] is None

    def test_tuning_is_for_the_whole_machine(self, repository: ModelRepository) -> None:
        done = ovembed("serve", "-r", str(repository.folder), "--model", "tiny", "--tune", "--threads", "1")
        assert "leave out --streams, --threads and --workers" in failure(done)

    def test_tuning_finds_the_size_of_batches_too(self, repository: ModelRepository) -> None:
        done = ovembed("serve", "-r", str(repository.folder), "--model", "tiny", "--tune", "--max-batch-tokens", "9")
        assert "leave out --max-batch-tokens" in failure(done)

    def test_nothing_there_is_one_line(self) -> None:
        assert "Nothing answers at" in failure(ovembed("bench", "--url", "http://127.0.0.1:9", "--model", "m"))
