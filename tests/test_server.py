from __future__ import annotations

import asyncio
import base64
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest

from ovembed import errors, vectors, wire
from ovembed.errors import EngineError, OvembedError, TextError, TextTooLong
from ovembed.http.replies import PROBLEMS
from ovembed.http.requests import Limits
from ovembed.local import LocalEmbedder
from ovembed.remote import RemoteEmbedder
from ovembed.server.app import create_app
from ovembed.server.catalog import Catalog
from ovembed.serving.models import MOST_INPUTS
from tests.fakes import FakeEngine, make_spec
from tests.serving import (
    CREATED,
    PATIENCE_S,
    URL,
    InProcess,
    WatchedBatcher,
    always_ready,
    application,
    client_of,
    expected,
    rows_of,
    serving,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, MutableMapping

    from ovembed.http.application import Application
    from ovembed.protocols import Embedder


class Connection:
    """One request at the level of ASGI, whose client may leave."""

    def __init__(self, *body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.reads = 0
        self.status: int | None = None
        self.left = asyncio.Event()
        self._body = body
        self._headers = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]

    async def request(self, app: Application) -> None:
        scope = {"type": "http", "method": "POST", "path": "/v1/embeddings", "headers": self._headers}
        await app(scope | {"query_string": b"", "server": ("server.example", 80)}, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        self.reads += 1
        if self.reads <= len(self._body):
            return {
                "type": "http.request",
                "body": self._body[self.reads - 1],
                "more_body": self.reads < len(self._body),
            }
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        self.status = message.get("status", self.status)


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def client(engine: FakeEngine) -> Iterator[httpx.Client]:
    with serving(engine) as (client, _):
        yield client


def embed(client: httpx.Client, text_input: Any, **fields: Any) -> httpx.Response:
    return client.post("/v1/embeddings", json={"input": text_input} | fields)


def error_of(response: httpx.Response, status: int) -> dict[str, Any]:
    """OpenAI's error object, of exactly its four fields."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert set(response.json()) == {"error"}
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert "\n" not in error["message"]
    return error  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("text_input", "token_lists"),
    [
        ("ab", [[1, 97, 98, 2]]),
        (["ab", "c"], [[1, 97, 98, 2], [1, 99, 2]]),
        ([1, 8, 2], [[1, 8, 2]]),
        ([[1, 8, 9, 2], [8, 9], [1, 2]], [[1, 8, 9, 2], [1, 8, 9, 2], [1, 2]]),
    ],
    ids=["text", "texts", "ids", "lists of ids"],
)
def test_each_kind_of_input(
    client: httpx.Client, engine: FakeEngine, text_input: Any, token_lists: list[list[int]]
) -> None:
    response = embed(client, text_input, model="org/fake")
    np.testing.assert_array_equal(rows_of(response), np.stack([engine.row(tokens) for tokens in token_lists]))
    total = sum(map(len, token_lists))
    reply = response.json()
    assert (reply["object"], reply["model"]) == ("list", "org/fake")
    assert reply["usage"] == {"prompt_tokens": total, "total_tokens": total}
    assert reply["ovembed"] == {
        "fingerprint": engine.spec.fingerprint,
        "tokens": [len(tokens) for tokens in token_lists],
        "truncated": [],
    }


def test_base64_and_float_are_the_same_numbers(client: httpx.Client) -> None:
    encoded = embed(client, ["a", "b"], encoding_format="base64").json()["data"]
    decoded = np.stack([np.frombuffer(base64.b64decode(item["embedding"]), dtype="<f4") for item in encoded])
    np.testing.assert_array_equal(decoded, rows_of(embed(client, ["a", "b"], encoding_format="float")))


def test_dimensions_cut_and_normalize_again(client: httpx.Client, engine: FakeEngine) -> None:
    rows = rows_of(embed(client, ["a", "b"], dimensions=3))
    np.testing.assert_array_equal(rows, vectors.cut(expected(engine, "a", "b"), 3))
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-6)


def test_more_dimensions_than_the_model_has_are_refused_before_any_work(
    client: httpx.Client, engine: FakeEngine
) -> None:
    assert error_of(embed(client, "a", dimensions=9), 400)["param"] == "dimensions"
    assert engine.batches == []


def test_cut_dimensions_are_warned_of(client: httpx.Client) -> None:
    assert "Matryoshka" in embed(client, "a", dimensions=3).headers["X-Ovembed-Warning"]
    assert "X-Ovembed-Warning" not in embed(client, "a", dimensions=8).headers
    assert "X-Ovembed-Warning" not in embed(client, "a").headers


PROMPTS = {"query": "q: ", "passage": "p: ", "empty": ""}


@pytest.fixture
def prompted() -> Iterator[httpx.Client]:
    """A client of a model with prompts, of which one is its default."""
    with client_of({"fake": FakeEngine(make_spec(prompts=PROMPTS, default_prompt="query"))}) as client:
        yield client


@pytest.mark.parametrize(
    ("fields", "prompt"),
    [
        ({}, ""),
        ({"prompt_name": None, "input_type": None}, ""),
        ({"prompt_name": "passage"}, "p: "),
        ({"prompt_name": "empty"}, ""),
        ({"input_type": "query"}, "q: "),
        ({"input_type": "search_query"}, "q: "),
        ({"input_type": "document"}, "p: "),
        ({"input_type": "passage"}, "p: "),
        ({"input_type": "search_document"}, "p: "),
    ],
)
def test_a_prompt_stands_before_the_texts_when_the_request_asks_for_one(
    prompted: httpx.Client, engine: FakeEngine, fields: dict[str, Any], prompt: str
) -> None:
    response = embed(prompted, ["a", "b"], **fields)
    np.testing.assert_array_equal(rows_of(response), expected(engine, prompt + "a", prompt + "b"))
    assert response.json()["usage"]["prompt_tokens"] == 2 * (3 + len(prompt))


def test_the_request_s_own_word_for_a_prompt_comes_first(engine: FakeEngine) -> None:
    prompts = {"query": "q: ", "search_query": "s: ", "document": "d: ", "passage": "p: "}
    with client_of({"fake": FakeEngine(make_spec(prompts=prompts))}) as client:
        for input_type, prompt in [*prompts.items(), ("search_document", "d: ")]:
            np.testing.assert_array_equal(
                rows_of(embed(client, "a", input_type=input_type)), expected(engine, prompt + "a")
            )


@pytest.mark.parametrize("input_type", ["query", "document"])
def test_a_model_without_prompts_takes_any_input_type(
    client: httpx.Client, engine: FakeEngine, input_type: str
) -> None:
    np.testing.assert_array_equal(rows_of(embed(client, "a", input_type=input_type)), expected(engine, "a"))
    rows_of(embed(client, [[1, 97, 2]], input_type=input_type))


@pytest.mark.parametrize(
    ("fields", "param", "told"),
    [
        ({"prompt_name": "code"}, "prompt_name", "empty, passage, query"),
        ({"prompt_name": 1}, "prompt_name", "string"),
        ({"input_type": "image"}, "input_type", "search_document"),
        ({"input_type": 1}, "input_type", "string"),
        ({"prompt_name": "query", "input_type": "query"}, "prompt_name", "not both"),
        ({"prompt_name": "query", "input": [1, 2]}, "prompt_name", "send texts"),
        ({"input_type": "query", "input": [[1, 2]]}, "input_type", "send texts"),
        ({"input_type": "query", "input": ["a", ""]}, "input[1]", "empty"),
    ],
)
def test_a_prompt_that_cannot_be_put_is_told(
    prompted: httpx.Client, fields: dict[str, Any], param: str, told: str
) -> None:
    error = error_of(prompted.post("/v1/embeddings", json={"input": "a"} | fields), 400)
    assert error["param"] == param
    assert told in error["message"]


def test_a_prompt_counts_for_the_length(prompted: httpx.Client) -> None:
    rows_of(embed(prompted, "x" * 14))
    assert "17 tokens" in error_of(embed(prompted, "x" * 12, prompt_name="query"), 400)["message"]
    assert embed(prompted, "x" * 12, prompt_name="query", truncate=True).json()["ovembed"]["truncated"] == [0]


def test_token_input_gives_the_vectors_of_the_same_text(client: httpx.Client, engine: FakeEngine) -> None:
    texts = ["one", "two words", "x" * 14]
    np.testing.assert_array_equal(rows_of(embed(client, engine.tokenize(texts))), rows_of(embed(client, texts)))


def test_the_only_model_need_not_be_named(client: httpx.Client) -> None:
    assert embed(client, "a").json()["model"] == "org/fake"


def test_one_of_several_models_must_be_named() -> None:
    engines = {"one": FakeEngine(), "other": FakeEngine(make_spec(dimensions=4))}
    with application(engines) as (app, _), httpx.Client(transport=InProcess(app), base_url=URL) as client:
        error = error_of(embed(client, "a"), 400)
        assert error["param"] == "model"
        assert "one, other" in error["message"]
        assert rows_of(embed(client, "a", model="other")).shape == (1, 4)


def test_a_model_that_is_not_here_is_404_and_the_message_lists_those_that_are(client: httpx.Client) -> None:
    error = error_of(embed(client, "a", model="e5"), 404)
    assert (error["code"], error["param"], error["type"]) == ("model_not_found", "model", "invalid_request_error")
    assert "'e5'" in error["message"]
    assert "org/fake" in error["message"]


def test_a_name_from_outside_is_told_in_one_line_of_bounded_length(client: httpx.Client) -> None:
    for field, status in (("model", 404), ("prompt_name", 400)):
        message = error_of(embed(client, "a", **{field: "e5\n\u2028" * 10_000}), status)["message"]
        assert len(message.splitlines()) == 1
        assert len(message) < 2_000


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[1]", b'"text"', b"null", b'{"input": NaN}', b"[" * 5000])
def test_a_body_that_is_no_json_object_is_400(client: httpx.Client, body: bytes) -> None:
    error = error_of(client.post("/v1/embeddings", content=body), 400)
    assert error["type"] == "invalid_request_error"
    assert "body" in error["message"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "input"),
        ({"input": None}, "input"),
        ({"input": {}}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", 1]}, "input"),
        ({"input": [1.5]}, "input"),
        ({"input": [True]}, "input"),
        ({"input": ""}, "input[0]"),
        ({"input": ["a", ""]}, "input[1]"),
        ({"input": [[]]}, "input[0]"),
        ({"input": "a", "model": 1}, "model"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "dimensions": "8"}, "dimensions"),
        ({"input": "a", "truncate": "yes"}, "truncate"),
    ],
)
def test_the_field_at_fault_is_named_and_nothing_runs(
    client: httpx.Client, engine: FakeEngine, fields: dict[str, Any], param: str
) -> None:
    assert error_of(client.post("/v1/embeddings", json=fields), 400)["param"] == param
    assert engine.batches == []


@pytest.mark.parametrize("foreign", [256, -1, 2**63])
def test_ids_of_another_tokenizer_are_400_with_the_way_out_for_langchain(client: httpx.Client, foreign: int) -> None:
    error = error_of(embed(client, [[1, 2], [3, foreign]]), 400)
    assert error["param"] == "input[1]"
    assert "check_embedding_ctx_length=False" in error["message"]


def test_ids_without_special_tokens_are_embedded_as_their_text_and_warned_of(
    client: httpx.Client, engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    whole = embed(client, engine.tokenize(["a", "b"]))
    assert "X-Ovembed-Warning" not in whole.headers
    bare = embed(client, [list(b"a"), [1, *b"b", 2]])
    assert bare.content == whole.content
    assert bare.headers["X-Ovembed-Warning"].startswith("1 of 2 lists of token ids ")
    assert "check_embedding_ctx_length=False" in bare.headers["X-Ovembed-Warning"]
    assert embed(client, list(b"a")).status_code == 200
    assert caplog.text.count("check_embedding_ctx_length=False") == 1, "the log tells it once"


@pytest.mark.parametrize("text_input", [["a", "x" * 15], [[1], [5] * 15]], ids=["text", "ids"])
def test_an_input_that_is_too_long_is_400_with_openai_s_code(client: httpx.Client, text_input: Any) -> None:
    error = error_of(embed(client, text_input), 400)
    assert (error["code"], error["param"]) == ("context_length_exceeded", "input[1]")
    assert "17 tokens" in error["message"]
    assert "takes 16" in error["message"]


def test_truncate_cuts_and_tells_which(client: httpx.Client, engine: FakeEngine) -> None:
    response = embed(client, ["a", "x" * 99], truncate=True)
    np.testing.assert_array_equal(rows_of(response), expected(engine, "a", "x" * 14))
    assert response.json()["ovembed"] == {
        "fingerprint": engine.spec.fingerprint,
        "tokens": [3, 16],
        "truncated": [1],
    }


def test_a_long_input_is_tokenized_beside_the_loop_with_the_same_result(
    client: httpx.Client, engine: FakeEngine
) -> None:
    texts = [f"text {number}" for number in range(400)]
    np.testing.assert_array_equal(rows_of(embed(client, texts)), expected(engine, *texts))
    assert error_of(embed(client, [*texts, ""]), 400)["param"] == "input[400]"


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v3/embeddings", "/v3/tokenize", "/embed"])
def test_others_are_answered_while_a_large_body_is_parsed(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    texts = ["x" * 1_000] * 200
    body = {"input": texts, "inputs": texts, "text": texts, "truncate": True}
    begun, may_end, parse = threading.Semaphore(0), threading.Event(), wire.parse_inputs

    def parse_slowly(fields: dict[str, Any], name: str) -> wire.Inputs:
        if fields[name] == texts:
            begun.release()
            assert may_end.wait(PATIENCE_S)
        return parse(fields, name)

    monkeypatch.setattr(wire, "parse_inputs", parse_slowly)
    with serving(engine, max_body_bytes=1_000_000) as (client, _), ThreadPoolExecutor(2) as callers:
        large = [callers.submit(client.post, path, json=body) for _ in range(2)]
        assert begun.acquire(timeout=PATIENCE_S)
        rows_of(embed(client, "a"))
        assert not begun.acquire(blocking=False), "large ones are parsed one at a time"
        may_end.set()
        assert [reply.result(PATIENCE_S).status_code for reply in large] == [200, 200]


def test_a_body_above_the_limit_is_413(engine: FakeEngine) -> None:
    with serving(engine, max_body_bytes=1_000) as (client, _):
        error = error_of(embed(client, "x" * 2_000), 413)
        assert error["code"] == "request_too_large"
        assert "1000 bytes" in error["message"]
        rows_of(embed(client, "a"))


def test_reading_stops_where_a_body_without_a_size_gets_too_large() -> None:
    connection = Connection(*[b"x" * 100] * 50)
    asyncio.run(connection.request(create_app(Catalog(), always_ready(), Limits(1_000))))
    assert connection.status == 413
    assert connection.reads == 11


def test_a_body_of_exactly_the_limit_is_read() -> None:
    body = json.dumps({"input": "abc"}).encode()
    with serving(FakeEngine(), max_body_bytes=len(body)) as (client, _):
        rows_of(client.post("/v1/embeddings", content=body))
        error_of(client.post("/v1/embeddings", content=body + b" "), 413)


def test_a_body_too_large_by_its_header_is_refused_unread() -> None:
    app = create_app(Catalog(), always_ready(), Limits(1_000))
    connection = Connection(b"x" * 1001, headers={"content-length": "1001"})
    asyncio.run(connection.request(app))
    assert connection.status == 413
    assert connection.reads == 0


def test_a_full_queue_is_429_with_a_time_to_come_back(engine: FakeEngine) -> None:
    engine.gate.clear()
    with serving(engine, max_queued_tokens=10) as (client, batcher), ThreadPoolExecutor(2) as callers:
        running = callers.submit(embed, client, "a")
        assert engine.started.wait(PATIENCE_S)
        waiting = callers.submit(embed, client, "1234567")
        batcher.wait_for(requests=2)
        response = embed(client, "b")
        assert error_of(response, 429)["type"] == "rate_limit_error"
        assert int(response.headers["Retry-After"]) >= 1
        engine.gate.set()
        rows_of(running.result(PATIENCE_S))
        rows_of(waiting.result(PATIENCE_S))
        rows_of(embed(client, "b"))


def test_a_request_above_the_queue_s_bound_is_413(engine: FakeEngine) -> None:
    with serving(engine, max_queued_tokens=10) as (client, _):
        assert error_of(embed(client, ["abcd", "abcd"]), 413)["code"] == "request_too_large"
        rows_of(embed(client, "abcd"))


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v3/embeddings", "/v3/tokenize", "/embed"])
def test_more_inputs_than_a_request_may_have_are_413(engine: FakeEngine, path: str) -> None:
    texts = ["a"] * (MOST_INPUTS + 1)
    with serving(engine, max_body_bytes=1_000_000) as (client, _):
        response = client.post(path, json={"input": texts, "inputs": texts, "text": texts})
    assert response.status_code == 413
    assert str(MOST_INPUTS) in response.text
    assert engine.batches == []


@pytest.mark.parametrize(
    ("fault", "code"), [(EngineError("inference failed"), "engine_error"), (RuntimeError("secret"), None)]
)
def test_a_fault_is_500_and_the_next_request_is_fine(
    client: httpx.Client, engine: FakeEngine, fault: Exception, code: str | None
) -> None:
    engine.fault = fault
    error = error_of(embed(client, "a"), 500)
    assert (error["type"], error["code"]) == ("server_error", code)
    assert "secret" not in error["message"]
    engine.fault = None
    rows_of(embed(client, "a"))


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/chat/completions", "/v1/embeddings/", "/docs"])
def test_a_route_that_is_not_here_is_404_with_its_name(client: httpx.Client, path: str) -> None:
    assert path in error_of(client.get(path), 404)["message"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", "/v1/embeddings", "POST"), ("DELETE", "/v1/embeddings", "POST"), ("POST", "/v1/models", "GET")],
)
def test_a_wrong_method_is_405_and_tells_the_right_one(
    client: httpx.Client, method: str, path: str, allowed: str
) -> None:
    response = client.request(method, path)
    assert f"'{path}' takes {response.headers['Allow']}, not {method}" in error_of(response, 405)["message"]
    assert allowed in response.headers["Allow"]


def test_models_are_listed_with_what_their_vectors_are(client: httpx.Client, engine: FakeEngine) -> None:
    entry = {
        "id": "org/fake",
        "object": "model",
        "created": CREATED,
        "owned_by": "ovembed",
        "fingerprint": engine.spec.fingerprint,
        "dimensions": 8,
        "max_tokens": 16,
        "prompts": dict(engine.spec.prompts),
        "default_prompt": None,
    }
    assert client.get("/v1/models").json() == {"object": "list", "data": [entry]}
    assert client.get("/v1/models/org/fake").json() == entry
    assert client.get("/v1/models/org%2Ffake").json() == entry
    assert error_of(client.get("/v1/models/org"), 404)["code"] == "model_not_found"


def all_errors(kind: type[OvembedError] = OvembedError) -> list[type[OvembedError]]:
    children = [child for child in kind.__subclasses__() if child.__module__ == errors.__name__]
    return [kind, *(each for child in children for each in all_errors(child))]


STATUS = {
    errors.TextTooLong: 400,
    errors.TextError: 400,
    errors.RequestError: 400,
    errors.InputError: 400,
    errors.RequestTooLarge: 413,
    errors.ModelNotFound: 404,
    errors.ModelRetired: 404,
    errors.Unauthorized: 401,
    errors.BodyTimeout: 408,
    errors.RequestTimeout: 504,
    errors.ModelUnready: 503,
    errors.Overloaded: 429,
    errors.ShuttingDown: 503,
    errors.EndpointError: 502,
    errors.EndpointRefused: 503,
    errors.EndpointTimeout: 504,
    errors.EndpointLost: 502,
    errors.EndpointBusy: 503,
    errors.TextsRefused: 400,
}


def made(kind: type[OvembedError]) -> OvembedError:
    error = kind.__new__(kind)
    Exception.__init__(error, "what happened")
    error.position, error.param = 0, None  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize("kind", [*dict.fromkeys(all_errors())], ids=lambda kind: kind.__name__)
def test_every_error_has_its_status(client: httpx.Client, engine: FakeEngine, kind: type[OvembedError]) -> None:
    engine.fault = made(kind)
    assert error_of(embed(client, "a"), STATUS.get(kind, 500))["message"] == "what happened"


def test_the_table_of_problems_names_no_class_twice_in_vain() -> None:
    for kind, problem in PROBLEMS.items():
        inherited = next((PROBLEMS[parent] for parent in kind.__mro__[1:] if parent in PROBLEMS), None)
        assert problem != inherited


def test_requests_at_the_same_time_share_batches(engine: FakeEngine) -> None:
    texts = [f"text {number}" for number in range(10, 22)]
    engine.gate.clear()
    with serving(engine) as (client, batcher), ThreadPoolExecutor(len(texts) + 1) as callers:
        first = callers.submit(embed, client, "a")
        assert engine.started.wait(PATIENCE_S)
        replies = [callers.submit(embed, client, text) for text in texts]
        batcher.wait_for(requests=1 + len(texts))
        engine.gate.set()
        rows_of(first.result(PATIENCE_S))
        for text, reply in zip(texts, replies, strict=True):
            np.testing.assert_array_equal(rows_of(reply.result(PATIENCE_S)), expected(engine, text))
    assert sum(len(batch) for batch in engine.batches) == 1 + len(texts)
    assert len(engine.batches) == 2


def test_texts_of_a_client_that_left_do_not_run(engine: FakeEngine) -> None:
    engine.gate.clear()

    async def scenario(app: Application, batcher: WatchedBatcher) -> tuple[Connection, Connection]:
        staying, leaving = Connection(b'{"input": "stay"}'), Connection(b'{"input": "leave"}')
        first = asyncio.create_task(staying.request(app))
        await asyncio.to_thread(engine.started.wait, PATIENCE_S)
        second = asyncio.create_task(leaving.request(app))
        await asyncio.to_thread(batcher.wait_for, 2)
        leaving.left.set()
        await second
        engine.gate.set()
        await first
        return staying, leaving

    with application({"fake": engine}) as (app, [batcher]):
        staying, leaving = asyncio.run(scenario(app, batcher))
    assert (staying.status, leaving.status) == (200, 499)
    assert engine.batches == [engine.tokenize(["stay"])]


def test_a_request_cut_off_by_the_end_of_the_server_is_told_so(engine: FakeEngine) -> None:
    engine.gate.clear()

    async def scenario(app: Application, batcher: WatchedBatcher) -> Connection:
        connection = Connection(b'{"input": "a"}')
        request = asyncio.create_task(connection.request(app))
        await asyncio.to_thread(batcher.wait_for, 1)
        request.cancel()
        await request
        return connection

    with application({"fake": engine}) as (app, [batcher]):
        assert asyncio.run(scenario(app, batcher)).status == 503


def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_error(engine: FakeEngine) -> None:
    connection = Connection()
    connection.left.set()
    with application({"fake": engine}) as (app, _):
        asyncio.run(connection.request(app))
    assert connection.status == 499
    assert engine.batches == []


@pytest.fixture(params=["local", "remote"])
def embedder(request: pytest.FixtureRequest, engine: FakeEngine) -> Iterator[Embedder]:
    """Every home of the Embedder interface, over the same engine."""
    if request.param == "local":
        with LocalEmbedder(engine, "org/fake") as local:
            yield local
    else:
        with serving(engine) as (client, _), RemoteEmbedder(URL, client=client) as remote:
            yield remote


@pytest.mark.parametrize(
    "texts",
    [
        ["one"],
        ["long enough text", "b", "middling"],
        ["same", "other", "same"],
        ["Grüße", "日本語", "🚂", "a\u0301", "\x00\n\t"],
        [f"text {number}" for number in range(700)],
    ],
    ids=["one", "mixed lengths", "duplicates", "unicode", "many"],
)
def test_every_embedder_gives_the_engine_s_rows(embedder: Embedder, engine: FakeEngine, texts: list[str]) -> None:
    result = embedder.embed(texts, truncate=True)
    cut = [tokens if len(tokens) <= 16 else [*tokens[:15], 2] for tokens in engine.tokenize(texts)]
    np.testing.assert_array_equal(result.vectors, np.stack([engine.row(tokens) for tokens in cut]))
    assert result.vectors.dtype == np.float32
    assert result.vectors.flags.c_contiguous
    np.testing.assert_allclose(np.linalg.norm(result.vectors, axis=1), 1.0, atol=1e-6)
    assert result.tokens == tuple(map(len, cut))
    assert result.total_tokens == sum(result.tokens)
    assert (result.model, result.fingerprint) == ("org/fake", engine.spec.fingerprint)


def test_every_embedder_gives_no_rows_for_no_texts(embedder: Embedder) -> None:
    result = embedder.embed([])
    assert result.vectors.shape[0] == 0
    assert result.vectors.dtype == np.float32
    assert (result.tokens, result.total_tokens, result.truncated) == ((), 0, ())


@pytest.mark.parametrize("position", [0, 2, 300])
def test_every_embedder_names_the_text_that_is_too_long(embedder: Embedder, position: int) -> None:
    texts = ["fine"] * 400
    texts[position] = "x" * 15
    with pytest.raises(TextTooLong, match="17 tokens") as caught:
        embedder.embed(texts)
    assert caught.value.position == position


@pytest.mark.parametrize("text", ["", "\udcff"])
def test_every_embedder_names_the_text_it_cannot_take(embedder: Embedder, text: str) -> None:
    with pytest.raises(TextError) as caught:
        embedder.embed(["fine", text])
    assert caught.value.position == 1


def test_every_embedder_cuts_only_what_is_too_long_and_tells_it(embedder: Embedder, engine: FakeEngine) -> None:
    result = embedder.embed(["fits", "x" * 14, "x" * 15], truncate=True)
    assert result.truncated == (2,)
    np.testing.assert_array_equal(result.vectors[2], result.vectors[1])


def test_every_embedder_may_be_shared_between_threads(embedder: Embedder, engine: FakeEngine) -> None:
    lists = [[f"{caller} {number}" for number in range(caller + 1)] for caller in range(8)]
    with ThreadPoolExecutor(len(lists)) as callers:
        for texts, result in zip(lists, callers.map(embedder.embed, lists), strict=True):
            np.testing.assert_array_equal(result.vectors, expected(engine, *texts))
