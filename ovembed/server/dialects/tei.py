"""The dialect of Hugging Face's Text Embeddings Inference: /embed, /info and /health.

Format: router/src/http of https://github.com/huggingface/text-embeddings-inference. It is what
`huggingface_hub.InferenceClient.feature_extraction` speaks, and Haystack and LangChain through it. As in TEI, POST and
GET of / are /embed and /health: clients are given the server's address alone.

TEI serves one model. Here a request may choose among several by `model`, in its body or as `?model=` of the URL. The
list that answers has room for nothing else, so headers tell what was cut.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

from starlette.exceptions import HTTPException

from ovembed import __version__, vectors, wire
from ovembed.errors import (
    BodyTimeout,
    EngineError,
    InputError,
    ModelNotFound,
    ModelUnready,
    OvembedError,
    Overloaded,
    RequestError,
    RequestTimeout,
    ShuttingDown,
    TextError,
    Unauthorized,
)
from ovembed.http.replies import HEADERS, WARNING_HEADER, json_response, nearest, no_route, vectors_response, warn
from ovembed.server.dialects import tei_schemas as schemas
from ovembed.server.exchange import BODY_FAULTS, EMBEDDING_FAULTS, POST_FAULTS
from ovembed.server.openapi import Described, Reply, about

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from ovembed.protocols import Embeddings
    from ovembed.server.exchange import Exchange
    from ovembed.serving.models import ServedModel
    from ovembed.wire import EmbeddingsRequest


class _Problem(NamedTuple):
    status: int
    kind: str


class _EmptyInput(RequestError):
    """No input, or an empty one, for which TEI has a status of its own."""

    def __init__(self) -> None:
        super().__init__("`inputs` cannot be empty", param="inputs")


_PROBLEMS: Mapping[type[Exception], _Problem] = {
    OvembedError: _Problem(500, "Backend"),
    EngineError: _Problem(424, "Backend"),
    Unauthorized: _Problem(401, "Validation"),
    BodyTimeout: _Problem(408, "Validation"),
    RequestTimeout: _Problem(504, "Overloaded"),
    Overloaded: _Problem(429, "Overloaded"),
    ModelUnready: _Problem(503, "Unhealthy"),
    ShuttingDown: _Problem(503, "Overloaded"),
    ModelNotFound: _Problem(404, "Validation"),
    InputError: _Problem(413, "Validation"),
    TextError: _Problem(413, "Validation"),
    RequestError: _Problem(422, "Validation"),
    _EmptyInput: _Problem(400, "Empty"),
}

_TOKENS_HEADER = "x-compute-tokens"
_FINGERPRINT_HEADER = "X-Ovembed-Fingerprint"

_PATHS = ("/", "/embed", "/info", "/health")


def owns(path: str) -> bool:
    return path in _PATHS


def routes(exchange: Exchange) -> list[Described]:
    handlers = _Handlers(exchange)
    embed = functools.partial(
        _route,
        endpoint=handlers.embed,
        method="POST",
        summary="Embed texts or token ids",
        body=schemas.request,
        parameters={"model": schemas.model_parameter},
        replies=[
            Reply(200, "The vectors.", schemas.reply, headers=(_TOKENS_HEADER, _FINGERPRINT_HEADER, WARNING_HEADER)),
            *_refusals(*POST_FAULTS, _EmptyInput, *BODY_FAULTS, ModelNotFound, ModelUnready, *EMBEDDING_FAULTS),
        ],
    )
    health = functools.partial(
        _route,
        endpoint=handlers.health,
        summary="Whether every model works",
        replies=[Reply(200, "They do.", schemas.health), *_refusals(ShuttingDown, ModelUnready)],
    )
    return [
        embed("/"),
        embed("/embed"),
        _route(
            "/info",
            handlers.info,
            summary="What the model is",
            parameters={"model": schemas.model_parameter},
            replies=[Reply(200, "The model.", schemas.info), *_refusals(RequestError, ModelNotFound, ModelUnready)],
        ),
        health("/"),
        health("/health"),
    ]


_route = functools.partial(Described, tag="TEI")


def _refusals(*kinds: type[Exception]) -> Iterator[Reply]:
    for kind in kinds:
        problem = nearest(_PROBLEMS, kind)
        yield Reply(problem.status, f"`{problem.kind}`: {about(kind)}", schemas.error)


def render(request: Request, error: Exception) -> Response:
    match error:
        case OvembedError():
            problem = nearest(_PROBLEMS, type(error))
            return _error(problem, str(error), HEADERS.get(problem.status))
        case HTTPException():  # not with this method
            return _error(_Problem(error.status_code, "Validation"), no_route(request, error), error.headers)
        case _:
            return _error(_Problem(500, "Backend"), "Internal error. This is a bug; see the server's log.")


def _error(problem: _Problem, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return json_response({"error": message, "error_type": problem.kind}, problem.status, headers)


class _Handlers:
    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def embed(self, request: Request) -> Response:
        wanted, normalize = await self._exchange.read(request, _parse)
        model = self._exchange.catalog.choose(wanted.model or request.query_params.get("model"))
        result = await self._exchange.embed(request, model, wanted)
        as_is = model.engine.spec.normalize or not normalize
        rows = result.vectors if as_is else vectors.normalize(result.vectors)
        render = functools.partial(wire.render_list, list(rows), rows.shape[1])
        return await vectors_response(
            rows, render, _headers(result, self._exchange.caveats(wanted, result, model), model, normalize=normalize)
        )

    async def info(self, request: Request) -> Response:
        """A limit that this server does not have is null."""
        model = self._exchange.catalog.choose(request.query_params.get("model"))
        spec = model.engine.spec
        return json_response(
            {
                "model_id": model.name,
                "model_sha": spec.revision,
                "model_dtype": spec.precision,
                "model_type": {"embedding": {"pooling": spec.pooling}},
                "max_concurrent_requests": None,
                "max_input_length": spec.max_tokens,
                "max_batch_tokens": None,
                "max_batch_requests": None,
                "max_client_batch_size": None,
                "auto_truncate": False,
                "tokenization_workers": None,
                "version": __version__,
                "sha": None,
                "docker_label": None,
                "fingerprint": spec.fingerprint,
                "dimensions": spec.dimensions,
            }
        )

    async def health(self, _request: Request) -> Response:
        await self._exchange.readiness.check()
        return json_response({"status": "ok", "models": list(self._exchange.catalog.models)})


def _parse(body: bytes) -> tuple[EmbeddingsRequest, bool]:
    """What is to be embedded, and whether the vectors are to be of unit length."""
    fields = wire.parse_object(body)
    inputs = fields.get("inputs")
    if inputs in ("", []) or (isinstance(inputs, list) and ("" in inputs or [] in inputs)):
        raise _EmptyInput
    direction = fields.get("truncation_direction")
    if direction not in (None, "right", "Right"):
        raise RequestError("'truncation_direction' can only be 'right'.", param="truncation_direction")
    wanted = wire.build_request({**fields, "encoding_format": "float"}, wire.parse_inputs(fields, "inputs"))
    return wanted, _parse_bool(fields, "normalize", default=True)


def _parse_bool(fields: dict[str, Any], name: str, *, default: bool) -> bool:
    value = fields.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise RequestError(f"'{name}' must be true or false.", param=name)
    return value


def _headers(result: Embeddings, warnings: list[str], model: ServedModel, *, normalize: bool) -> dict[str, str]:
    spec = model.engine.spec
    if result.truncated:
        warnings.append(f"{len(result.truncated)} of {len(result.vectors)} inputs cut to {spec.max_tokens} tokens")
    if not normalize and spec.normalize:
        warnings.append("the model's vectors are of unit length also without normalize")
    headers = {_TOKENS_HEADER: str(result.total_tokens), _FINGERPRINT_HEADER: spec.fingerprint}
    return headers | warn(warnings)
