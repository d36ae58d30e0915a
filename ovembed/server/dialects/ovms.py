"""OpenVINO Model Server's REST dialect, as version 2026.3 speaks it: /v3, /v2 (KServe) and /v1/config.

Statuses and texts: src/http_rest_api_handler.cpp, src/http_server.cpp, src/status.cpp, src/embeddings and
src/tokenize of https://github.com/openvinotoolkit/model_server. An error is `{"error": text}`.

More is taken than OVMS takes: the only model need not be named, JSON is read whatever the content type says, and
`dimensions`, `truncate` and prompts count, as under /v1. A reply names its model. What OVMS has no words for is told
in ours. A wrong key is OVMS's text, but 401 where OVMS says 500: clients retry a 500, and none of them can know it for
a matter of keys. A model that is not ready is 503 where OVMS says 404, for probes that tell the two apart.
"""

from __future__ import annotations

import functools
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import orjson
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ovembed import __version__, admission, wire
from ovembed.errors import (
    BodyTimeout,
    ConfigInvalid,
    ConfigMissing,
    InputError,
    ModelNotFound,
    ModelRetired,
    ModelUnready,
    OvembedError,
    Overloaded,
    RepositoryError,
    RequestError,
    RequestTimeout,
    RequestTooLarge,
    ShuttingDown,
    TextTooLong,
    Unauthorized,
)
from ovembed.http.replies import HEADERS, WARNING_HEADER, json_response, nearest, vectors_response, warn
from ovembed.server.dialects import ovms_schemas as schemas
from ovembed.server.exchange import BODY_FAULTS, EMBEDDING_FAULTS, describe
from ovembed.server.openapi import Described, Reply, about

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from starlette.requests import Request

    from ovembed.protocols import Embeddings, Tokens
    from ovembed.server.catalog import Status
    from ovembed.server.exchange import Exchange
    from ovembed.serving.models import ServedModel
    from ovembed.wire import EmbeddingsRequest, Inputs

Parsed = TypeVar("Parsed")


class _Fault(NamedTuple):
    status: int
    text: str


_INVALID_URL = _Fault(400, "Invalid request URL")
_ESCAPING_PATH = _Fault(400, "The provided base path is invalid or doesn't exists")
_UNSUPPORTED_METHOD = _Fault(406, "Unsupported method")

_UNKNOWN_GRAPH = _Fault(404, "Mediapipe graph definition with requested name is not found")
_RETIRED = _Fault(404, "Mediapipe is retired")
_NOT_LOADED = _Fault(500, "Mediapipe is not loaded yet")
_NO_NAME = _Fault(500, "Failed to deduce model name from all possible ways")
_NOT_JSON = _Fault(412, "The file is not valid json - Cannot parse JSON body")
_NOT_AN_OBJECT = _Fault(412, "The file is not valid json - JSON body must be an object")
_TOO_DEEP = _Fault(412, "The file is not valid json - JSON body exceeds maximum nesting depth")
_MODEL_MISSING = _Fault(412, "The file is not valid json - model field is missing in JSON body")
_MODEL_NOT_A_STRING = _Fault(412, "The file is not valid json - model field is not a string")

_UNKNOWN_LISTED = _Fault(500, "Model not found")  # GET /v3/models/...
_UNKNOWN_MODEL = _Fault(404, "Model with requested name is not found")  # GET /v2/models/...
_UNKNOWN_VERSION = _Fault(404, "Model with requested version is not found")
_NOT_READY = "Server is not ready"  # GET /v2/health/ready; what follows after a dash is ours
_MODEL_NOT_READY = "Model with requested version is not loaded yet"

_NO_KEY = _Fault(401, "Unauthorized request due to invalid or missing api-key")

# Why there is no graph for a request.
_NO_GRAPH: Mapping[type[Exception], _Fault] = {
    ModelNotFound: _UNKNOWN_GRAPH,
    ModelRetired: _RETIRED,
    ModelUnready: _NOT_LOADED,
    RequestError: _MODEL_MISSING,
}

# How a request may fail to reach a graph.
_GRAPH_FAULTS: tuple[_Fault | type[Exception], ...] = (
    _NO_KEY,
    ShuttingDown,
    *BODY_FAULTS,
    _NOT_JSON,
    _NOT_AN_OBJECT,
    _TOO_DEEP,
    _MODEL_NOT_A_STRING,
    *_NO_GRAPH.values(),
)

# Texts that the graph itself refuses with. Clients match the end; what stands before it is the same for all of them.
_REJECTED = (
    "Mediapipe execution failed. MP status - INVALID_ARGUMENT: CalculatorGraph::Run() failed: \n"
    'Calculator::Process() for node "EmbeddingsExecutor" failed: '
)

# What no OVMS text exists for.
_STATUSES: Mapping[type[Exception], int] = {
    OvembedError: 500,
    InputError: 400,
    RequestTooLarge: 413,
    BodyTimeout: 408,
    RequestTimeout: 504,
    Overloaded: 429,
    ModelUnready: 503,
    ShuttingDown: 503,
}

_RELOAD_FAILED = "Reloading config file failed. Check server logs for more info."
_RELOAD_STATUSES: Mapping[type[Exception], int] = {
    OvembedError: 500,
    RepositoryError: 400,
    ConfigInvalid: 412,
    ConfigMissing: 500,
}

_RELOAD_FAULTS = sorted(set(_RELOAD_STATUSES.values()))

_CONFIG_PATHS = ("/v1/config", "/v1/config/reload")


class _Refusal(HTTPException):
    """One of OVMS's own answers."""

    def __init__(self, fault: _Fault) -> None:
        super().__init__(fault.status, fault.text)


def _rejected(message: str) -> _Refusal:
    return _Refusal(_Fault(400, _REJECTED + message))


def owns(path: str) -> bool:
    return path in ("/v2", "/v3", *_CONFIG_PATHS) or path.startswith(("/v2/", "/v3/"))


def routes(exchange: Exchange) -> list[Described]:
    handlers = _Handlers(exchange)
    of_version = {"name": schemas.model_name, "version": schemas.version}
    models = functools.partial(
        _route,
        endpoint=handlers.models,
        summary="List the models",
        replies=[Reply(200, "All that are served.", schemas.model_list)],
    )
    ready = functools.partial(
        _route,
        endpoint=handlers.model_ready,
        summary="Whether the model works",
        replies=[
            Reply(200, "It does.", media_type=None),
            *_refusals(_UNKNOWN_MODEL, _UNKNOWN_VERSION, ModelUnready, ShuttingDown),
        ],
    )
    metadata = functools.partial(
        _route,
        endpoint=handlers.metadata,
        summary="The model's metadata",
        replies=[
            Reply(200, "The metadata.", schemas.metadata),
            *_refusals(_UNKNOWN_MODEL, _UNKNOWN_VERSION, ModelUnready),
        ],
    )
    return [
        models("/v3/models"),
        models("/v3/v1/models"),
        _route(
            "/v3/models/{name:path}",
            handlers.model,
            summary="One of the models",
            parameters={"name": schemas.model_name},
            replies=[Reply(200, "The model.", schemas.model), *_refusals(_INVALID_URL, _UNKNOWN_LISTED)],
        ),
        _route(
            "/v3/{rest:path}tokenize",
            handlers.tokenize,
            shown="/v3/tokenize",
            method="POST",
            summary="Token ids of texts",
            about="Every path below /v3 that ends in `tokenize` does the same.",
            body=schemas.tokenize_request,
            replies=[
                Reply(200, "The ids.", schemas.tokenize_reply),
                *_refusals(*_GRAPH_FAULTS),
            ],
        ),
        _route(
            "/v3/{rest:path}",
            handlers.embeddings,
            shown="/v3/embeddings",
            method="POST",
            summary="Embed texts or token ids",
            about="Every other path below /v3 does the same.",
            body=schemas.embeddings_request,
            replies=[
                Reply(200, "The vectors.", schemas.embeddings_reply, headers=(WARNING_HEADER,)),
                *_refusals(*_GRAPH_FAULTS, *EMBEDDING_FAULTS),
            ],
        ),
        _route(
            "/v2",
            handlers.server,
            summary="What server this is",
            replies=[Reply(200, "Its name and version.", schemas.server)],
        ),
        _route(
            "/v2/health/live",
            handlers.alive,
            summary="Whether the server runs",
            replies=[Reply(200, "It does.", media_type=None)],
        ),
        _route(
            "/v2/health/ready",
            handlers.ready,
            summary="Whether every model works",
            replies=[Reply(200, "They do.", media_type=None), *_refusals(ModelUnready, ShuttingDown)],
        ),
        ready("/v2/models/{name:path}/versions/{version}/ready", parameters=of_version),
        ready("/v2/models/{name:path}/ready", parameters={"name": schemas.model_name}),
        metadata("/v2/models/{name:path}/versions/{version}", parameters=of_version),
        metadata("/v2/models/{name:path}", parameters={"name": schemas.model_name}),
        _route(
            "/v1/config",
            handlers.statuses,
            summary="The state of every model",
            replies=[Reply(200, "By the models' names.", schemas.statuses)],
        ),
        _route(
            "/v1/config/reload",
            handlers.reload,
            method="POST",
            summary="Look for changes of the configuration",
            replies=[
                Reply(200, "No reload was needed.", schemas.statuses),
                Reply(201, "Models were loaded, replaced or removed.", schemas.statuses),
                *_refusals(_NO_KEY, ShuttingDown, *(_Fault(status, _RELOAD_FAILED) for status in _RELOAD_FAULTS)),
            ],
        ),
    ]


_route = functools.partial(Described, tag="OVMS")


def _refusals(*faults: _Fault | type[Exception]) -> Iterator[Reply]:
    for fault in faults:
        told = f"`{fault.text}`" if isinstance(fault, _Fault) else about(fault)
        status = fault.status if isinstance(fault, _Fault) else nearest(_STATUSES, fault)
        yield Reply(status, told, schemas.error)


def render(request: Request, error: Exception) -> Response:
    match error:
        case _Refusal():
            return _error(error.status_code, error.detail)
        case HTTPException():  # of the router: no such route, or not with this method
            return _error(*_no_route(request))
        case Unauthorized():
            return _error(*_NO_KEY)
        case OvembedError():
            status = nearest(_STATUSES, type(error))
            text = _REJECTED + str(error) if status == 400 else str(error)
            return _error(status, text)
        case _:
            return _error(500, "Internal error. This is a bug; see the server's log.")


def _error(status: int, text: str) -> Response:
    return json_response({"error": text}, status, HEADERS.get(status))


def _no_route(request: Request) -> _Fault:
    path = request.scope["path"]
    if request.method not in ("GET", "HEAD", "POST") or path in _CONFIG_PATHS:
        return _UNSUPPORTED_METHOD
    return _ESCAPING_PATH if ".." in path.split("/") else _INVALID_URL


class _Handlers:
    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def embeddings(self, request: Request) -> Response:
        model, wanted = await self._addressed(request, _parse_embeddings)
        result = await self._embed(request, model, wanted)
        render = functools.partial(wire.render_response, result, wanted.encoding_format)
        return await vectors_response(result.vectors, render, warn(self._exchange.caveats(wanted, result, model)))

    async def tokenize(self, request: Request) -> Response:
        model, (texts, shaping) = await self._addressed(request, _parse_tokenize)
        request.state.model = model.name
        return json_response({"tokens": await _tokenize(model, texts, shaping)})

    async def models(self, _request: Request) -> Response:
        data = [describe(model, owner="OVMS") for model in self._exchange.catalog.models.values()]
        return json_response({"data": data, "object": "list"})

    async def model(self, request: Request) -> Response:
        name = request.path_params["name"]
        if not name:
            raise _Refusal(_INVALID_URL)
        if name not in self._exchange.catalog.models:
            raise _Refusal(_UNKNOWN_LISTED)
        return json_response(describe(self._exchange.catalog.models[name], owner="OVMS"))

    async def server(self, _request: Request) -> Response:
        return json_response({"name": "ovembed", "version": __version__})

    async def alive(self, _request: Request) -> Response:
        return Response(media_type="application/json")

    async def ready(self, _request: Request) -> Response:
        with _unready_as(_NOT_READY):
            await self._exchange.readiness.check()
        return Response(media_type="application/json")

    async def model_ready(self, request: Request) -> Response:
        with _unready_as(_MODEL_NOT_READY):
            await self._exchange.readiness.check(self._version(request).name)
        return Response(media_type="application/json")

    async def metadata(self, request: Request) -> Response:
        """What OVMS says of a graph: its streams have neither type nor shape."""
        stream = {"datatype": "INVALID", "shape": []}
        return json_response(
            {
                "name": self._version(request).name,
                "versions": ["1"],
                "platform": "OpenVINO",
                "inputs": [{"name": "input"} | stream],
                "outputs": [{"name": "output"} | stream],
            }
        )

    async def statuses(self, _request: Request) -> Response:
        """Of all models that are, were, or should be served."""
        return self._statuses(200)

    async def reload(self, _request: Request) -> Response:
        """201 when models were loaded, replaced or removed; 200 when there was nothing to do."""
        outcome = await self._exchange.reload()
        if outcome.problems:
            first, *_ = outcome.problems
            raise _Refusal(_Fault(nearest(_RELOAD_STATUSES, type(first)), f"{_RELOAD_FAILED} - {first}"))
        return self._statuses(201 if outcome.changes else 200)

    def _statuses(self, status: int) -> Response:
        found = self._exchange.catalog.statuses
        return json_response({name: {"model_version_status": [_describe(found[name])]} for name in found}, status)

    def _version(self, request: Request) -> ServedModel:
        """Raises ModelUnready for a model that is being loaded."""
        try:
            model = self._exchange.catalog.named(request.path_params["name"])
        except ModelNotFound as error:
            raise _Refusal(_UNKNOWN_MODEL) from error
        if request.path_params.get("version", "1") != "1":
            raise _Refusal(_UNKNOWN_VERSION)
        return model

    async def _addressed(
        self, request: Request, parse: Callable[[dict[str, Any]], Parsed]
    ) -> tuple[ServedModel, Parsed]:
        """The model that a body names, whatever the path says, and what it asks of it."""
        if ".." in request.scope["path"].split("/"):
            raise _Refusal(_ESCAPING_PATH)
        try:
            size, fields = await self._exchange.read(request, _load)
        except orjson.JSONDecodeError as error:
            raise self._no_json(request, error) from error
        model = self._graph(fields)
        return model, await self._exchange.parse(size, parse, fields)

    def _no_json(self, request: Request, error: orjson.JSONDecodeError) -> _Refusal:
        """A body that does not claim to be JSON is meant for the model that the path names, which takes no other."""
        if "application/json" in request.headers.get("content-type", ""):
            return _Refusal(_TOO_DEEP if "limit" in error.msg else _NOT_JSON)
        name = request.scope["path"].removeprefix("/v3/")
        if not name:
            return _Refusal(_NO_NAME)
        if name not in self._exchange.catalog.models:
            return _Refusal(_UNKNOWN_GRAPH)
        return _rejected("Non-json request received in embeddings calculator")

    def _graph(self, fields: dict[str, Any]) -> ServedModel:
        name = fields.get("model")
        if name is not None and not isinstance(name, str):
            raise _Refusal(_MODEL_NOT_A_STRING)
        try:
            return self._exchange.catalog.choose(name or None)
        except (ModelNotFound, ModelUnready, RequestError) as error:
            raise _Refusal(nearest(_NO_GRAPH, type(error))) from error

    async def _embed(self, request: Request, model: ServedModel, wanted: EmbeddingsRequest) -> Embeddings:
        try:
            return await self._exchange.embed(request, model, wanted)
        except TextTooLong as error:
            longest = max(await model.lengths(wanted))
            limit = model.engine.spec.max_tokens
            raise _rejected(f"Input length {longest} longer than allowed {limit}") from error


def _load(body: bytes) -> tuple[int, dict[str, Any]]:
    """The size of the body, and its fields."""
    fields = orjson.loads(body)
    if not isinstance(fields, dict):
        raise _Refusal(_NOT_AN_OBJECT)
    return len(body), fields


def _describe(status: Status) -> dict[str, object]:
    error = {"error_code": "OK", "error_message": "OK"}
    if status.problem:
        error = {"error_code": "FAILED_PRECONDITION", "error_message": status.problem}
    return {"version": "1", "state": status.state, "status": error}


@contextmanager
def _unready_as(text: str) -> Iterator[None]:
    try:
        yield
    except (ModelUnready, ShuttingDown) as error:
        raise _Refusal(_Fault(503, f"{text} - {error}")) from error


def _parse_embeddings(fields: dict[str, Any]) -> EmbeddingsRequest:
    inputs = _parse_inputs(
        fields, "input", otherwise="input must be either array of strings or array of array of integers"
    )
    encoding_format = fields.get("encoding_format")
    if encoding_format is not None and not isinstance(encoding_format, str):
        raise _rejected("encoding_format should be string")
    if encoding_format not in (None, "float", "base64"):
        raise _rejected("encoding_format should either base64 or float")
    return wire.build_request(fields, inputs)


def _parse_inputs(fields: dict[str, Any], name: str, *, otherwise: str) -> Inputs:
    """wire's inputs, refused in OVMS's words; `otherwise` is what it says to lists of lists of strings."""
    try:
        inputs = wire.parse_inputs(fields, name)
    except RequestError as error:
        raise _rejected(_problem_of_inputs(fields, name) or otherwise) from error
    if inputs.token_lists is not None and [] in inputs.token_lists:
        raise _rejected(f"inner arrays in {name} should not be empty")
    return inputs


def _problem_of_inputs(fields: dict[str, Any], name: str) -> str | None:
    """OVMS's words for what is wrong; None for an array of arrays of strings."""
    if name not in fields:
        return f"{name} field is required"
    if not isinstance(fields[name], list):
        return f"{name} should be string, array of strings or array of integers"
    if not fields[name]:
        return f"{name} array should not be empty"
    shapes = [_shape(item) for item in fields[name]]
    bad = next((shape for shape in shapes if shape != shapes[0] or shape in _BAD_SHAPES), None)
    return None if bad is None else _BAD_SHAPES.get(bad, "{} must be homogeneous").format(name)


_BAD_SHAPES = {
    "empty": "inner arrays in {} should not be empty",
    "other": "every element in {} array should be either string or int",
    "mixed": "{} must be homogeneous",
}


def _shape(item: object) -> str:
    """Of an element of an array: string, int, array of string, array of int, empty, mixed, other."""
    if not isinstance(item, list):
        return {str: "string", int: "int"}.get(type(item), "other")
    if not item:
        return "empty"
    first = _shape(item[0]) if not isinstance(item[0], list) else "other"
    if first == "other":
        return "other"
    return f"array of {first}" if {type(inner) for inner in item} == {type(item[0])} else "mixed"


def _parse_tokenize(fields: dict[str, Any]) -> tuple[list[str], _Shaping]:
    only_texts = "Input should be string or array of strings"
    texts = _parse_inputs(fields, "text", otherwise=only_texts).texts
    if texts is None:
        raise _rejected(only_texts)
    return texts, _parse_shaping(fields)


async def _tokenize(model: ServedModel, texts: list[str], shaping: _Shaping) -> list[Tokens] | Tokens:
    """The tokens of one text, or a list of them for several."""
    token_lists = await model.tokenize(texts)
    if shaping != _Shaping():
        opening, closing = admission.special_tokens(model.engine)
        token_lists = [shaping.apply(tokens, opening, closing) for tokens in token_lists]
    return token_lists if len(token_lists) > 1 else token_lists[0]


class _Shaping(NamedTuple):
    """What /v3/tokenize may be asked to do with the tokens of each text."""

    max_length: int | None = None
    add_special_tokens: bool = True

    def apply(self, tokens: Tokens, opening: Tokens, closing: Tokens) -> Tokens:
        """Cut to `max_length`, from the end of the text itself, with or without the special tokens around it."""
        content = tokens[len(opening) : len(tokens) - len(closing)]
        if not self.add_special_tokens:
            return content[: self.max_length]
        if self.max_length is None:
            return tokens
        room = max(0, self.max_length - len(opening) - len(closing))
        return [*opening, *content[:room], *closing][: self.max_length]


def _parse_shaping(fields: dict[str, Any]) -> _Shaping:
    max_length = wire.whole_number(fields.get("max_length"))
    if "max_length" in fields and (max_length is None or max_length < 0):
        raise _rejected("max_length should be unsigned integer")
    if max_length == 0:
        raise _rejected("max_length should be greater than 0")
    for name in ("pad_to_max_length", "add_special_tokens"):
        if not isinstance(fields.get(name, False), bool):
            raise _rejected(f"{name} should be boolean")
    if fields.get("pad_to_max_length"):
        raise _rejected("pad_to_max_length is not available here; pad the tokens of the reply")
    side = fields.get("padding_side", "right")
    if not isinstance(side, str):
        raise _rejected("padding_side should be string, either left or right")
    if side not in ("left", "right"):
        raise _rejected("padding_side should be either left or right")
    return _Shaping(max_length, fields.get("add_special_tokens", True))
