from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from ovembed import wire
from ovembed.errors import EndpointError, RequestError
from ovembed.protocols import Embeddings
from ovembed.wire import ErrorReply

if TYPE_CHECKING:
    from ovembed.protocols import Vectors
    from ovembed.wire import EncodingFormat


def body(**fields: Any) -> bytes:
    return json.dumps({"input": "a"} | fields).encode()


def reply(*vectors: Any, **fields: Any) -> bytes:
    data = [{"index": index, "embedding": vector} for index, vector in enumerate(vectors)]
    return json.dumps({"data": data} | fields).encode()


@pytest.mark.parametrize(
    ("value", "texts", "token_lists"),
    [
        ("a", ["a"], None),
        (["a", "b"], ["a", "b"], None),
        ([1, 2], None, [[1, 2]]),
        ([[1, 2], [3]], None, [[1, 2], [3]]),
    ],
    ids=["text", "texts", "tokens", "token lists"],
)
def test_every_shape_of_input(value: Any, texts: list[str] | None, token_lists: list[list[int]] | None) -> None:
    request = wire.parse_request(body(input=value))
    assert request.texts == texts
    assert request.token_lists == token_lists


def test_defaults_of_a_request() -> None:
    assert wire.parse_request(b'{"input": "a"}') == wire.EmbeddingsRequest(None, ["a"], None, "float", None, False)


def test_all_fields_of_a_request() -> None:
    request = wire.parse_request(
        body(model="m", encoding_format="base64", dimensions=3, truncate=True, prompt_name="query")
    )
    assert request == wire.EmbeddingsRequest("m", ["a"], None, "base64", 3, True, prompt_name="query")


@pytest.mark.parametrize("input_type", wire.INPUT_TYPES)
def test_every_type_of_input(input_type: str) -> None:
    assert wire.parse_request(body(input_type=input_type)).input_type == input_type


def test_a_whole_number_may_be_written_as_a_fraction() -> None:
    request = wire.parse_request(b'{"input": [[1.0, 2], [3e1]], "dimensions": 4.0}')
    assert request == wire.parse_request(body(input=[[1, 2], [30]], dimensions=4))
    assert {type(each) for each in [request.dimensions, *request.token_lists[0]]} == {int}  # type: ignore[index]
    assert wire.parse_request(b'{"input": [1, 2.0]}').token_lists == [[1, 2]]


def test_null_fields_count_as_absent() -> None:
    fields = ("model", "encoding_format", "dimensions", "truncate", "prompt_name", "input_type")
    given_null = wire.parse_request(body(**dict.fromkeys(fields)))
    assert given_null == wire.parse_request(body())


def test_unknown_fields_are_ignored() -> None:
    assert wire.parse_request(body(user="me", shoe_size=43)) == wire.parse_request(body())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", 7),
        ("input", None),
        ("input", 3),
        ("input", {"text": "a"}),
        ("input", []),
        ("input", ["a", 1]),
        ("input", [1, True]),
        ("input", [1, 2.5]),
        ("input", [[1], "a"]),
        ("input", [[1], ["a"]]),
        ("encoding_format", "int8"),
        ("encoding_format", ["float"]),
        ("dimensions", 0),
        ("dimensions", -4),
        ("dimensions", 2.5),
        ("dimensions", True),
        ("dimensions", "8"),
        ("truncate", "yes"),
        ("truncate", 1),
        ("prompt_name", 1),
        ("input_type", 1),
        ("input_type", "image"),
    ],
)
def test_a_bad_field_is_named(field: str, value: Any) -> None:
    with pytest.raises(RequestError, match=f"'{field}'") as caught:
        wire.parse_request(body(**{field: value}))
    assert caught.value.param == field


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (["a", "b", 1], "item 2 is a token id"),
        ([1, "a"], "item 1 is a string"),
        ([1, [2]], "item 1 is a list of token ids"),
        ([[1], "a"], "item 1 is a string"),
        ([[1], [2, "a"]], "item 1 is a list of other things"),
        ([["a"], ["b"]], "item 0 is a list of other things"),
        ([1, 2.5], "item 1 is 2.5"),
        (["a", None], "item 1 is null"),
        ([True], "item 0 is true"),
        ([{"text": "a"}], "item 0 is an object"),
    ],
)
def test_what_does_not_fit_among_the_inputs_is_pointed_out(value: Any, told: str) -> None:
    with pytest.raises(RequestError, match=told):
        wire.parse_request(body(input=value))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "empty"),
        ('{"input": "é"}'.encode("latin-1"), r"not valid UTF-8 \(byte 11\)"),
        ('{"input": "a"}'.encode("utf-16"), r"not valid UTF-8 \(byte 0\)"),
        (b'{"input": "a}', "not valid JSON"),
    ],
)
def test_what_is_wrong_with_a_body_is_said(content: bytes, told: str) -> None:
    with pytest.raises(RequestError, match=told):
        wire.parse_request(content)


def test_two_ways_to_name_a_prompt_are_one_too_many() -> None:
    with pytest.raises(RequestError, match="not both"):
        wire.parse_request(body(prompt_name="query", input_type="query"))


def test_missing_input_is_named() -> None:
    with pytest.raises(RequestError, match="'input' is missing") as caught:
        wire.parse_request(b'{"model": "m"}')
    assert caught.value.param == "input"


@pytest.mark.parametrize(
    "content", [b"", b"{", b"input=a", b'"a"', b'["a"]', b"null", b'{"input": "\xff"}', b'{"input": "\\ud800"}']
)
def test_a_body_that_is_no_json_object_is_refused(content: bytes) -> None:
    with pytest.raises(RequestError, match="The body") as caught:
        wire.parse_request(content)
    assert caught.value.param is None
    assert "\n" not in str(caught.value)


@settings(deadline=None)
@given(st.lists(st.text(), min_size=1), st.none() | st.text(min_size=1), st.booleans())
def test_a_request_survives_the_round_trip(texts: list[str], model: str | None, truncate: bool) -> None:
    parsed = wire.parse_request(wire.render_request(texts, model=model, truncate=truncate))
    assert parsed == wire.EmbeddingsRequest(model, texts, None, "base64", None, truncate)


def test_a_request_holds_nothing_that_other_servers_do_not_know() -> None:
    assert json.loads(wire.render_request(["a"], model=None, truncate=False)).keys() == {"input", "encoding_format"}


VECTORS = st_numpy.arrays(
    np.float32,
    st.tuples(st.integers(1, 5), st.integers(1, 6)),
    elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
)


@settings(deadline=None)
@given(VECTORS, st.sampled_from(["float", "base64"]), st.data())
def test_a_response_survives_the_round_trip(vectors: Vectors, encoding: EncodingFormat, data: st.DataObject) -> None:
    tokens = tuple(data.draw(st.lists(st.integers(1, 999), min_size=len(vectors), max_size=len(vectors))))
    given_result = Embeddings(vectors, tokens, sum(tokens), (0,), "m", "0123456789abcdef")
    parsed = wire.parse_response(wire.render_response(given_result, encoding), expected=len(vectors))
    np.testing.assert_array_equal(parsed.vectors, vectors)
    assert parsed.vectors.dtype == np.float32
    assert parsed.tokens == tokens
    assert (parsed.total_tokens, parsed.truncated) == (sum(tokens), (0,))
    assert (parsed.model, parsed.fingerprint) == ("m", "0123456789abcdef")


@pytest.mark.parametrize("encoding", ["float", "base64"])
@pytest.mark.parametrize("shape", [(0, 3), (3, 1), (3, 40_000), (5_000, 31)])
def test_a_response_of_any_size_is_one_object(shape: tuple[int, int], encoding: EncodingFormat) -> None:
    vectors = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    reply = json.loads(wire.render_response(Embeddings(vectors, None, 0, (), "m", None), encoding))
    assert [item["index"] for item in reply["data"]] == list(range(len(vectors)))
    assert reply["model"] == "m"
    encoded = json.loads(wire.render_list(wire.encode_vectors(vectors, encoding), shape[1]))
    assert encoded == [item["embedding"] for item in reply["data"]]
    assert encoding == "base64" or encoded == vectors.tolist()


def test_a_response_of_columns_cut_from_wider_vectors_survives_the_round_trip() -> None:
    wide = np.arange(12, dtype=np.float32).reshape(2, 6)
    result = Embeddings(wide[:, :2], None, 0, (), "m", None)
    parsed = wire.parse_response(wire.render_response(result, "base64"), expected=2)
    np.testing.assert_array_equal(parsed.vectors, [[0, 1], [6, 7]])


def test_a_response_is_openais_object() -> None:
    result = Embeddings(np.array([[1, -2]], dtype=np.float32), (3,), 3, (), "m", "f")
    assert json.loads(wire.render_response(result, "float")) == {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": [1.0, -2.0]}],
        "model": "m",
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
        "ovembed": {"fingerprint": "f", "tokens": [3], "truncated": []},
    }


def test_base64_is_little_endian_float32() -> None:
    result = Embeddings(np.array([[1, -2]], dtype=np.float32), (3,), 3, (), "m", "f")
    encoded = json.loads(wire.render_response(result, "base64"))["data"][0]["embedding"]
    assert base64.b64decode(encoded) == bytes.fromhex("0000803f000000c0")


def test_vectors_are_put_into_the_order_of_their_index() -> None:
    data = [{"index": index, "embedding": [float(index), 1.0]} for index in (2, 0, 1)]
    parsed = wire.parse_response(json.dumps({"data": data}).encode(), expected=3)
    assert parsed.vectors[:, 0].tolist() == [0, 1, 2]


def test_a_reply_without_our_extension_leaves_open_what_it_does_not_tell() -> None:
    parsed = wire.parse_response(reply([1.0], model="m", usage={"prompt_tokens": 5}), expected=1)
    assert (parsed.model, parsed.total_tokens) == ("m", 5)
    assert (parsed.tokens, parsed.truncated, parsed.fingerprint) == (None, (), None)
    assert wire.parse_response(reply([1.0], usage=None), expected=1).total_tokens == 0


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"<html>", "not an OpenAI embeddings object"),
        (b'{"data": [{"index": 0, "embed', "not an OpenAI embeddings object"),
        (b"[]", "not an OpenAI embeddings object"),
        (b"{}", "not an OpenAI embeddings object"),
        (b'{"data": null}', "not an OpenAI embeddings object"),
        (b'{"data": [{"embedding": [1.0]}]}', "'index'"),
        (b'{"data": [{"index": 0}]}', "'embedding'"),
        (reply("not base64!"), "not an OpenAI embeddings object"),
        (reply("AACA!Pw=="), "not an OpenAI embeddings object"),
        (reply("AAAA"), "not an OpenAI embeddings object"),
        (reply(["a", "b"]), "not an OpenAI embeddings object"),
        (reply([1.0], usage=[1]), "not an OpenAI embeddings object"),
        (reply(), "0 vectors for 1 texts"),
        (reply([1.0], [2.0]), "2 vectors for 1 texts"),
        (b'{"data": [{"index": 1, "embedding": [1.0]}]}', "does not number its vectors from 0 to 0"),
        (reply([]), "empty or not finite"),
        (reply(None), "empty or not finite"),
        (reply([1.0, None]), "empty or not finite"),
        (reply([1e39]), "empty or not finite"),
        (reply(base64.b64encode(np.float32("nan").tobytes()).decode()), "empty or not finite"),
    ],
)
def test_a_reply_that_cannot_be_used_says_why(content: bytes, problem: str) -> None:
    with pytest.raises(EndpointError, match=problem) as caught:
        wire.parse_response(content, expected=1)
    assert "\n" not in str(caught.value)


def test_vectors_of_different_lengths_are_refused() -> None:
    with pytest.raises(EndpointError, match="same shape"):
        wire.parse_response(reply([1.0, 2.0], [1.0]), expected=2)


def test_an_index_that_comes_twice_is_refused() -> None:
    content = b'{"data": [{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [2.0]}]}'
    with pytest.raises(EndpointError, match="does not number its vectors from 0 to 1"):
        wire.parse_response(content, expected=2)


def test_our_error_object_survives_the_round_trip() -> None:
    content = wire.render_error("Too long.", kind="invalid_request_error", param="input[3]", code="context_length")
    assert wire.parse_error(content) == ErrorReply("Too long.", "input[3]", "context_length")
    assert json.loads(content)["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"error": {"message": "No such model.", "type": "x", "param": null, "code": null}}', "No such model."),
        (b'{"error": "Mediapipe graph is not found"}', "Mediapipe graph is not found"),
        (b'{"error": "too long", "error_type": "Validation"}', "too long"),
        (b'{"detail": "Not Found"}', "Not Found"),
        (b'{"detail": [{"loc": ["body"], "msg": "missing"}]}', '[{"loc":["body"],"msg":"missing"}]'),
        (b'{"object": "error", "message": "no", "code": 400}', "no"),
        (b'"down"', "down"),
        (b"upstream\n  timed out\n", "upstream timed out"),
        (b'{"error": {"message": "two\\nlines"}}', "two lines"),
        (b"\xff\xfe gone", "\ufffd\ufffd gone"),
        (b"", ""),
    ],
)
def test_error_messages_of_every_dialect(content: bytes, message: str) -> None:
    assert wire.parse_error(content) == ErrorReply(message)


def test_a_long_error_page_is_shortened() -> None:
    assert len(wire.parse_error(b"x" * 10_000).message) == 500


def test_param_and_code_of_other_types_are_left_out() -> None:
    content = b'{"error": {"message": "no", "param": ["input"], "code": 400}}'
    assert wire.parse_error(content) == ErrorReply("no")
