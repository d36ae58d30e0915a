"""A server of several processes: what it says of itself, who dies and comes back, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram  # noqa: TID253

from ovembed import cores
from ovembed.engine import EngineSettings
from ovembed.errors import EngineError, ModelUnready
from ovembed.repository import ModelRepository
from ovembed.server.reload import Outcome
from ovembed.server.selection import Selection
from ovembed.server.settings import ServeSettings, default_queued_tokens
from ovembed.server.workers import crew as crew_module
from ovembed.server.workers import merging, supervisor
from ovembed.server.workers.channel import Channel, Gone, Unanswered
from ovembed.server.workers.crew import Crew
from ovembed.server.workers.questions import GetFamilies, GetProblem, Job
from tests.test_operations import texts_embedded
from tests.test_serve_process import PATIENCE_S, Server, address, post, run_and_fail, served, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from prometheus_client import Metric

BODY = json.dumps({"input": "a"}).encode()


# Answers of several as that of one


def report(texts: float, healthy: float, oldest_s: float) -> list[Metric]:
    registry = CollectorRegistry()
    Counter("ovembed_texts", "", ["model"], registry=registry).labels("a").inc(texts)
    Histogram("ovembed_batch_texts", "", buckets=(1, 2), registry=registry).observe(texts)
    Gauge("ovembed_queue_texts", "", registry=registry).set(texts)
    Gauge("ovembed_model_healthy", "", registry=registry).set(healthy)
    Gauge("ovembed_queue_oldest_seconds", "", registry=registry).set(oldest_s)
    return list(registry.collect())


def values(families: list[Metric]) -> dict[str, float]:
    return {
        sample.name + "".join(sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def test_metrics_are_added_up_and_the_worst_condition_counts() -> None:
    merged = merging.merge_families([report(1, 1, 0.5), report(2, 0, 3.0)])
    assert values(merged) == {
        "ovembed_texts_totala": 3,
        "ovembed_batch_texts_bucket1.0": 1,
        "ovembed_batch_texts_bucket2.0": 2,
        "ovembed_batch_texts_bucket+Inf": 2,
        "ovembed_batch_texts_count": 2,
        "ovembed_batch_texts_sum": 3,
        "ovembed_queue_texts": 3,
        "ovembed_model_healthy": 0,
        "ovembed_queue_oldest_seconds": 3.0,
    }


def test_of_a_worker_that_has_ended_only_counts_stay() -> None:
    assert {family.name for family in merging.counted(report(1, 1, 0))} == {"ovembed_texts", "ovembed_batch_texts"}


def test_what_several_tell_of_a_reload_is_told_once() -> None:
    broken = EngineError("broken")
    merged = merging.merge_outcomes([Outcome(("a",), (broken,)), Outcome(("a", "b"), (EngineError("broken"),))])
    assert (merged.changes, [str(problem) for problem in merged.problems]) == (("a", "b"), ["broken"])


def test_a_server_is_ready_when_all_workers_are_there_and_ready() -> None:
    problem = EngineError("broken")
    assert merging.first_problem([None, None], missing=0) is None
    assert merging.first_problem([None, problem], missing=1) is problem
    assert isinstance(merging.first_problem([None], missing=1), ModelUnready)


# Shares of the machine


@pytest.mark.parametrize(
    ("cpus", "count", "expected"),
    [
        ({0, 1, 2, 3}, 2, [(0, 1), (2, 3)]),
        ({1, 3, 5, 7, 9}, 2, [(1, 3), (5, 7, 9)]),
        ({4}, 3, [(4,), (4,), (4,)]),
        ({0, 1}, 3, [(0,), (1,), (0,)]),
    ],
)
def test_cpus_are_split(
    monkeypatch: pytest.MonkeyPatch, cpus: set[int], count: int, expected: list[tuple[int, ...]]
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: cpus)
    assert cores.split(count) == expected


@pytest.mark.parametrize(("threads", "expected"), [(5, [3, 2]), (2, [1, 1]), (1, [1, 1])])
def test_threads_and_streams_are_split(threads: int, expected: list[int]) -> None:
    shares = EngineSettings(threads=threads, streams=threads).split(2)
    assert [share.threads for share in shares] == [share.streams for share in shares] == expected
    assert [share.streams for share in EngineSettings(threads=threads).split(2)] == [None, None]


@pytest.mark.parametrize(("workers", "tokens"), [(2, 1_000), (2, 1_001), (5, 1_000_000)])
def test_the_queues_of_all_workers_are_no_longer_than_was_allowed(workers: int, tokens: int) -> None:
    shares = ServeSettings(max_queued_tokens=tokens, workers=workers, engine=EngineSettings(threads=5)).split()
    assert [share.max_queued_tokens for share in shares] == [tokens // workers] * workers
    assert sum(share.engine.threads or 0 for share in shares) == 5


@pytest.mark.parametrize(("workers", "tokens"), [(1, 1_000_000), (3, 1_000_000), (4, 1_200_000)])
def test_unless_it_is_told_otherwise_each_worker_takes_what_openai_takes(workers: int, tokens: int) -> None:
    assert default_queued_tokens(workers) == tokens
    shares = ServeSettings(max_queued_tokens=tokens, workers=workers, engine=EngineSettings(threads=1)).split()
    assert min(share.max_queued_tokens for share in shares) >= 300_000


# The channel


def test_both_ends_ask_at_once_and_hear_when_the_other_has_gone() -> None:
    async def scenario() -> None:
        left_end, right_end = socket.socketpair()
        held = asyncio.Event()

        async def double(number: int) -> int:
            if number == 0:
                await held.wait()
            return 2 * number

        async def negate(number: int) -> int:
            return -number

        left, right = await Channel.open(left_end, double), await Channel.open(right_end, negate)
        slow = asyncio.create_task(right.ask(0))
        assert await asyncio.gather(*map(right.ask, range(1, 9)), *map(left.ask, range(8))) == [
            *range(2, 18, 2),
            *range(0, -8, -1),
        ]
        left.close()
        for question in (slow, asyncio.create_task(right.ask(1))):
            with pytest.raises(Gone):
                await question
        await right.closed()
        right.close()

    asyncio.run(asyncio.wait_for(scenario(), PATIENCE_S))


def test_a_question_that_cannot_be_answered_is_told_so_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        left_end, right_end = socket.socketpair()

        async def answer(number: int) -> Any:
            quotient = 1 / number
            return lambda: quotient  # which cannot be sent

        left, right = await Channel.open(left_end, answer), await Channel.open(right_end, answer)
        for question in (0, 1):
            with pytest.raises(Unanswered) as unanswered:
                await right.ask(question)
            assert not isinstance(unanswered.value, Gone)
        for end in (left, right):
            end.close()
            await end.closed()

    asyncio.run(asyncio.wait_for(scenario(), PATIENCE_S))
    assert caplog.text.count("int was not answered") == 2
    assert "ZeroDivisionError" in caplog.text


# The workers as one


class Dying:
    """A worker that tells its metrics, or ends and leaves when it is asked."""

    listened = True

    def __init__(self, crew: Crew, number: int, *, texts: float) -> None:
        self.last_families = report(texts, 1, 0)
        self.dies = False
        self._crew = crew
        self._number = number
        crew.join(number, self)

    async def ask(self, _question: Any) -> list[Metric]:
        if self.dies:
            self._crew.leave(self._number)
            raise Gone
        await asyncio.sleep(0)
        return self.last_families

    def stop(self) -> None: ...

    def kill(self) -> None: ...


class Silent(Dying):
    """A worker that does not answer."""

    async def ask(self, _question: Any) -> list[Metric]:
        await asyncio.Event().wait()
        raise AssertionError


def test_what_a_worker_has_counted_counts_once_while_and_after_it_ends() -> None:
    async def texts_of(crew: Crew) -> float:
        reports = await crew.ask(GetFamilies())
        families = merging.merge_families(report for report in reports if not isinstance(report, Gone))
        return values(families)["ovembed_texts_totala"]

    async def scenario() -> None:
        crew = Crew(2)
        first, _ = Dying(crew, 1, texts=5), Dying(crew, 2, texts=3)
        assert await texts_of(crew) == 8
        first.dies = True
        assert [await texts_of(crew), await texts_of(crew)] == [8, 8]
        assert len(list(crew)) == 1

    asyncio.run(scenario())


def test_of_a_worker_that_does_not_answer_is_told_what_it_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew_module, "_PATIENCE_S", 0.1)

    async def scenario() -> None:
        crew = Crew(3)
        Dying(crew, 1, texts=5)
        Silent(crew, 2, texts=3)
        found = values(merging.merge_families(await crew.ask(GetFamilies())))
        assert found["ovembed_texts_totala"] == 8
        assert found["ovembed_queue_texts"] == 5
        assert found["ovembed_workers_missing"] == 2
        ready, *others = await crew.ask(GetProblem(None))
        assert not isinstance(ready, Gone)
        assert all(isinstance(other, Gone) for other in others)

    asyncio.run(asyncio.wait_for(scenario(), PATIENCE_S))


def test_what_a_worker_counts_is_asked_for_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_LOOK_EVERY_S", 0)
    told = report(7, 1, 0)

    async def scenario() -> None:
        ours, theirs = socket.socketpair()
        twice = asyncio.Semaphore(0)

        async def answer(question: object) -> list[Metric]:
            assert isinstance(question, GetFamilies)
            twice.release()
            return told

        other_end = await Channel.open(theirs, answer)
        worker = await worker_at(ours)
        watching = asyncio.create_task(worker.watch())
        for _ in range(2):  # when it asks again, it has the first answer
            await twice.acquire()
        assert values(worker.last_families) == values(told)
        for end in (other_end, worker._channel):
            end.close()
            await end.closed()
        await watching

    asyncio.run(asyncio.wait_for(scenario(), PATIENCE_S))


async def worker_at(end: socket.socket, process: Any = None) -> supervisor._Worker:
    """A worker that listens, behind this end of its channel."""

    async def held(_: object) -> None: ...

    job = Job(Selection(ModelRepository("models")), ServeSettings())
    with socket.socket() as listener:
        worker = supervisor._Worker(supervisor._Share(1, listener, (0,), job), process)
    worker._channel = await Channel.open(end, held)
    worker.listened = True
    return worker


def test_a_worker_that_gives_no_sign_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_LOOK_EVERY_S", 0)
    monkeypatch.setattr(supervisor, "_PATIENCE_S", 0.1)

    async def scenario() -> None:
        ours, theirs = socket.socketpair()
        silent = await asyncio.create_subprocess_exec("sleep", str(PATIENCE_S))
        with theirs:
            worker = await worker_at(ours, silent)
            watching = asyncio.create_task(worker.watch())
            assert await silent.wait() == -signal.SIGKILL
            assert "no sign" in str(worker.failure)
        await watching
        worker._channel.close()

    asyncio.run(asyncio.wait_for(scenario(), PATIENCE_S))


# The whole server


@pytest.fixture
def models(repository: ModelRepository, tmp_path: Path) -> ModelRepository:
    made = ModelRepository(tmp_path / "models")
    shutil.copytree(repository.folder / "tiny", made.folder / "tiny")
    made.config_path.write_text(
        json.dumps({"model_config_list": [], "mediapipe_config_list": [{"name": "tiny", "base_path": "tiny"}]})
    )
    return made


@pytest.fixture
def server(models: ModelRepository, tmp_path: Path) -> Iterator[Server]:
    with served(models, tmp_path, "--workers", "2") as server:
        yield server


def workers(server: Server) -> list[psutil.Process]:
    return psutil.Process(server.process.pid).children()


def worker_of(server: Server, connection: socket.socket) -> psutil.Process:
    """Whichever has accepted it."""

    def those() -> list[psutil.Process]:
        port = connection.getsockname()[1]
        return [
            worker
            for worker in workers(server)
            if any(each.raddr and each.raddr.port == port for each in worker.net_connections("tcp"))
        ]

    wait_until(lambda: bool(those()))
    return those()[0]


def on_new_connections(server: Server, method: str, path: str, count: int, **arguments: Any) -> list[httpx.Response]:
    """Enough of them reach every worker."""
    return [
        httpx.request(method, server.url + path, trust_env=False, timeout=PATIENCE_S, **arguments) for _ in range(count)
    ]


def test_whichever_worker_answers_it_speaks_for_all(server: Server, models: ModelRepository) -> None:
    replies = on_new_connections(server, "POST", "/v1/embeddings", 40, json={"input": "a"})
    assert {reply.status_code for reply in replies} == {200}
    assert {texts_embedded(server) for _ in range(20)} == {40}
    busy = [worker.net_connections("tcp") for worker in workers(server)]
    assert all(busy), "both listen"

    folder = models.get("tiny").folder
    shutil.copytree(folder, folder.with_name("beside"))
    shutil.rmtree(folder)
    folder.with_name("beside").rename(folder)
    os.utime(folder, (1_700_000_000, 1_700_000_000))
    assert server.post("/v1/config/reload").status_code == 201
    found = on_new_connections(server, "GET", "/v1/models/tiny", 20)
    assert {reply.json()["created"] for reply in found} == {1_700_000_000}
    assert server.post("/v1/config/reload").status_code == 200

    code, talk = server.stop()
    assert code == 0
    assert "2 workers" in talk
    assert talk.count("tiny is served") == 1


def test_a_worker_that_dies_is_replaced_and_its_counts_stay(server: Server) -> None:
    on_new_connections(server, "POST", "/v1/embeddings", 20, json={"input": "a"})
    assert texts_embedded(server) == 20
    before = {worker.pid for worker in workers(server)}
    victim, survivor = workers(server)
    victim.kill()
    replies = on_new_connections(server, "POST", "/v1/embeddings", 20, json={"input": "a"})
    assert {reply.status_code for reply in replies} == {200}, "those for the dead one wait for the next"
    wait_until(lambda: server.get("/health").status_code == 200)
    after = {worker.pid for worker in workers(server)}
    assert len(after) == 2
    assert before & after == {survivor.pid}
    assert texts_embedded(server) == 40
    code, talk = server.stop()
    assert code == 0
    assert "Another starts" in talk


def test_a_worker_that_is_silent_is_told_of_while_others_answer(server: Server) -> None:
    on_new_connections(server, "POST", "/v1/embeddings", 10, json={"input": "a"})
    assert texts_embedded(server) == 10
    with contextlib.closing(http.client.HTTPConnection(*address(server.url), timeout=PATIENCE_S)) as client:

        def ask(path: str) -> tuple[int, str]:
            client.request("GET", path)
            response = client.getresponse()
            return response.status, response.read().decode()

        assert ask("/health")[0] == 200
        [silent] = [worker for worker in workers(server) if worker != worker_of(server, client.sock)]
        silent.suspend()
        status, told = ask("/health")
        assert status == 503
        assert "1 of the workers does not answer" in told
        _, page = ask("/metrics")
        assert "ovembed_workers_missing 1.0" in page
        assert 'ovembed_texts_total{model="tiny"} 10.0' in page
        silent.resume()
        wait_until(lambda: ask("/health")[0] == 200)
        assert "ovembed_workers_missing 0.0" in ask("/metrics")[1]


def test_while_a_worker_cannot_come_back_the_other_serves_and_tells(server: Server, models: ModelRepository) -> None:
    folder = models.get("tiny").folder
    aside = folder.rename(folder.with_name("aside"))
    victim, _ = workers(server)
    victim.kill()
    wait_until(lambda: health(server) == 503)
    wait_until(lambda: all(status(server, "POST", "/v1/embeddings", json={"input": "a"}) == 200 for _ in range(20)))
    assert health(server) == 503
    aside.rename(folder)
    wait_until(lambda: health(server) == 200)
    code, talk = server.stop()
    assert code == 0
    assert "holds no model" in talk


def health(server: Server) -> int:
    return status(server, "GET", "/health")


def status(server: Server, method: str, path: str, **arguments: Any) -> int:
    """0 for a connection that waited for a worker which did not come back."""
    try:
        [response] = on_new_connections(server, method, path, 1, **arguments)
    except httpx.TransportError:
        return 0
    return response.status_code


def test_workers_go_on_when_the_weights_are_cut_off_under_them(server: Server, models: ModelRepository) -> None:
    def rows(count: int) -> list[Any]:
        replies = on_new_connections(server, "POST", "/v1/embeddings", count, json={"input": "a b c"})
        return [reply.json()["data"][0]["embedding"] for reply in replies]

    [before], crew = rows(1), workers(server)
    os.truncate(models.get("tiny").folder / "openvino_model.bin", 1)
    assert rows(20) == [before] * 20
    assert server.post("/v1/config/reload").status_code == 500, "it cannot be loaded again"
    assert rows(20) == [before] * 20
    assert health(server) == 200
    assert workers(server) == crew


def test_told_to_stop_all_workers_answer_what_they_have(server: Server) -> None:
    texts = ["a b c"] * 2_000

    def call(_: int) -> int:
        return server.post("/v1/embeddings", json={"input": texts}).status_code

    children = workers(server)
    with ThreadPoolExecutor(8) as callers:
        calls = callers.map(call, range(8))
        wait_until(lambda: accepted(server) > 8)
        code, talk = server.stop()
        assert list(calls) == [200] * 8
    assert code == 0
    assert talk.splitlines()[-1] == "Stopped."
    assert psutil.wait_procs(children, timeout=PATIENCE_S)[1] == []


def accepted(server: Server) -> float:
    """Requests for vectors that run, or have been answered; and the one that asks for it, which runs too."""
    page = server.get("/metrics").text
    answered = ("ovembed_requests_total{", 'route="/v1/embeddings"')
    counts = [
        float(line.split()[-1])
        for line in page.splitlines()
        if line.startswith("ovembed_running_requests ") or all(part in line for part in answered)
    ]
    return sum(counts)


def test_workers_do_not_outlive_their_supervisor(server: Server) -> None:
    children = workers(server)
    server.process.kill()
    assert psutil.wait_procs(children, timeout=PATIENCE_S)[1] == []


def test_what_keeps_workers_from_loading_is_told_in_one_line(models: ModelRepository) -> None:
    (models.get("tiny").folder / "openvino_model.bin").write_bytes(b"not weights")
    assert "cannot be loaded" in run_and_fail(models, "--workers", "2", "--port", "0")


def test_a_port_in_use_is_told_though_it_could_be_shared(models: ModelRepository, server: Server) -> None:
    _, port = address(server.url)
    for count in ("1", "2"):
        assert "is in use" in run_and_fail(models, "--workers", count, "--port", str(port))
    with socket.create_connection(address(server.url), timeout=PATIENCE_S) as connection:
        connection.sendall(post(BODY) + BODY)
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
