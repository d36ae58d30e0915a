"""OVMS's dialect, row by row: the literal bodies are those of version 2026.3."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest

from ovembed import errors, vectors
from ovembed.remote import RemoteEmbedder
from tests.fakes import FakeEngine, make_spec
from tests.serving import CREATED, URL, client_of, expected, rows_of, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

REJECTED = (
    r'{"error":"Mediapipe execution failed. MP status - INVALID_ARGUMENT: CalculatorGraph::Run() failed: '
    r"\nCalculator::Process() for node \"EmbeddingsExecutor\" failed: "
)
UNKNOWN_GRAPH = '{"error":"Mediapipe graph definition with requested name is not found"}'
INVALID_URL = '{"error":"Invalid request URL"}'
UNSUPPORTED = '{"error":"Unsupported method"}'
ESCAPING = '{"error":"The provided base path is invalid or doesn\'t exists"}'
NOT_JSON = '{"error":"The file is not valid json - %s"}'
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def client(engine: FakeEngine) -> Iterator[httpx.Client]:
    with serving(engine) as (client, _):
        yield client


@pytest.fixture
def several() -> Iterator[httpx.Client]:
    with client_of({"one": FakeEngine(), "org/other": FakeEngine(make_spec(dimensions=4))}) as client:
        yield client


def embed(client: httpx.Client, text_input: Any, path: str = "embeddings", **fields: Any) -> httpx.Response:
    return client.post(f"/v3/{path}", json={"model": "org/fake", "input": text_input} | fields)


def check(response: httpx.Response, status: int, body: str) -> None:
    assert (response.status_code, response.text) == (status, body)
    assert response.headers["content-type"] == "application/json"


def check_rejected(response: httpx.Response, message: str) -> None:
    check(response, 400, REJECTED + message + '"}')


@pytest.mark.parametrize("path", ["embeddings", "embeddings/", "v1/embeddings", "foo", "", "a/b.c"])
def test_any_path_reaches_the_model_that_the_body_names(client: httpx.Client, engine: FakeEngine, path: str) -> None:
    np.testing.assert_array_equal(rows_of(embed(client, ["a", "bc"], path)), expected(engine, "a", "bc"))


def test_the_reply_is_that_of_v1(client: httpx.Client) -> None:
    body = {"model": "org/fake", "input": ["a", "x" * 20], "truncate": True, "dimensions": 3}
    v1, v3 = (client.post(f"/{version}/embeddings", json=body) for version in ("v1", "v3"))
    assert (v1.status_code, v1.content) == (200, v3.content)
    assert v1.headers["X-Ovembed-Warning"] == v3.headers["X-Ovembed-Warning"]
    assert v3.json()["model"] == "org/fake"
    assert v3.json()["ovembed"]["truncated"] == [1]


def test_token_input_gives_the_vectors_of_the_same_text(client: httpx.Client, engine: FakeEngine) -> None:
    texts = ["a", "some text"]
    np.testing.assert_array_equal(rows_of(embed(client, engine.tokenize(texts))), expected(engine, *texts))
    np.testing.assert_array_equal(rows_of(embed(client, engine.tokenize(["a"])[0])), expected(engine, "a"))
    bare = embed(client, list(b"some text"))
    np.testing.assert_array_equal(rows_of(bare), expected(engine, "some text"))
    assert "special tokens" in bare.headers["X-Ovembed-Warning"]


def test_base64_and_dimensions(client: httpx.Client, engine: FakeEngine) -> None:
    [item] = embed(client, "a", encoding_format="base64", dimensions=5).json()["data"]
    row = np.frombuffer(base64.b64decode(item["embedding"]), dtype="<f4")
    np.testing.assert_array_equal(row, vectors.cut(expected(engine, "a"), 5)[0])


def test_prompts_count_as_under_v1(engine: FakeEngine) -> None:
    with client_of({"org/fake": FakeEngine(make_spec(prompts={"query": "q: "}))}) as client:
        np.testing.assert_array_equal(rows_of(embed(client, "a", input_type="query")), expected(engine, "q: a"))
        assert embed(client, "a", prompt_name="code").text.startswith(REJECTED + "The model has no prompt 'code'")


def test_the_content_type_does_not_matter_to_json(client: httpx.Client) -> None:
    body = b'{"model": "org/fake", "input": "a"}'
    for headers in ({}, {"Content-Type": "application/x-www-form-urlencoded"}, {"Content-Type": "text/plain"}):
        rows_of(client.post("/v3/embeddings", content=body, headers=headers))


def test_the_only_model_need_not_be_named(client: httpx.Client, several: httpx.Client) -> None:
    rows_of(client.post("/v3/embeddings", json={"input": "a"}))
    rows_of(client.post("/v3/embeddings", json={"input": "a", "model": None}))
    assert rows_of(several.post("/v3/embeddings", json={"input": "a", "model": "org/other"})).shape == (1, 4)


def test_an_unknown_model(client: httpx.Client) -> None:
    check(embed(client, "a", model="e5"), 404, UNKNOWN_GRAPH)


@pytest.mark.parametrize("content", [b"", b"{", b"input=a", b"\xff", b'{"input": NaN}'])
def test_a_body_that_is_no_json(client: httpx.Client, content: bytes) -> None:
    check(client.post("/v3/embeddings", content=content, headers=JSON), 412, NOT_JSON % "Cannot parse JSON body")


@pytest.mark.parametrize("content", [b"[]", b'"a"', b"null", b"1"])
def test_a_body_that_is_no_object(client: httpx.Client, content: bytes) -> None:
    check(client.post("/v3/embeddings", content=content, headers=JSON), 412, NOT_JSON % "JSON body must be an object")


def test_a_body_that_is_too_deep(client: httpx.Client) -> None:
    response = client.post("/v3/embeddings", content=b"[" * 5000, headers=JSON)
    check(response, 412, NOT_JSON % "JSON body exceeds maximum nesting depth")


@pytest.mark.parametrize("fields", [{}, {"model": None}, {"model": ""}])
def test_no_model_among_several(several: httpx.Client, fields: dict[str, Any]) -> None:
    response = several.post("/v3/embeddings", json={"input": "a"} | fields)
    check(response, 412, NOT_JSON % "model field is missing in JSON body")


@pytest.mark.parametrize("model", [1, 0, ["a"], {}])
def test_a_model_that_is_no_string(client: httpx.Client, model: Any) -> None:
    check(embed(client, "a", model=model), 412, NOT_JSON % "model field is not a string")


def test_a_body_that_does_not_claim_to_be_json_is_for_the_model_in_the_path(client: httpx.Client) -> None:
    check(client.post("/v3/embeddings", content=b"hello"), 404, UNKNOWN_GRAPH)
    check(client.post("/v3/", content=b"hello"), 500, '{"error":"Failed to deduce model name from all possible ways"}')
    check_rejected(
        client.post("/v3/org/fake", content=b"hello", headers={"Content-Type": "text/plain"}),
        "Non-json request received in embeddings calculator",
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        *((value, "input should be string, array of strings or array of integers") for value in (1, {}, None, True)),
        *(
            (value, "every element in input array should be either string or int")
            for value in ([1.5], [None], [True], [{}], [[1.5]], [[[1]]], [["a"], [None]], [[1], {}])
        ),
        *(
            (value, "input must be homogeneous")
            for value in (["a", 1], [1, "a"], ["a", ["b"]], [1, [2]], [[1], 2], [[1], ["a"]], [[1, "a"]], [["a", 1]])
        ),
        ([["a"], ["b"]], "input must be either array of strings or array of array of integers"),
        ([], "input array should not be empty"),
        ([[]], "inner arrays in input should not be empty"),
        ([[1], []], "inner arrays in input should not be empty"),
        (["a", []], "inner arrays in input should not be empty"),
    ],
)
def test_an_input_of_the_wrong_shape(client: httpx.Client, engine: FakeEngine, value: Any, message: str) -> None:
    check_rejected(embed(client, value), message)
    assert engine.batches == []


def test_no_input(client: httpx.Client) -> None:
    check_rejected(client.post("/v3/embeddings", json={"model": "org/fake"}), "input field is required")


def test_an_unknown_encoding_format(client: httpx.Client) -> None:
    check_rejected(embed(client, "a", encoding_format="int8"), "encoding_format should either base64 or float")
    check_rejected(embed(client, "a", encoding_format=1), "encoding_format should be string")


@pytest.mark.parametrize("value", ["x" * 18, ["x" * 15, "x" * 18, "a"], [[5] * 15, [5] * 18]])
def test_an_input_that_is_too_long_is_told_by_the_width_of_the_batch(client: httpx.Client, value: Any) -> None:
    check_rejected(embed(client, value), "Input length 20 longer than allowed 16")


def test_what_ovms_has_no_words_for_ends_its_own_sentence_with_ours(client: httpx.Client) -> None:
    for response, told in (
        (embed(client, [[1, 256]]), "check_embedding_ctx_length=False"),
        (embed(client, ["a", ""]), "Input 1: the text is empty"),
        (embed(client, "a", dimensions=9), "8 dimensions"),
        (embed(client, "a", truncate="yes"), "'truncate' must be true or false."),
    ):
        assert response.status_code == 400
        assert response.text.startswith(REJECTED)
        assert told in response.text


@pytest.mark.parametrize(
    ("kind", "status"),
    [(errors.EngineError, 500), (errors.Overloaded, 429), (errors.RequestTooLarge, 413), (RuntimeError, 500)],
)
def test_faults_of_the_server_are_not_the_client_s(
    client: httpx.Client, engine: FakeEngine, kind: type[Exception], status: int
) -> None:
    engine.fault = kind("what happened")
    response = embed(client, "a")
    told = "what happened" if kind is not RuntimeError else "Internal error. This is a bug; see the server's log."
    check(response, status, f'{{"error":"{told}"}}')
    assert response.headers.get("Retry-After") == ("1" if status == 429 else None)


def test_a_body_above_the_limit(engine: FakeEngine) -> None:
    with serving(engine, max_body_bytes=100) as (client, _):
        response = embed(client, "x" * 200)
        assert response.status_code == 413
        assert set(response.json()) == {"error"}


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", ["/v3/embeddings", "/v3/models", "/v2/health/ready", "/v2/no/such", "/v1/config"])
def test_an_unsupported_method(client: httpx.Client, method: str, path: str) -> None:
    check(client.request(method, path), 406, UNSUPPORTED)


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/config/reload"), ("POST", "/v1/config")])
def test_the_config_routes_take_one_method_each(client: httpx.Client, method: str, path: str) -> None:
    check(client.request(method, path), 406, UNSUPPORTED)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v3/embeddings"),
        ("GET", "/v3"),
        ("POST", "/v3"),
        ("GET", "/v3/models/"),
        ("GET", "/v2/"),
        ("GET", "/v2/health"),
        ("POST", "/v2/models/org%2Ffake/infer"),
        ("POST", "/v2/health/ready"),
    ],
)
def test_an_unknown_url(client: httpx.Client, method: str, path: str) -> None:
    check(client.request(method, path), 400, INVALID_URL)


@pytest.mark.parametrize(("method", "path"), [("POST", "/v3/../embeddings"), ("GET", "/v2/x/../y")])
def test_a_path_that_climbs(client: httpx.Client, method: str, path: str) -> None:
    request = client.build_request(method, "/", json={"model": "org/fake", "input": "a"})
    request.url = httpx.URL(URL, raw_path=path.replace("..", "%2E%2E").encode())
    check(client.send(request), 400, ESCAPING)


def test_the_models_api(client: httpx.Client, engine: FakeEngine) -> None:
    for path in ("/v3/models", "/v3/v1/models"):
        assert client.get(path).json()["object"] == "list"
        [listed] = client.get(path).json()["data"]
        assert listed.items() >= {"id": "org/fake", "object": "model", "created": CREATED, "owned_by": "OVMS"}.items()
        assert listed["fingerprint"] == engine.spec.fingerprint
    for path in ("/v3/models/org/fake", "/v3/models/org%2Ffake"):
        assert client.get(path).json() == listed
    check(client.get("/v3/models/e5"), 500, '{"error":"Model not found"}')


def test_the_health_of_the_server(client: httpx.Client) -> None:
    for path in ("/v2/health/live", "/v2/health/ready"):
        check(client.get(path), 200, "")
    assert client.head("/v2/health/ready").status_code == 200
    assert set(client.get("/v2").json()) == {"name", "version"}


@pytest.mark.parametrize("name", ["org%2Ffake", "org/fake"])
def test_a_model_that_is_ready(client: httpx.Client, name: str) -> None:
    for version in ("", "/versions/1"):
        check(client.get(f"/v2/models/{name}{version}/ready"), 200, "")
        check(
            client.get(f"/v2/models/{name}{version}"),
            200,
            '{"name":"org/fake","versions":["1"],"platform":"OpenVINO",'
            '"inputs":[{"name":"input","datatype":"INVALID","shape":[]}],'
            '"outputs":[{"name":"output","datatype":"INVALID","shape":[]}]}',
        )
    for suffix in ("", "/ready"):
        check(client.get(f"/v2/models/e5{suffix}"), 404, '{"error":"Model with requested name is not found"}')
        check(
            client.get(f"/v2/models/{name}/versions/2{suffix}"),
            404,
            '{"error":"Model with requested version is not found"}',
        )


def test_the_config_tells_what_is_loaded_and_a_reload_is_not_needed(several: httpx.Client) -> None:
    status = (
        '{"model_version_status":[{"version":"1","state":"AVAILABLE",'
        '"status":{"error_code":"OK","error_message":"OK"}}]}'
    )
    body = f'{{"one":{status},"org/other":{status}}}'
    check(several.get("/v1/config"), 200, body)
    check(several.post("/v1/config/reload"), 200, body)


def tokenize(client: httpx.Client, text: Any, path: str = "tokenize", **fields: Any) -> httpx.Response:
    return client.post(f"/v3/{path}", json={"model": "org/fake", "text": text} | fields)


@pytest.mark.parametrize(
    ("text", "fields", "tokens"),
    [
        ("ab", {}, [1, 97, 98, 2]),
        (["ab"], {}, [1, 97, 98, 2]),
        (["ab", ""], {}, [[1, 97, 98, 2], [1, 2]]),
        ("x" * 99, {}, [1, *[120] * 99, 2]),
        ("abcdef", {"max_length": 4}, [1, 97, 98, 2]),
        ("abcdef", {"max_length": 8}, [1, *b"abcdef", 2]),
        ("abcdef", {"max_length": 2}, [1, 2]),
        ("abcdef", {"max_length": 1}, [1]),
        ("abcdef", {"add_special_tokens": False}, [*b"abcdef"]),
        ("abcdef", {"add_special_tokens": False, "max_length": 2}, [97, 98]),
        ("ab", {"add_special_tokens": True, "pad_to_max_length": False, "padding_side": "left"}, [1, 97, 98, 2]),
    ],
)
def test_tokenize(client: httpx.Client, text: Any, fields: dict[str, Any], tokens: list[Any]) -> None:
    for path in ("tokenize", "v1/tokenize"):
        response = tokenize(client, text, path, **fields)
        assert (response.status_code, response.json()) == (200, {"tokens": tokens})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"text": 1}, "text should be string, array of strings or array of integers"),
        ({"text": []}, "text array should not be empty"),
        ({"text": ["a", 1]}, "text must be homogeneous"),
        ({"text": [1, 2]}, "Input should be string or array of strings"),
        ({"text": [["a"]]}, "Input should be string or array of strings"),
        ({"max_length": "8"}, "max_length should be unsigned integer"),
        ({"max_length": -1}, "max_length should be unsigned integer"),
        ({"max_length": True}, "max_length should be unsigned integer"),
        ({"max_length": None}, "max_length should be unsigned integer"),
        ({"max_length": 0}, "max_length should be greater than 0"),
        ({"pad_to_max_length": 1}, "pad_to_max_length should be boolean"),
        ({"pad_to_max_length": True}, "pad_to_max_length is not available here; pad the tokens of the reply"),
        ({"add_special_tokens": "no"}, "add_special_tokens should be boolean"),
        ({"padding_side": "top"}, "padding_side should be either left or right"),
        ({"padding_side": 1}, "padding_side should be string, either left or right"),
    ],
)
def test_what_cannot_be_tokenized(client: httpx.Client, fields: dict[str, Any], message: str) -> None:
    check_rejected(client.post("/v3/tokenize", json={"model": "org/fake", "text": "a"} | fields), message)


def test_no_text_to_tokenize(client: httpx.Client) -> None:
    check_rejected(client.post("/v3/tokenize", json={"model": "org/fake"}), "text field is required")
    check(tokenize(client, "a", model="e5"), 404, UNKNOWN_GRAPH)


def test_our_own_client_speaks_to_v3(client: httpx.Client, engine: FakeEngine) -> None:
    with RemoteEmbedder(f"{URL}/v3", client=client) as remote:
        assert remote.model == "org/fake"
        np.testing.assert_array_equal(remote.embed(["a", "b"]).vectors, expected(engine, "a", "b"))
        with pytest.raises(errors.TextTooLong, match="longer than allowed 16"):
            remote.embed(["x" * 20])
