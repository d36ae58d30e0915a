"""The request body of OPEA's embedding microservice, and what is wrong with one, in FastAPI's words.

Schema: EmbeddingRequest of comps/cores/proto/api_protocol.py. The original is a FastAPI application; how FastAPI reads
a body and lists its faults: fastapi/routing.py. FastAPI itself reads a body that lacks a content type differently from
version to version, so the way of the original's is written down here.
"""

from __future__ import annotations

import json
from email.message import Message
from typing import Any, Literal

import orjson
from pydantic import BaseModel, Field, ValidationError

from ovembed import wire
from ovembed.errors import InputError, RequestError
from ovembed.wire import EmbeddingsRequest


class EmbeddingRequest(BaseModel):
    """Unknown fields are ignored. `model` is ignored as well: the service has one, whatever clients call it."""

    input: list[int] | list[list[int]] | str | list[str]
    model: str | None = None
    encoding_format: str | None = Field(default="float", pattern="^(float|base64)$")
    dimensions: int | None = None
    user: str | None = None
    request_type: Literal["embedding"] = "embedding"

    def wanted(self) -> EmbeddingsRequest:
        """As the backends take it: every line break of a text is a space, as in the original.

        Raises RequestError for what the schema lets pass and no backend can do.
        """
        if self.dimensions is not None and self.dimensions < 1:
            raise RequestError("'dimensions' must be a positive integer.", param="dimensions")
        inputs = wire.parse_inputs({"input": self.input}, "input")
        return EmbeddingsRequest(
            model=None,
            texts=inputs.texts and [text.replace("\n", " ") for text in inputs.texts],
            token_lists=inputs.token_lists,
            encoding_format="base64" if self.encoding_format == "base64" else "float",
            dimensions=self.dimensions,
        )


class InvalidBody(InputError):
    """`detail` lists the faults of a body, as FastAPI does."""

    def __init__(self, detail: list[dict[str, Any]]) -> None:
        super().__init__(f"The body is not what the schema asks for ({len(detail)} faults).")
        self.detail = detail

    def body(self) -> bytes:
        """FastAPI's reply. What cannot be said in UTF-8, or in JSON, is replaced."""
        return json.dumps({"detail": self.detail}, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


class UnreadableBody(InputError):
    """FastAPI cannot even say what is wrong with it: bytes that are no text, or nesting too deep to follow."""

    def __init__(self) -> None:
        super().__init__("There was an error parsing the body")


def parse(body: bytes, content_type: str | None) -> EmbeddingRequest:
    """Raises InvalidBody and UnreadableBody."""
    if not _claims_json(content_type):
        return _validate(body.decode(errors="replace") or None)
    try:
        return EmbeddingRequest.model_validate(orjson.loads(body), from_attributes=True)
    except (orjson.JSONDecodeError, ValidationError):
        # The exact words depend on the standard parser: it reads NaN, large numbers and single surrogates.
        return _validate(_loads(body) if body else None)


def _claims_json(content_type: str | None) -> bool:
    if not content_type:
        return True
    message = Message()
    message["content-type"] = content_type
    subtype = message.get_content_subtype()
    return message.get_content_maintype() == "application" and (subtype == "json" or subtype.endswith("+json"))


def _loads(body: bytes) -> Any:
    try:
        return json.loads(body)
    except json.JSONDecodeError as error:
        fault = {"type": "json_invalid", "loc": ["body", error.pos], "msg": "JSON decode error", "input": {}}
        raise InvalidBody([fault | {"ctx": {"error": error.msg}}]) from error
    except (ValueError, RecursionError) as error:
        raise UnreadableBody from error


def _validate(value: Any) -> EmbeddingRequest:
    if value is None:
        raise InvalidBody([{"type": "missing", "loc": ["body"], "msg": "Field required", "input": None}])
    try:
        return EmbeddingRequest.model_validate(value, from_attributes=True)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        raise InvalidBody([{**fault, "loc": ("body", *fault["loc"])} for fault in faults]) from error
