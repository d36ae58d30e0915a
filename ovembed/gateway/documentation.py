"""/openapi.json, /docs and /redoc, which FastAPI gives the original; both pages are the same, and need no other host.

Format: https://spec.openapis.org/oas/v3.1.1.html
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from ovembed.gateway.schema import EmbeddingRequest
from ovembed.gateway.statistics import SERVICE
from ovembed.http.application import Answered
from ovembed.http.page import page
from ovembed.http.replies import WARNING_HEADER, json_response

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

_SCHEMAS = "#/components/schemas/"
_TAG = "Embeddings"


class EmbeddingResponseData(BaseModel):
    index: int
    object: str = "embedding"
    embedding: list[float] | str


class UsageInfo(BaseModel):
    prompt_tokens: int = 0
    total_tokens: int = 0
    completion_tokens: int | None = 0


class EmbeddingResponse(BaseModel):
    object: str = "list"
    model: str | None = None
    data: list[EmbeddingResponseData]
    usage: UsageInfo | None = None


class ValidationError(BaseModel):
    loc: list[str | int]
    msg: str
    type: str


class HTTPValidationError(BaseModel):
    detail: list[ValidationError]


class ErrorObject(BaseModel):
    message: str
    type: str
    param: str | None = None
    code: str | None = None


class Error(BaseModel):
    error: ErrorObject


_ERRORS = {
    400: "The input cannot be embedded.",
    413: "The body is too large.",
    429: "Too many requests at once; Retry-After tells when to try again.",
    502: "The backend failed.",
    503: "The backend is not ready or cannot be reached, or the gateway is shutting down.",
    504: "The backend did not answer in time.",
}

_WARNING = {
    WARNING_HEADER: {"description": "What the caller may not expect of the vectors.", "schema": {"type": "string"}}
}

_TOLD = {
    "/v1/health_check": "Whether the gateway runs; the backend is not asked.",
    "/v1/statistics": "Latencies of the last requests, in seconds.",
    "/health": "Whether the gateway runs.",
    "/ready": "Whether requests will be answered: the backend has the model.",
    "/metrics": "Metrics for Prometheus.",
}


def document() -> dict[str, Any]:
    _, schemas = models_json_schema(
        [(model, "serialization") for model in (EmbeddingRequest, EmbeddingResponse, HTTPValidationError, Error)],
        ref_template=_SCHEMAS + "{model}",
    )
    return {
        "openapi": "3.1.0",
        "info": {"title": SERVICE, "description": "OPEA Microservice Infrastructure", "version": "0.1.0"},
        "tags": [{"name": _TAG}],
        "paths": {
            "/v1/embeddings": {"post": _embeddings()},
            **{path: {"get": _get(path, about)} for path, about in _TOLD.items()},
        },
        "components": {"schemas": schemas["$defs"]},
    }


def routes() -> list[Answered]:
    return [
        Answered("/openapi.json", _json),
        Answered("/docs", _page),
        Answered("/redoc", _page),
    ]


def _embeddings() -> dict[str, Any]:
    answers = {
        200: ("The vectors, in the order of the inputs.", "EmbeddingResponse"),
        422: ("The body is not as described.", "HTTPValidationError"),
        **{status: (about, "Error") for status, about in _ERRORS.items()},
    }
    example = """curl -H 'Content-Type: application/json' -d '{"input": ["a text", "another"]}' http://HOST:6000/v1/embeddings"""
    return {
        **_operation("embeddings", "Vectors of texts, or of token ids.", example),
        "requestBody": {"required": True, "content": _content("EmbeddingRequest")},
        "responses": {
            str(status): {
                "description": about,
                "headers": _WARNING if status == HTTPStatus.OK else {},
                "content": _content(schema),
            }
            for status, (about, schema) in answers.items()
        },
    }


def _get(path: str, about: str) -> dict[str, Any]:
    answers = {200: "Yes.", 503: "Not now."} if path == "/ready" else {200: "Always."}
    return {
        **_operation(path.rpartition("/")[2], about, f"curl http://HOST:6000{path}"),
        "responses": {str(status): {"description": answer, "headers": {}} for status, answer in answers.items()},
    }


def _operation(name: str, summary: str, example: str) -> dict[str, Any]:
    return {
        "tags": [_TAG],
        "operationId": name,
        "summary": summary,
        "parameters": [],
        "x-codeSamples": [{"lang": "Shell", "source": example}],
    }


def _content(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": _SCHEMAS + schema}}}


async def _json(_request: Request) -> Response:
    return json_response(document())


async def _page(_request: Request) -> Response:
    return page(document())
