"""JSON Schema of what ovembed.wire parses and renders, and of the other values of OpenAI's dialect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ovembed.serving.models import MOST_INPUTS
from ovembed.wire import INPUT_TYPES

if TYPE_CHECKING:
    from ovembed.server.openapi import Offer, Schema

_SET = {"type": "string", "minLength": 1}


def embeddings_request(offer: Offer) -> Schema:
    options = {
        "model": model_choice(offer),
        "input": {**inputs(offer), "description": "A text, texts, token ids of a text, or lists of them."},
        "encoding_format": {
            "enum": ["float", "base64", None],
            "default": "float",
            "description": "base64 is that of little-endian float32 numbers.",
        },
        **common_options(offer),
        "user": {"description": "Taken from OpenAI's clients, and ignored."},
    }
    example = {"model": offer.models[0], "input": "a text"} if offer.models else {"input": "a text"}
    required = ("input",) if len(offer.models) == 1 else ("input", "model")
    return {"title": "EmbeddingsRequest", **request(offer, options, *required), "examples": [example]}


def request(offer: Offer, properties: Schema, inputs_name: str, *required: str) -> Schema:
    """The object of these fields. Others are ignored; prompts exclude each other, and token ids."""
    unprompted = {"prompt_name": {"enum": ["", None]}, "input_type": {"not": {"enum": list(offer.typed_prompts)}}}
    return {
        "type": "object",
        "required": [inputs_name, *required],
        "properties": properties,
        "not": {"required": ["prompt_name", "input_type"], "properties": {"prompt_name": _SET, "input_type": _SET}},
        "if": {"properties": {inputs_name: {"type": "array", "items": {"type": ["integer", "array"]}}}},
        "then": {"properties": unprompted},
    }


def model_choice(offer: Offer) -> Schema:
    if len(offer.models) > 1:
        return {"enum": list(offer.models), "description": "One of the models that are served."}
    return {"enum": [*offer.models, "", None], "description": "The only model that is served need not be named."}


def inputs(offer: Offer) -> Schema:
    text = {"title": "Text", "type": "string", "minLength": 1}
    ids = {
        "title": "TokenIds",
        "type": "array",
        "items": {"type": "integer", "minimum": 0, "maximum": offer.vocabulary_size - 1},
        "minItems": 1,
        "description": "Of the model's own tokenizer. Special tokens around them are added where they lack.",
    }
    lists = ({"type": "array", "items": items, "minItems": 1, "maxItems": MOST_INPUTS} for items in (text, ids))
    return {"anyOf": [text, ids, *lists]}


def common_options(offer: Offer) -> Schema:
    """The fields with which every dialect takes more than its original does."""
    return {
        "dimensions": {
            "type": ["integer", "null"],
            "minimum": 1,
            "maximum": offer.dimensions,
            "description": "Cut the vectors to so many numbers and normalize them again.",
        },
        "truncate": {
            "type": ["boolean", "null"],
            "default": False,
            "description": "Cut a text that has more tokens than the model takes, instead of refusing it.",
        },
        "prompt_name": {
            "enum": [*offer.prompts, *([] if "" in offer.prompts else [""]), None],
            "description": "Put this prompt of the model before the texts. Not with token ids.",
        },
        "input_type": {
            "enum": [*INPUT_TYPES, "", None],
            "description": "Put the model's prompt for texts of this kind before them, if it has one. "
            "Not together with prompt_name; token ids only where the model has none.",
        },
    }


def embeddings_reply(offer: Offer) -> Schema:
    return {
        "title": "Embeddings",
        **exactly(
            object={"const": "list"},
            data={"type": "array", "items": _embedding(offer), "description": "In the order of the inputs."},
            model={"enum": list(offer.models)},
            usage=exactly(prompt_tokens=_COUNT, total_tokens=_COUNT),
            ovembed=exactly(
                fingerprint=FINGERPRINT,
                tokens={"type": "array", "items": _COUNT, "description": "Of each input, special tokens included."},
                truncated={"type": "array", "items": _COUNT, "description": "Positions of the inputs that were cut."},
            ),
        ),
    }


def _embedding(offer: Offer) -> Schema:
    encoded = {"type": "string", "contentEncoding": "base64", "description": "With encoding_format base64."}
    return exactly(object={"const": "embedding"}, index=_COUNT, embedding={"anyOf": [vector(offer), encoded]})


def vector(offer: Offer) -> Schema:
    return {
        "title": "Vector",
        "type": "array",
        "items": {"type": "number"},
        "minItems": 1,
        "maxItems": offer.dimensions,
        "description": "Of unit length, if the model's vectors are.",
    }


def model_name(offer: Offer) -> Schema:
    """Of a model in a path."""
    return {"enum": list(offer.models)}


def model(_offer: Offer, *, title: str = "Model", owner: str = "ovembed") -> Schema:
    return {
        "title": title,
        **exactly(
            id={"type": "string"},
            object={"const": "model"},
            created={"type": "integer", "description": "Unix time."},
            owned_by={"const": owner},
            fingerprint=FINGERPRINT,
            dimensions={"type": "integer", "minimum": 1},
            max_tokens={"type": "integer", "minimum": 1, "description": "Of a text, special tokens included."},
            prompts={"type": "object", "additionalProperties": {"type": "string"}, "description": "By their names."},
            default_prompt={"type": ["string", "null"], "description": "Its name."},
        ),
    }


def model_list(offer: Offer) -> Schema:
    return listing(model(offer), title="ModelList")


def listing(items: Schema, *, title: str) -> Schema:
    return {"title": title, **exactly(object={"const": "list"}, data={"type": "array", "items": items})}


def error(_offer: Offer) -> Schema:
    text_or_null = {"type": ["string", "null"]}
    return {
        "title": "OpenAIError",
        **exactly(
            error=exactly(
                message={"type": "string"},
                type={"type": "string"},
                param=text_or_null | {"description": "The field at fault."},
                code=text_or_null,
            )
        ),
    }


def exactly(**properties: Schema) -> Schema:
    """An object that has these fields, all of them."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


_COUNT: Schema = {"type": "integer", "minimum": 0}
FINGERPRINT: Schema = {
    "type": "string",
    "pattern": "^[0-9a-f]{16}$",
    "description": "Vectors may be compared only where it is equal.",
}
