"""JSON Schema of the requests and replies of OVMS's dialect that are not OpenAI's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ovembed.server.catalog import State
from ovembed.server.dialects import openai_schemas
from ovembed.server.dialects.openai_schemas import embeddings_reply, embeddings_request, exactly, listing, model_name
from ovembed.serving.models import MOST_INPUTS

if TYPE_CHECKING:
    from ovembed.server.openapi import Offer, Schema

__all__ = ["embeddings_reply", "embeddings_request", "model_name"]

_TEXT: Schema = {"type": "string"}


def tokenize_request(offer: Offer) -> Schema:
    example = {"model": offer.models[0], "text": "a text"} if offer.models else {"text": "a text"}
    return {
        "title": "TokenizeRequest",
        "type": "object",
        "required": ["text"] if len(offer.models) == 1 else ["text", "model"],
        "properties": {
            "model": openai_schemas.model_choice(offer),
            "text": {"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "minItems": 1, "maxItems": MOST_INPUTS}]},
            "max_length": {"type": "integer", "minimum": 1, "description": "Cut to so many tokens."},
            "add_special_tokens": {"type": "boolean", "default": True},
            "pad_to_max_length": {"const": False, "description": "Padding is not available."},
            "padding_side": {"enum": ["left", "right"], "description": "Without padding, of no effect."},
        },
        "examples": [example],
    }


def tokenize_reply(offer: Offer) -> Schema:
    ids = {
        "type": "array",
        "items": {"type": "integer", "minimum": 0, "maximum": offer.vocabulary_size - 1},
    }
    lists = {"type": "array", "items": ids, "minItems": 2}
    tokens = {"anyOf": [ids, lists], "description": "Of the text; of several texts, a list of them."}
    return {"title": "Tokens", **exactly(tokens=tokens)}


def model(offer: Offer) -> Schema:
    return openai_schemas.model(offer, title="OvmsModel", owner="OVMS")


def model_list(offer: Offer) -> Schema:
    return listing(model(offer), title="OvmsModelList")


def version(_offer: Offer) -> Schema:
    return {"enum": ["1"]}


def server(_offer: Offer) -> Schema:
    return {"title": "ServerMetadata", **exactly(name={"const": "ovembed"}, version=_TEXT)}


def metadata(offer: Offer) -> Schema:
    """What OVMS says of a graph."""
    stream: Schema = {"datatype": {"const": "INVALID"}, "shape": {"type": "array", "maxItems": 0}}
    return {
        "title": "ModelMetadata",
        **exactly(
            name={"enum": list(offer.models)},
            versions={"const": ["1"]},
            platform={"const": "OpenVINO"},
            inputs={"type": "array", "items": exactly(name={"const": "input"}, **stream)},
            outputs={"type": "array", "items": exactly(name={"const": "output"}, **stream)},
        ),
    }


def statuses(_offer: Offer) -> Schema:
    """Models that are no longer served are among them."""
    status = exactly(error_code=_TEXT, error_message=_TEXT)
    version_status = exactly(version=_TEXT, state={"enum": list(State)}, status=status)
    versions = {"type": "array", "items": version_status}
    return {
        "title": "ModelStatuses",
        "type": "object",
        "additionalProperties": exactly(model_version_status=versions),
    }


def error(_offer: Offer) -> Schema:
    return {"title": "OvmsError", **exactly(error=_TEXT)}
