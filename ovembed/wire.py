"""OpenAI's embeddings JSON and the values it stands for, in both directions.

Format: https://platform.openai.com/docs/api-reference/embeddings. Extensions, which other clients and servers
ignore: the request's `truncate` (cut over-long inputs instead of refusing them), its `prompt_name` and `input_type`
(put a prompt of the model before the texts) and the reply's `ovembed` object (fingerprint, tokens of each input,
positions of those that were cut).
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import orjson

from ovembed.errors import EndpointError, RequestError
from ovembed.protocols import Embeddings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ovembed.protocols import Tokens, Vectors

EncodingFormat: TypeAlias = Literal["float", "base64"]
InputType: TypeAlias = Literal["query", "document", "passage", "search_query", "search_document"]

NUMBERS_OF_A_PIECE = 32_768
"""Of vectors that are rendered at one go: it takes a millisecond."""

INPUT_TYPES: tuple[InputType, ...] = get_args(InputType)


class Inputs(NamedTuple):
    """What is to be embedded: either `texts` or `token_lists` is set, never both, never empty."""

    texts: list[str] | None = None
    token_lists: list[Tokens] | None = None


@dataclass(frozen=True, slots=True)
class EmbeddingsRequest:
    """A parsed request body. Its `texts` and `token_lists` are those of `Inputs`.

    `prompt_name` is a prompt of the model, `input_type` what kind of text it is to choose one for; at most one of
    the two is set.
    """

    model: str | None
    texts: list[str] | None
    token_lists: list[Tokens] | None
    encoding_format: EncodingFormat = "float"
    dimensions: int | None = None
    truncate: bool = False
    prompt_name: str | None = None
    input_type: InputType | None = None


def parse_request(body: bytes) -> EmbeddingsRequest:
    """Raises RequestError that names the field at fault. Unknown fields, and `user`, are ignored."""
    fields = parse_object(body)
    return build_request(fields, parse_inputs(fields, "input"))


def build_request(fields: dict[str, Any], inputs: Inputs) -> EmbeddingsRequest:
    """The request for these inputs with the options of a parsed body. Raises RequestError as `parse_request` does."""
    prompt_name, input_type = _parse_prompt(fields)
    return EmbeddingsRequest(
        model=_parse_string(fields, "model"),
        texts=inputs.texts,
        token_lists=inputs.token_lists,
        encoding_format=_parse_encoding_format(fields),
        dimensions=_parse_dimensions(fields),
        truncate=_parse_truncate(fields),
        prompt_name=prompt_name,
        input_type=input_type,
    )


def render_request(inputs: Sequence[str] | Sequence[Tokens], *, model: str | None, truncate: bool) -> bytes:
    """A request for base64 vectors; `model` and `truncate` are left out unless set."""
    fields: dict[str, Any] = {"input": list(inputs), "encoding_format": "base64"}
    if model is not None:
        fields["model"] = model
    if truncate:
        fields["truncate"] = True
    return orjson.dumps(fields)


def render_response(result: Embeddings, encoding_format: EncodingFormat) -> bytes:
    """The reply to a request, in the order of its inputs."""
    rows = enumerate(encode_vectors(result.vectors, encoding_format))
    data = render_list(
        [{"object": "embedding", "index": index, "embedding": row} for index, row in rows], result.vectors.shape[1]
    )
    rest = {
        "model": result.model,
        "usage": {"prompt_tokens": result.total_tokens, "total_tokens": result.total_tokens},
        "ovembed": {
            "fingerprint": result.fingerprint,
            "tokens": result.tokens,
            "truncated": result.truncated,
        },
    }
    return b"".join([b'{"object":"list","data":', data, b",", orjson.dumps(rest)[1:]])


def render_list(items: Sequence[Any], numbers_each: int) -> bytes:
    """A JSON list of items that hold so many numbers each, as orjson writes them with OPT_SERIALIZE_NUMPY.

    orjson lets no other thread run meanwhile, so a large one is written in pieces.
    """
    size = max(1, NUMBERS_OF_A_PIECE // max(1, numbers_each))
    pieces = (
        orjson.dumps(items[start : start + size], option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]
        for start in range(0, len(items), size)
    )
    return b"".join([b"[", b",".join(pieces), b"]"])


def encode_vectors(vectors: Vectors, encoding_format: EncodingFormat) -> Sequence[Any]:
    """Each row as orjson writes it with OPT_SERIALIZE_NUMPY; base64 is little-endian float32."""
    rows = np.ascontiguousarray(vectors, dtype="<f4")
    if encoding_format == "base64":
        return [base64.b64encode(row.tobytes()).decode("ascii") for row in rows]
    return list(rows)


def parse_response(body: bytes, *, expected: int) -> Embeddings:
    """The reply of any OpenAI-compatible server, rows put into the order of `index`.

    Raises EndpointError when it is not such a reply, or not `expected` vectors of one length and finite numbers.
    """
    try:
        fields = orjson.loads(body)
        data = sorted(fields["data"], key=lambda item: item["index"])
        indexes = [item["index"] for item in data]
        rows = [_decode_vector(item["embedding"]) for item in data]
        usage = fields.get("usage") or {}
        extension = fields.get("ovembed") or {}
        tokens = extension.get("tokens")
        result = Embeddings(
            vectors=np.stack(rows) if rows else np.empty((0, 0), dtype=np.float32),
            tokens=None if tokens is None else tuple(tokens),
            total_tokens=int(usage.get("prompt_tokens") or 0),
            truncated=tuple(extension.get("truncated") or ()),
            model=fields.get("model") or "",
            fingerprint=extension.get("fingerprint"),
        )
    except (AttributeError, KeyError, TypeError, ValueError, binascii.Error) as error:
        raise EndpointError(f"The reply is not an OpenAI embeddings object ({error!r}).") from error
    check_vectors(result.vectors, expected)
    if indexes != list(range(expected)):
        raise EndpointError(f"The reply does not number its vectors from 0 to {expected - 1}.")
    return result


def check_vectors(vectors: Vectors, expected: int) -> None:
    """Raises EndpointError for another number of vectors than asked for, or one that is empty or not finite."""
    if len(vectors) != expected:
        raise EndpointError(f"The reply holds {len(vectors)} vectors for {expected} texts.")
    if (expected and not vectors.size) or not np.isfinite(vectors).all():
        raise EndpointError("The reply holds a vector that is empty or not finite.")


def render_error(message: str, *, kind: str, param: str | None = None, code: str | None = None) -> bytes:
    """OpenAI's error object."""
    return orjson.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}})


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """What an error body of any dialect says; fields it does not have are None."""

    message: str
    param: str | None = None
    code: str | None = None


def parse_error(body: bytes) -> ErrorReply:
    """Reads OpenAI's error object, OVMS's and TEI's `{"error": text}`, FastAPI's `detail`, or plain text."""
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ErrorReply(_one_line(body.decode("utf-8", errors="replace")))
    error = fields.get("error", fields.get("detail", fields)) if isinstance(fields, dict) else fields
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        return ErrorReply(_one_line(error["message"]), _string(error.get("param")), _string(error.get("code")))
    return ErrorReply(_one_line(error if isinstance(error, str) else orjson.dumps(error).decode()))


def _one_line(text: str) -> str:
    """The beginning of what may be a whole HTML page."""
    return " ".join(text.split())[:500]


def _string(value: object) -> str | None:
    return value if isinstance(value, str) else None


def parse_object(body: bytes) -> dict[str, Any]:
    """The fields of a JSON object. Raises RequestError for anything else."""
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestError(_problem_of_json(body, error)) from error
    if not isinstance(fields, dict):
        raise RequestError("The body must be a JSON object.")
    return fields


def _problem_of_json(body: bytes, error: orjson.JSONDecodeError) -> str:
    if not body:
        return "The body is empty. Send a JSON object."
    try:
        body.decode()
    except UnicodeDecodeError as fault:
        return f"The body is not valid UTF-8 (byte {fault.start})."
    return f"The body is not valid JSON: {error}."


def parse_inputs(fields: dict[str, Any], name: str) -> Inputs:
    """The four shapes of the field of that name: a string, strings, token ids, lists of token ids."""
    if name not in fields:
        raise RequestError(f"'{name}' is missing.", param=name)
    value = fields[name]
    if isinstance(value, str):
        return Inputs(texts=[value])
    if not isinstance(value, list):
        raise RequestError(
            f"'{name}' must be a string, a list of strings, or token ids as one list or a list of lists.",
            param=name,
        )
    if not value:
        raise RequestError(f"'{name}' is empty.", param=name)
    if all(isinstance(item, str) for item in value):
        return Inputs(texts=value)
    if (ids := _ids(value)) is not None:
        return Inputs(token_lists=[ids])
    if (token_lists := _id_lists(value)) is not None:
        return Inputs(token_lists=token_lists)
    raise RequestError(
        f"'{name}' must hold strings only, token ids only, or lists of token ids only; {_misfit(value)}.", param=name
    )


def _parse_string(fields: dict[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise RequestError(f"'{name}' must be a string.", param=name)
    return value or None


def _parse_prompt(fields: dict[str, Any]) -> tuple[str | None, InputType | None]:
    prompt_name, wanted = _parse_string(fields, "prompt_name"), _parse_string(fields, "input_type")
    input_type = next((known for known in INPUT_TYPES if known == wanted), None)
    if wanted is not None and input_type is None:
        raise RequestError(f"'input_type' must be one of {', '.join(INPUT_TYPES)}.", param="input_type")
    if prompt_name is not None and input_type is not None:
        raise RequestError("Give 'prompt_name' or 'input_type', not both.", param="prompt_name")
    return prompt_name, input_type


def _ids(value: list[Any]) -> Tokens | None:
    """None where something in it is no whole number."""
    if all(type(item) is int for item in value):
        return value
    ids = []
    for item in value:
        number = whole_number(item)
        if number is None:
            return None
        ids.append(number)
    return ids


def _id_lists(value: list[Any]) -> list[Tokens] | None:
    """None where something in it is no list of whole numbers."""
    lists = []
    for item in value:
        ids = _ids(item) if isinstance(item, list) else None
        if ids is None:
            return None
        lists.append(ids)
    return lists


def _misfit(value: list[Any]) -> str:
    """The first item of a list that keeps it from being one of the shapes."""
    wanted = _shape(value[0])
    shapes = ((position, _shape(item)) for position, item in enumerate(value))
    position, shape = next(found for found in shapes if found[1] != wanted or wanted not in _SHAPES)
    return f"item {position} is {shape}"


_SHAPES = ("a string", "a token id", "a list of token ids")


def _shape(item: object) -> str:
    text, number, numbers = _SHAPES
    match item:
        case str():
            return text
        case list():
            return numbers if _ids(item) is not None else "a list of other things"
        case dict():
            return "an object"
        case _:
            return number if whole_number(item) is not None else orjson.dumps(item).decode()


def whole_number(value: object) -> int | None:
    """JSON does not tell 4 from 4.0, and some clients write the one for the other; None for anything else."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if type(value) is int else None


def _parse_encoding_format(fields: dict[str, Any]) -> EncodingFormat:
    value = fields.get("encoding_format", "float")
    if value == "float" or value is None:
        return "float"
    if value == "base64":
        return "base64"
    raise RequestError("'encoding_format' must be 'float' or 'base64'.", param="encoding_format")


def _parse_dimensions(fields: dict[str, Any]) -> int | None:
    value = fields.get("dimensions")
    if value is None:
        return None
    number = whole_number(value)
    if number is None or number < 1:
        raise RequestError("'dimensions' must be a positive integer.", param="dimensions")
    return number


def _parse_truncate(fields: dict[str, Any]) -> bool:
    value = fields.get("truncate", False)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise RequestError("'truncate' must be true or false.", param="truncate")
    return value


def _decode_vector(embedding: Any) -> Vectors:
    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding, validate=True), dtype="<f4").astype(np.float32)
    with np.errstate(over="ignore"):
        return np.asarray(embedding, dtype=np.float32).reshape(-1)
