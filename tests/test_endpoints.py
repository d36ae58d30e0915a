"""Endpoints that are slow, busy, picky or gone, over real connections."""

from __future__ import annotations

import json
import math
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ovembed.errors import (
    EndpointBusy,
    EndpointError,
    EndpointRefused,
    ModelNotFound,
    TextError,
    TextTooLong,
)
from ovembed.remote import RemoteEmbedder, RemoteSettings
from ovembed.remote.limits import TEXTS_PER_REQUEST, Limits
from tests.cli import failure, ovembed
from tests.fakes import FakeEngine
from tests.faulty_server import CUT_OFF, FaultyServer, Reply, faulty_server, nth
from tests.serving import PATIENCE_S, application, expected, on_a_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEXTS = [f"text {number}" for number in range(40)]
ALWAYS_FULL = {"first_texts": TEXTS_PER_REQUEST, "reply_s": math.inf}
BUSY = Reply(429, {"error": "Too many."})


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with faulty_server() as server:
        yield server


class Told(list[str]):
    """What the embedder said on the way."""

    def __call__(self, trouble: str) -> None:
        self.append(trouble)


def remote(*servers: FaultyServer | str, told: Told | None = None, **changes: Any) -> RemoteEmbedder:
    urls = [server if isinstance(server, str) else server.url for server in servers]
    settings = RemoteSettings(**ALWAYS_FULL | {"concurrency": 1, "retries": 3, "first_pause_s": 0.001} | changes)
    return RemoteEmbedder(*urls, settings=settings, on_trouble=Told() if told is None else told)


def more_than(texts: int, status: int) -> Any:
    return lambda asked: Reply(status, {"error": f"{len(asked)} are too many."}) if len(asked) > texts else None


class Meeting:
    """A fault that holds each request until so many are there; `most` is how many ever were."""

    def __init__(self, parties: int) -> None:
        self._together = threading.Barrier(parties, timeout=PATIENCE_S)
        self._lock = threading.Lock()
        self._under_way = 0
        self.most = 0

    def __call__(self, _: list[str]) -> None:
        with self._lock:
            self._under_way += 1
            self.most = max(self.most, self._under_way)
        self._together.wait()
        with self._lock:
            self._under_way -= 1


def many_parts(parts: int) -> list[str]:
    return [f"text {number}" for number in range(parts * TEXTS_PER_REQUEST)]


def test_several_requests_are_under_way_and_no_more_than_allowed(server: FaultyServer) -> None:
    server.fault = meeting = Meeting(3)
    texts = many_parts(6)
    with remote(server, concurrency=3) as embedder:
        np.testing.assert_allclose(embedder.embed(texts).vectors, server.rows(texts))
    assert (len(server.requests), meeting.most) == (6, 3)


def test_callers_in_several_threads_share_what_is_allowed(server: FaultyServer) -> None:
    server.fault = meeting = Meeting(2)
    with remote(server, concurrency=2) as embedder, ThreadPoolExecutor(6) as callers:
        for result in callers.map(embedder.embed, [TEXTS] * 6):
            np.testing.assert_allclose(result.vectors, server.rows(TEXTS))
    assert (len(server.requests), meeting.most) == (6, 2)


@pytest.mark.parametrize(
    ("reply", "word"),
    [
        (BUSY, "answered 429: Too many. Asking again in"),
        (Reply(503, {"error": "starting"}), "answered 503: starting"),
        (Reply(500, {"error": "Mediapipe is not loaded yet"}), "not loaded yet"),
        (CUT_OFF, "broke off"),
    ],
)
def test_what_may_pass_is_asked_for_again_and_told(server: FaultyServer, reply: Reply, word: str) -> None:
    server.fault = nth(reply, reply)
    told = Told()
    with remote(server, told=told) as embedder:
        np.testing.assert_allclose(embedder.embed(TEXTS).vectors, server.rows(TEXTS))
    assert server.requests == [TEXTS] * 3
    assert len(told) == 2
    assert word in told[0]
    assert "\n" not in told[0]


def test_retries_are_counted(server: FaultyServer) -> None:
    server.fault = lambda _: BUSY
    with remote(server) as embedder, pytest.raises(EndpointBusy, match="answered 429"):
        embedder.embed(TEXTS)
    assert len(server.requests) == 4


@pytest.mark.parametrize("when", ["1", "Fri, 31 Dec 1999 23:59:59 GMT"])
def test_the_time_that_an_endpoint_asks_for_counts(server: FaultyServer, when: str) -> None:
    server.fault = nth(Reply(429, {"error": "x"}, {"Retry-After": when}))
    told = Told()
    with remote(server, told=told) as embedder:
        embedder.embed(TEXTS)
    assert told[0].endswith("Asking again in 1.0 s." if when == "1" else "Asking again in 0.0 s.")


def test_longer_than_the_longest_pause_is_not_waited(server: FaultyServer) -> None:
    server.fault = nth(Reply(503, {"error": "gone fishing"}, {"Retry-After": "3600"}))
    with remote(server) as embedder, pytest.raises(EndpointBusy, match="gone fishing"):
        embedder.embed(TEXTS)
    assert len(server.requests) == 1


def test_pauses_double_up_to_the_longest() -> None:
    settings = RemoteSettings(first_pause_s=1, longest_pause_s=10)
    for failures, longest in [(1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (50, 10)]:
        assert longest / 2 <= settings.pause_s(failures) <= longest
        assert settings.pause_s(failures, 30) == 30


@pytest.mark.parametrize("status", [400, 413, 422, 504])
def test_a_request_that_is_too_large_goes_in_parts_and_the_next_ones_are_small(
    server: FaultyServer, status: int
) -> None:
    server.fault = more_than(12, status)
    with remote(server) as embedder:
        np.testing.assert_allclose(embedder.embed(TEXTS).vectors, server.rows(TEXTS))
        assert max(map(len, server.requests)) == 40
        server.requests.clear()
        np.testing.assert_allclose(embedder.embed(TEXTS[:30]).vectors, server.rows(TEXTS[:30]))
    assert [text for texts in server.requests for text in texts] == TEXTS[:30]
    assert max(map(len, server.requests)) <= 12


def test_a_limit_that_is_told_is_kept_at_once(server: FaultyServer) -> None:
    server.gets["/info"] = Reply(200, {"model_id": "x", "max_client_batch_size": 16})
    server.fault = more_than(16, 422)
    with remote(server) as embedder:
        np.testing.assert_allclose(embedder.embed(TEXTS).vectors, server.rows(TEXTS))
    assert [len(texts) for texts in server.requests] == [40, 16, 16, 8]


def test_parts_hold_so_many_texts_and_so_many_characters() -> None:
    limits = Limits(texts=3, characters=10)
    texts = ["a", "b", "c", "d", "x" * 50, "e" * 6, "f" * 4, "g"]
    parts, left = [], texts
    while left:
        end = limits.end(left)
        parts.append(left[:end])
        left = left[end:]
    assert parts == [texts[:3], texts[3:4], texts[4:5], texts[5:7], texts[7:]]
    assert limits.end([]) == 0


def sizes(server: FaultyServer, texts: list[str], **changes: Any) -> list[int]:
    server.requests.clear()
    with remote(server, **changes) as embedder:
        np.testing.assert_allclose(embedder.embed(texts).vectors, server.rows(texts), atol=1e-6)
    return [len(asked) for asked in server.requests]


def test_requests_grow_as_long_as_replies_are_fast_and_shrink_where_they_are_slow(server: FaultyServer) -> None:
    """Every reply is fast for somebody who would wait for ever, and slow for somebody who would not wait at all."""
    texts = many_parts(2)
    assert sizes(server, texts, first_texts=16) == [16, 32, 64, 128, 256, 16]
    assert sizes(server, texts[:20], first_texts=16, reply_s=1e-12) == [16, 1, 1, 1, 1]
    assert sizes(server, ["x" * 1000] * 40, first_texts=64) == [16, 24], "as many characters as those of 64 texts"


def test_a_request_that_nobody_waited_for_goes_in_smaller_ones(server: FaultyServer) -> None:
    late = threading.Event()
    server.fault = lambda asked: None if len(asked) < len(TEXTS) or late.wait(PATIENCE_S) else BUSY
    with remote(server, timeout_s=1, reply_s=0.1, first_texts=len(TEXTS)) as embedder:
        np.testing.assert_allclose(embedder.embed(TEXTS).vectors, server.rows(TEXTS), atol=1e-6)
    late.set()
    assert len(server.requests[0]) == len(TEXTS)
    assert max(map(len, server.requests[1:])) < len(TEXTS)


OVMS_REFUSES = (
    "Mediapipe execution failed. MP status - INVALID_ARGUMENT: CalculatorGraph::Run() failed: \n"
    'Calculator::Process() for node "EmbeddingsExecutor" failed: Input length 600 longer than allowed 512'
)
TOO_LONG = [
    OVMS_REFUSES,
    "Input validation error: `inputs` must have less than 512 tokens. Given: 600",
    "This model's maximum context length is 512 tokens. However, you requested 600 tokens",
]


@pytest.mark.parametrize("message", TOO_LONG)
def test_a_text_that_is_too_long_is_found_where_the_answer_does_not_say_which(
    server: FaultyServer, message: str
) -> None:
    server.fault = lambda texts: Reply(400, {"error": message}) if "text 21" in texts else None
    with remote(server) as embedder:
        with pytest.raises(TextTooLong, match="512") as caught:
            embedder.embed(TEXTS)
        assert caught.value.position == 21
        server.requests.clear()
        embedder.embed(TEXTS[:20])
    assert server.requests == [TEXTS[:20]], "nothing was learned of sizes"


def test_a_text_refused_for_a_reason_of_its_own_is_told_from_a_request_that_is_wrong(server: FaultyServer) -> None:
    server.fault = lambda texts: Reply(422, {"detail": "I do not like it"}) if "text 7" in texts else None
    with remote(server) as embedder, pytest.raises(TextError, match="I do not like it") as caught:
        embedder.embed(TEXTS)
    assert caught.value.position == 7
    server.fault = lambda texts: Reply(422, {"detail": "no such option"})
    with remote(server) as embedder, pytest.raises(EndpointError, match="no such option"):
        embedder.embed(TEXTS)


def bad(*places: int) -> Any:
    """Refuses each request with one of these texts, and names it."""
    texts = {f"text {place}" for place in places}

    def fault(asked: list[str]) -> Reply | None:
        place = next((place for place, text in enumerate(asked) if text in texts), None)
        error = {"message": f"Input {place}: bad", "param": f"input[{place}]"}
        return None if place is None else Reply(400, {"error": error})

    return fault


def test_of_several_bad_texts_the_first_is_told(server: FaultyServer) -> None:
    """All requests are under way when they are refused."""
    first = Meeting(4)
    refuse = bad(3, 1, TEXTS_PER_REQUEST, 3 * TEXTS_PER_REQUEST + 7)

    def fault(asked: list[str]) -> Reply | None:
        if len(asked) == TEXTS_PER_REQUEST:
            first(asked)
        return refuse(asked)

    server.fault = fault
    with remote(server, concurrency=4) as embedder, pytest.raises(TextError, match=r"^Input 1: bad") as caught:
        embedder.embed(many_parts(4))
    assert caught.value.position == 1


def test_what_is_named_among_texts_that_were_not_sent_is_told(server: FaultyServer) -> None:
    server.fault = lambda _: Reply(400, {"error": {"message": "bad", "param": "input[40]"}})
    with remote(server) as embedder, pytest.raises(EndpointError, match=r"refused text 40 of 40: bad$"):
        embedder.embed(TEXTS)


@pytest.mark.parametrize("concurrency", [1, 4])
def test_only_what_was_refused_is_sent_again(server: FaultyServer, concurrency: int) -> None:
    texts = [*many_parts(4), ""]
    at_fault = [TEXTS_PER_REQUEST + 9, TEXTS_PER_REQUEST + 200]
    server.fault = bad(*at_fault)
    rows: dict[int, Any] = {}
    faults = []
    with remote(server, concurrency=concurrency) as embedder:
        for arrived in embedder.embed_each(texts):
            if isinstance(arrived, TextError):
                faults.append(arrived.position)
            else:
                rows |= dict(zip(arrived.positions, arrived.embeddings.vectors, strict=True))
    assert sorted(faults) == [*at_fault, len(texts) - 1]
    assert sorted(rows) == sorted(set(range(len(texts))) - set(faults))
    np.testing.assert_allclose(list(rows.values()), server.rows([texts[place] for place in rows]), atol=1e-6)
    sent = Counter(text for asked in server.requests for text in asked)
    second = texts[TEXTS_PER_REQUEST : 2 * TEXTS_PER_REQUEST]
    assert {text for text, times in sent.items() if times > 1} <= set(second)
    assert max(sent.values()) <= 3
    assert len(server.requests) == 4 + 2 + 2, "each refusal costs two requests of what is left of it"


def test_nothing_behind_a_text_at_fault_is_sent_for_a_strict_caller(server: FaultyServer) -> None:
    server.fault = bad(5)
    with remote(server) as embedder:
        arrived = list(embedder.embed_each(many_parts(3), strict=True))
    assert [each.position for each in arrived if isinstance(each, TextError)] == [5]
    [portion] = [each for each in arrived if not isinstance(each, TextError)]
    assert list(portion.positions) == [0, 1, 2, 3, 4]
    assert [len(asked) for asked in server.requests] == [TEXTS_PER_REQUEST, 5]


@pytest.mark.parametrize(
    ("status", "message"),
    [(401, "Invalid key."), (500, "Unauthorized request due to invalid or missing api-key")],
)
def test_a_key_that_is_refused_is_told_with_what_to_do(server: FaultyServer, status: int, message: str) -> None:
    server.fault = lambda _: Reply(status, {"error": message})
    with remote(server) as embedder, pytest.raises(EndpointError, match="--api-key"):
        embedder.embed(TEXTS)
    assert len(server.requests) == 1


def test_a_fault_of_ovms_that_looks_like_ours_is_not_halved(server: FaultyServer) -> None:
    server.fault = lambda _: Reply(400, {"error": "Mediapipe execution failed. MP status - INTERNAL: RET_CHECK"})
    with remote(server) as embedder, pytest.raises(EndpointError, match="RET_CHECK"):
        embedder.embed(TEXTS)
    assert len(server.requests) == 1


def test_ovms_is_waited_for_while_it_loads_and_believed_afterwards(server: FaultyServer) -> None:
    unknown = Reply(404, {"error": "Mediapipe graph definition with requested name is not found"})
    server.gets["/v2/health/ready"] = Reply(503, {"error": "Server is not ready"})
    server.fault = nth(unknown, unknown)
    told = Told()
    with remote(server, told=told) as embedder:
        embedder.embed(TEXTS)
        assert ["still loading" in line for line in told] == [True, True]
        server.gets["/v2/health/ready"] = Reply(200)
        server.fault = lambda _: unknown
        with pytest.raises(EndpointError, match="answered 404"):
            embedder.embed(TEXTS)
    assert len(server.requests) == 4


def tei(server: FaultyServer) -> FaultyServer:
    """It has no route of OpenAI's."""
    server.embed_route = "/embed"
    server.gets = {"/info": Reply(200, {"model_id": "tei/model", "max_client_batch_size": 32})}
    server.fault = more_than(32, 422)
    return server


@pytest.mark.parametrize("path", ["", "/v1", "/embed"])
def test_a_server_that_speaks_only_tei_is_spoken_to_so(server: FaultyServer, path: str) -> None:
    tei(server)
    with remote(server.url + path) as embedder:
        result = embedder.embed(TEXTS)
    np.testing.assert_allclose(result.vectors, server.rows(TEXTS), atol=1e-6)
    assert (result.model, result.tokens, result.fingerprint) == ("tei/model", None, None)
    assert [len(texts) for texts in server.requests] == [40, 32, 8]


@pytest.mark.parametrize("content", [{"a": 1}, [[1.0], [1.0, 2.0]], ["x"], [[1.0]]])
def test_what_tei_would_not_say_is_an_endpoint_error(server: FaultyServer, content: Any) -> None:
    tei(server).fault = lambda _: Reply(200, content)
    with remote(server) as embedder, pytest.raises(EndpointError, match="The reply"):
        embedder.embed(TEXTS)


@pytest.mark.parametrize("path", ["/v1", "/v3", "/embed"])
def test_our_own_server_in_each_of_its_dialects(path: str) -> None:
    engine = FakeEngine()
    with application({"org/fake": engine}) as (app, _), on_a_port(app) as url, remote(url + path) as embedder:
        result = embedder.embed(TEXTS)
        np.testing.assert_array_equal(result.vectors, expected(engine, *TEXTS))
        assert result.fingerprint == engine.spec.fingerprint
        assert result.total_tokens == sum(len(text) + 2 for text in TEXTS)
        assert embedder.embed(["x" * 30], truncate=True).vectors.shape == (1, 8)
        with pytest.raises(TextError) as caught:
            embedder.embed([*TEXTS, "x" * 30, "a"])
        assert caught.value.position == 40


def test_our_own_servers_limit_of_bodies_is_kept_to() -> None:
    engine = FakeEngine()
    with (
        application({"org/fake": engine}, max_body_bytes=300) as (app, _),
        on_a_port(app) as url,
        remote(url, concurrency=4) as embedder,
    ):
        np.testing.assert_array_equal(embedder.embed(TEXTS).vectors, expected(engine, *TEXTS))


def test_several_endpoints_share_the_work() -> None:
    with faulty_server() as first, faulty_server() as second:
        first.fault = second.fault = Meeting(2)
        texts = many_parts(4)
        with remote(first, second, concurrency=2) as embedder:
            np.testing.assert_allclose(embedder.embed(texts).vectors, first.rows(texts))
        assert len(first.requests) + len(second.requests) == 4
        assert first.requests
        assert second.requests


def test_while_one_hangs_requests_go_to_the_other() -> None:
    gate = threading.Event()
    with faulty_server() as hanging, faulty_server() as other:
        hanging.fault = lambda _: None if gate.wait(PATIENCE_S) else BUSY
        with remote(hanging, other, concurrency=2) as embedder, ThreadPoolExecutor(5) as callers:
            calls = as_completed([callers.submit(embedder.embed, TEXTS) for _ in range(5)], timeout=PATIENCE_S)
            try:
                for _ in range(4):
                    next(calls)
            finally:
                gate.set()
        assert (len(hanging.requests), len(other.requests)) == (1, 4)


def test_one_that_asks_for_a_long_pause_is_left_out_until_all_do() -> None:
    with faulty_server() as resting, faulty_server() as other, remote(resting, other) as embedder:
        resting.fault = lambda _: Reply(503, headers={"Retry-After": "3600"})
        np.testing.assert_allclose(embedder.embed(TEXTS).vectors, other.rows(TEXTS))
        other.fault = resting.fault
        with pytest.raises(EndpointBusy, match="answered 503"):
            embedder.embed(TEXTS)
        assert (len(resting.requests), len(other.requests)) == (1, 2)


def test_one_that_dies_hands_its_work_to_the_others() -> None:
    with ExitStack() as servers:
        survivor = servers.enter_context(faulty_server())
        mortal = servers.enter_context(faulty_server())
        mortal.fault = lambda _: CUT_OFF
        told = Told()
        texts = many_parts(8)
        with remote(mortal, survivor, told=told, concurrency=2, retries=0, first_pause_s=60) as embedder:
            np.testing.assert_allclose(embedder.embed(texts).vectors, survivor.rows(texts))
        assert len(mortal.requests) == 1
        assert len(survivor.requests) == 8
        assert [mortal.url in line for line in told] == [True]


def test_one_that_was_never_there_is_told_and_left_out(server: FaultyServer, nowhere: str) -> None:
    told = Told()
    with remote(nowhere, server, told=told, first_pause_s=60) as embedder:
        np.testing.assert_allclose(embedder.embed(TEXTS).vectors, server.rows(TEXTS))
    assert [nowhere in line for line in told] == [True]


def test_none_that_answers_is_an_error_at_once(nowhere: str) -> None:
    with pytest.raises(EndpointRefused, match="ovembed serve"):
        remote(nowhere, nowhere, first_pause_s=60)
    settings = RemoteSettings(first_pause_s=60)
    with RemoteEmbedder(nowhere, model="m", settings=settings) as embedder, pytest.raises(EndpointRefused):
        embedder.embed(TEXTS)


def test_prompts_are_asked_of_another_endpoint_and_never_left_out_unasked(server: FaultyServer) -> None:
    with faulty_server() as other, remote(server, other) as embedder:
        server.gets["/v1/models"] = Reply(503, {"error": "starting"})
        told = {"id": "served", "prompts": {"document": "passage: "}, "default_prompt": "document"}
        other.gets["/v1/models"] = Reply(200, {"data": [told]})
        assert embedder.prompt() == "passage: "
        other.gets["/v1/models"] = Reply(429, {"error": "busy"})
        with pytest.raises(EndpointError, match="answered 503: starting"):
            embedder.prompt()


def test_tls_that_fails_is_told_with_its_cause(server: FaultyServer) -> None:
    with pytest.raises(EndpointRefused, match=r"no TLS connection to https://127\.0\.0\.1.*SSL"):
        remote(server.url.replace("http:", "https:"))


def test_endpoints_that_serve_different_models_are_noticed() -> None:
    with faulty_server() as first, faulty_server() as second:
        second.fingerprint = "another"
        texts = many_parts(2)
        first.fault = second.fault = Meeting(2)
        with (
            remote(first, second, concurrency=2) as embedder,
            pytest.raises(EndpointError, match="serve different models"),
        ):
            embedder.embed(texts)


def test_a_model_that_changes_between_calls_is_noticed(server: FaultyServer) -> None:
    with remote(server) as embedder:
        embedder.embed(TEXTS)
        server.fingerprint = "another"
        with pytest.raises(EndpointError, match="changed its model"):
            embedder.embed(TEXTS)


def test_a_server_of_nothing_must_be_told_a_model(server: FaultyServer) -> None:
    server.gets = {}
    with pytest.raises(ModelNotFound, match="does not list its models"):
        remote(server)


@pytest.mark.parametrize("fault", [BUSY, CUT_OFF])
def test_the_command_line_shares_and_retries_and_says_so(fault: Reply, tmp_path: Path) -> None:
    with faulty_server() as first, faulty_server() as second:
        first.fault = nth(fault)
        lines = tmp_path / "texts.txt"
        lines.write_text("\n".join(TEXTS), encoding="utf-8")
        command = ("embed", str(lines), "--url", first.url, "--url", second.url, "--concurrency", "2")
        done = ovembed(*command, "--timeout", "20", "--retries", "2")
        assert done.returncode == 0, done.stderr
        data = json.loads(done.stdout)["data"]
        assert [row["text"] for row in data] == TEXTS
        np.testing.assert_allclose([row["embedding"] for row in data], first.rows(TEXTS), atol=1e-6)
        told = done.stderr.decode().splitlines()
        assert len(told) == 1
        assert "Asking again in" in told[0]


def test_the_command_line_gives_up_in_one_line(server: FaultyServer) -> None:
    server.fault = lambda _: BUSY
    assert "answered 429" in failure(ovembed("embed", "--text", "a", "--url", server.url, "--retries", "0"))
