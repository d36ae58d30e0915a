"""JSON Schema of the requests and replies of TEI's dialect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ovembed.server.dialects.openai_schemas import FINGERPRINT, common_options, exactly, inputs, model_choice, vector
from ovembed.server.dialects.openai_schemas import request as embeddings_request
from ovembed.spec import POOLINGS

if TYPE_CHECKING:
    from ovembed.server.openapi import Offer, Schema


def request(offer: Offer) -> Schema:
    options = {
        "inputs": {**inputs(offer), "description": "A text, texts, token ids of a text, or lists of them."},
        "normalize": {
            "type": ["boolean", "null"],
            "default": True,
            "description": "Give vectors of unit length, also where the model does not.",
        },
        "truncation_direction": {"enum": ["right", "Right", None], "description": "The end is what is cut."},
        **common_options(offer),
        "model": model_choice(offer) | {"description": "One of the models that are served; or ?model= in the URL."},
    }
    return {"title": "EmbedRequest", **embeddings_request(offer, options, "inputs"), "examples": [{"inputs": "a text"}]}


def model_parameter(offer: Offer) -> Schema:
    told = "One of the models that are served, if there are several; what the body says comes first."
    examples = {"examples": list(offer.models)} if len(offer.models) > 1 else {}
    return {"type": "string", "description": told, **examples}


def reply(offer: Offer) -> Schema:
    return {"type": "array", "items": vector(offer), "description": "A vector for each input, in their order."}


def info(offer: Offer) -> Schema:
    nothing: Schema = {"type": "null"}
    return {
        "title": "Info",
        **exactly(
            model_id={"enum": list(offer.models)},
            model_sha={"type": ["string", "null"]},
            model_dtype={"type": "string"},
            model_type=exactly(embedding=exactly(pooling={"enum": list(POOLINGS)})),
            max_concurrent_requests=nothing,
            max_input_length={"type": "integer", "minimum": 1},
            max_batch_tokens=nothing,
            max_batch_requests=nothing,
            max_client_batch_size=nothing,
            auto_truncate={"const": False},
            tokenization_workers=nothing,
            version={"type": "string"},
            sha=nothing,
            docker_label=nothing,
            fingerprint=FINGERPRINT,
            dimensions={"type": "integer", "minimum": 1},
        ),
    }


def health(_offer: Offer) -> Schema:
    names = {"type": "array", "items": {"type": "string"}}
    return {"title": "Health", **exactly(status={"const": "ok"}, models=names)}


def error(_offer: Offer) -> Schema:
    text: Schema = {"type": "string"}
    return {"title": "TeiError", **exactly(error=text, error_type=text)}
