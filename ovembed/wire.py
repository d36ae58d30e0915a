"""OpenAI's embeddings JSON and the values it stands for, in both directions.

Format: https://platform.openai.com/docs/api-reference/embeddings. Two extensions, which other clients and
servers ignore: the request's `truncate` (cut over-long inputs instead of refusing them) and the reply's
`ovembed` object (fingerprint, tokens of each input, positions of those that were cut).
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import orjson

from ovembed.errors import EndpointError, RequestError
from ovembed.protocols import Embeddings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ovembed.protocols import Tokens, Vectors

EncodingFormat: TypeAlias = Literal["float", "base64"]


@dataclass(frozen=True, slots=True)
class EmbeddingsRequest:
    """A parsed request body: either `texts` or `token_lists` is set, never both, never empty."""

    model: str | None
    texts: list[str] | None
    token_lists: list[Tokens] | None
    encoding_format: EncodingFormat = "float"
    dimensions: int | None = None
    truncate: bool = False


def parse_request(body: bytes) -> EmbeddingsRequest:
    """Raises RequestError that names the field at fault. Unknown fields, and `user`, are ignored."""
    fields = _parse_object(body)
    texts, token_lists = _parse_input(fields)
    return EmbeddingsRequest(
        model=_parse_model(fields),
        texts=texts,
        token_lists=token_lists,
        encoding_format=_parse_encoding_format(fields),
        dimensions=_parse_dimensions(fields),
        truncate=_parse_truncate(fields),
    )


def render_request(texts: Sequence[str], *, model: str | None, truncate: bool) -> bytes:
    """A request for base64 vectors; `model` and `truncate` are left out unless set."""
    fields: dict[str, Any] = {"input": list(texts), "encoding_format": "base64"}
    if model is not None:
        fields["model"] = model
    if truncate:
        fields["truncate"] = True
    return orjson.dumps(fields)


def render_response(result: Embeddings, encoding_format: EncodingFormat) -> bytes:
    """The reply to a request, in the order of its inputs; base64 is little-endian float32."""
    rows = np.ascontiguousarray(result.vectors, dtype="<f4")
    encoded: Sequence[Any] = (
        [base64.b64encode(row.tobytes()).decode("ascii") for row in rows] if encoding_format == "base64" else list(rows)
    )
    return orjson.dumps(
        {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": embedding}
                for index, embedding in enumerate(encoded)
            ],
            "model": result.model,
            "usage": {"prompt_tokens": result.total_tokens, "total_tokens": result.total_tokens},
            "ovembed": {
                "fingerprint": result.fingerprint,
                "tokens": result.tokens,
                "truncated": result.truncated,
            },
        },
        option=orjson.OPT_SERIALIZE_NUMPY,
    )


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
    if len(indexes) != expected:
        raise EndpointError(f"The reply holds {len(indexes)} vectors for {expected} texts.")
    if indexes != list(range(expected)):
        raise EndpointError(f"The reply does not number its vectors from 0 to {expected - 1}.")
    if (rows and not result.vectors.size) or not np.isfinite(result.vectors).all():
        raise EndpointError("The reply holds a vector that is empty or not finite.")
    return result


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


def _parse_object(body: bytes) -> dict[str, Any]:
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestError(f"The body is not valid JSON: {error}.") from error
    if not isinstance(fields, dict):
        raise RequestError("The body must be a JSON object.")
    return fields


def _parse_model(fields: dict[str, Any]) -> str | None:
    model = fields.get("model")
    if model is not None and not isinstance(model, str):
        raise RequestError("'model' must be a string.", param="model")
    return model or None


def _parse_input(fields: dict[str, Any]) -> tuple[list[str] | None, list[Tokens] | None]:
    """The four shapes of `input`, as (texts, None) or (None, token lists)."""
    if "input" not in fields:
        raise RequestError("'input' is missing.", param="input")
    value = fields["input"]
    if isinstance(value, str):
        return [value], None
    if not isinstance(value, list):
        raise RequestError(
            "'input' must be a string, a list of strings, or token ids as one list or a list of lists.",
            param="input",
        )
    if not value:
        raise RequestError("'input' is empty.", param="input")
    if all(isinstance(item, str) for item in value):
        return value, None
    if _are_ids(value):
        return None, [value]
    if all(isinstance(item, list) and _are_ids(item) for item in value):
        return None, value
    raise RequestError("'input' must not mix strings, token ids and other things.", param="input")


def _are_ids(value: list[Any]) -> bool:
    return all(type(item) is int for item in value)


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
    if type(value) is not int or value < 1:
        raise RequestError("'dimensions' must be a positive integer.", param="dimensions")
    return value


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
