"""/openapi.json, /docs and /redoc, which FastAPI gives the original. The pages load their scripts as FastAPI's do.

Format: https://spec.openapis.org/oas/v3.1.1.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.responses import HTMLResponse
from starlette.routing import Route

from ovembed.gateway.schema import EmbeddingRequest
from ovembed.gateway.statistics import SERVICE
from ovembed.http.replies import json_response

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

_SCHEMAS = "#/components/schemas/"


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
    model: str
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


def document() -> dict[str, Any]:
    _, schemas = models_json_schema(
        [(model, "serialization") for model in (EmbeddingRequest, EmbeddingResponse, HTTPValidationError, Error)],
        ref_template=_SCHEMAS + "{model}",
    )
    return {
        "openapi": "3.1.0",
        "info": {"title": SERVICE, "description": "OPEA Microservice Infrastructure", "version": "0.1.0"},
        "paths": {
            "/v1/embeddings": {"post": _embeddings()},
            "/v1/health_check": _get("Whether the gateway runs; the backend is not asked"),
            "/v1/statistics": _get("Latencies of the last requests, in seconds"),
            "/health": _get("Whether the gateway runs"),
            "/ready": _get("Whether the backend has the model and requests will be answered", also={503: "Not ready."}),
            "/metrics": _get("Metrics for Prometheus"),
        },
        "components": {"schemas": schemas["$defs"]},
    }


def routes() -> list[Route]:
    return [
        Route("/openapi.json", _json, include_in_schema=False),
        Route("/docs", _swagger, include_in_schema=False),
        Route("/redoc", _redoc, include_in_schema=False),
    ]


def _embeddings() -> dict[str, Any]:
    return {
        "summary": "Vectors of texts, or of token ids",
        "operationId": "embedding_v1_embeddings_post",
        "requestBody": {"required": True, "content": _content("EmbeddingRequest")},
        "responses": {
            "200": {
                "description": "The vectors, in the order of the inputs.",
                "content": _content("EmbeddingResponse"),
            },
            "422": {"description": "The body is not as described.", "content": _content("HTTPValidationError")},
            **{str(status): {"description": about, "content": _content("Error")} for status, about in _ERRORS.items()},
        },
    }


def _get(summary: str, *, also: dict[int, str] | None = None) -> dict[str, Any]:
    responses = {200: "Yes." if also else "OK", **(also or {})}
    return {
        "get": {
            "summary": summary,
            "responses": {str(status): {"description": about} for status, about in responses.items()},
        }
    }


def _content(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": _SCHEMAS + schema}}}


async def _json(_request: Request) -> Response:
    return json_response(document())


async def _swagger(_request: Request) -> Response:
    return HTMLResponse(
        f"""<!DOCTYPE html>
<html>
<head>
<title>{SERVICE} - Swagger UI</title>
<link rel="stylesheet" href="https://cdn.jsdelivr.net/npm/swagger-ui-dist@5/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="https://cdn.jsdelivr.net/npm/swagger-ui-dist@5/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({{url: "openapi.json", dom_id: "#swagger-ui"}})</script>
</body>
</html>
"""
    )


async def _redoc(_request: Request) -> Response:
    return HTMLResponse(
        f"""<!DOCTYPE html>
<html>
<head><title>{SERVICE} - ReDoc</title></head>
<body>
<redoc spec-url="openapi.json"></redoc>
<script src="https://cdn.jsdelivr.net/npm/redoc@2/bundles/redoc.standalone.js"></script>
</body>
</html>
"""
    )
