"""TEI's dialect, as its clients see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ovembed import errors, vectors
from tests.fakes import FakeEngine, make_spec
from tests.serving import client_of, expected, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from ovembed.protocols import Vectors


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def client(engine: FakeEngine) -> Iterator[httpx.Client]:
    with serving(engine) as (client, _):
        yield client


def embed(client: httpx.Client, inputs: Any, path: str = "/embed", **fields: Any) -> httpx.Response:
    return client.post(path, json={"inputs": inputs} | fields)


def rows(response: httpx.Response) -> Vectors:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    return np.array(response.json(), dtype=np.float32)


def check_error(response: httpx.Response, status: int, kind: str) -> str:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert set(response.json()) == {"error", "error_type"}
    assert response.json()["error_type"] == kind
    message: str = response.json()["error"]
    return message


@pytest.mark.parametrize("path", ["/embed", "/"])
def test_the_answer_is_a_list_of_vectors(client: httpx.Client, engine: FakeEngine, path: str) -> None:
    np.testing.assert_array_equal(rows(embed(client, ["a", "bc"], path)), expected(engine, "a", "bc"))
    np.testing.assert_array_equal(rows(embed(client, "a", path)), expected(engine, "a"))
    np.testing.assert_array_equal(rows(embed(client, [1, 97, 2], path)), expected(engine, "a"))
    np.testing.assert_array_equal(rows(embed(client, [[1, 97, 2], [1, 2]], path)), expected(engine, "a", ""))


def test_headers_tell_what_the_list_cannot(client: httpx.Client, engine: FakeEngine) -> None:
    response = embed(client, ["a", "bc"])
    assert response.headers["x-compute-tokens"] == "7"
    assert response.headers["X-Ovembed-Fingerprint"] == engine.spec.fingerprint
    assert "X-Ovembed-Warning" not in response.headers


def test_truncate_cuts_and_warns(client: httpx.Client, engine: FakeEngine) -> None:
    response = embed(client, ["a", "x" * 30], truncate=True)
    np.testing.assert_array_equal(rows(response), expected(engine, "a", "x" * 14))
    assert response.headers["X-Ovembed-Warning"] == "1 of 2 inputs cut to 16 tokens"


def test_ids_without_special_tokens_are_warned_of(client: httpx.Client, engine: FakeEngine) -> None:
    response = embed(client, list(b"a"))
    np.testing.assert_array_equal(rows(response), expected(engine, "a"))
    assert "special tokens" in response.headers["X-Ovembed-Warning"]


def test_options_that_are_null_are_left_out(client: httpx.Client, engine: FakeEngine) -> None:
    options = ("truncate", "truncation_direction", "prompt_name", "normalize", "dimensions")
    np.testing.assert_array_equal(rows(embed(client, "a", **dict.fromkeys(options))), expected(engine, "a"))
    np.testing.assert_array_equal(rows(embed(client, "a", truncation_direction="right")), expected(engine, "a"))


def test_dimensions_cut_and_normalize_again(client: httpx.Client, engine: FakeEngine) -> None:
    response = embed(client, "a", dimensions=3)
    np.testing.assert_array_equal(rows(response), vectors.cut(expected(engine, "a"), 3))
    assert "Matryoshka" in response.headers["X-Ovembed-Warning"]


class LongVectors(FakeEngine):
    """A model that does not normalize."""

    def __init__(self) -> None:
        super().__init__(make_spec(normalize=False))

    def row(self, tokens: Any) -> Vectors:
        return super().row(tokens) * np.float32(3)


def test_normalize_is_on_unless_it_is_turned_off(engine: FakeEngine) -> None:
    with client_of({"long": LongVectors()}) as client:
        for fields in ({}, {"normalize": True}):
            np.testing.assert_allclose(rows(embed(client, "a", **fields)), expected(engine, "a"), rtol=1e-6)
        response = embed(client, "a", normalize=False)
        np.testing.assert_array_equal(rows(response), expected(LongVectors(), "a"))
        assert "X-Ovembed-Warning" not in response.headers


def test_a_model_that_normalizes_itself_says_so(client: httpx.Client, engine: FakeEngine) -> None:
    response = embed(client, "a", normalize=False)
    np.testing.assert_array_equal(rows(response), expected(engine, "a"))
    assert "unit length" in response.headers["X-Ovembed-Warning"]


def test_a_prompt_by_its_name(engine: FakeEngine) -> None:
    with client_of({"fake": FakeEngine(make_spec(prompts={"query": "q: "}, default_prompt="query"))}) as client:
        np.testing.assert_array_equal(rows(embed(client, "a", prompt_name="query")), expected(engine, "q: a"))
        np.testing.assert_array_equal(rows(embed(client, "a")), expected(engine, "a"))
        assert "query" in check_error(embed(client, "a", prompt_name="code"), 422, "Validation")


def test_one_of_several_models_is_chosen_in_the_body_or_the_url() -> None:
    with client_of({"one": FakeEngine(), "other": FakeEngine(make_spec(dimensions=4))}) as client:
        assert rows(embed(client, "a", model="other")).shape == (1, 4)
        assert rows(embed(client, "a", "/embed?model=other")).shape == (1, 4)
        assert client.get("/info?model=other").json()["dimensions"] == 4
        assert "one, other" in check_error(embed(client, "a"), 422, "Validation")
        assert "one, other" in check_error(client.get("/info"), 422, "Validation")
        assert "one, other" in check_error(embed(client, "a", model="e5"), 404, "Validation")


@pytest.mark.parametrize("inputs", ["", [], ["a", ""], [[]], [[1], []]])
def test_an_empty_input(client: httpx.Client, inputs: Any) -> None:
    assert check_error(embed(client, inputs), 400, "Empty") == "`inputs` cannot be empty"


@pytest.mark.parametrize(
    "fields",
    [
        {"inputs": 1},
        {"inputs": None},
        {"inputs": ["a", 1]},
        {"truncate": "yes"},
        {"normalize": "yes"},
        {"truncation_direction": "left"},
        {"dimensions": 9},
        {"prompt_name": "code"},
    ],
)
def test_a_field_that_cannot_be_used(client: httpx.Client, fields: dict[str, Any]) -> None:
    [name] = fields
    message = check_error(client.post("/embed", json={"inputs": "a"} | fields), 422, "Validation")
    assert name.removesuffix("_name") in message


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"input": "a"}'])
def test_a_body_that_is_no_request(client: httpx.Client, content: bytes) -> None:
    check_error(client.post("/embed", content=content), 422, "Validation")


def test_an_input_that_is_too_long_or_foreign(client: httpx.Client) -> None:
    assert "16" in check_error(embed(client, ["a", "x" * 15]), 413, "Validation")
    assert "vocabulary" in check_error(embed(client, [1, 256]), 413, "Validation")


@pytest.mark.parametrize(
    ("fault", "status", "kind"),
    [
        (errors.EngineError("what happened"), 424, "Backend"),
        (errors.Overloaded("what happened"), 429, "Overloaded"),
        (errors.RequestTooLarge("what happened"), 413, "Validation"),
        (errors.RepositoryError("what happened"), 500, "Backend"),
        (RuntimeError("secret"), 500, "Backend"),
    ],
)
def test_faults(client: httpx.Client, engine: FakeEngine, fault: Exception, status: int, kind: str) -> None:
    engine.fault = fault
    response = embed(client, "a")
    assert "secret" not in check_error(response, status, kind)
    assert response.headers.get("Retry-After") == ("1" if status == 429 else None)


@pytest.mark.parametrize(("method", "path"), [("GET", "/embed"), ("POST", "/info"), ("DELETE", "/")])
def test_a_wrong_method(client: httpx.Client, method: str, path: str) -> None:
    assert path in check_error(client.request(method, path), 405, "Validation")


def test_info(client: httpx.Client, engine: FakeEngine) -> None:
    info = client.get("/info").json()
    assert info["model_id"] == "org/fake"
    assert info["model_dtype"] == "fp32"
    assert info["model_type"] == {"embedding": {"pooling": "mean"}}
    assert (info["max_input_length"], info["dimensions"]) == (16, 8)
    assert info["fingerprint"] == engine.spec.fingerprint
    assert info["auto_truncate"] is False


@pytest.mark.parametrize("path", ["/health", "/"])
def test_health(client: httpx.Client, path: str) -> None:
    response = client.get(path)
    assert (response.status_code, response.json()) == (200, {"status": "ok", "models": ["org/fake"]})
