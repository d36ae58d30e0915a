"""The gateway refuses what a FastAPI application with the original's schema refuses, in the same words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

import fastapi
import httpx
import pytest
from fastapi.middleware.cors import CORSMiddleware
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_fastapi_instrumentator import Instrumentator
from pydantic import BaseModel, Field  # noqa: TID253  FastAPI reads the module's names

from ovembed.gateway import schema
from ovembed.gateway.local import LocalBackend
from ovembed.gateway.metrics import Metrics
from ovembed.gateway.run import guarded_app
from ovembed.gateway.settings import GatewaySettings
from ovembed.http.guards import Traffic
from ovembed.serving.condition import GoldenText
from ovembed.serving.loading import LoadedModel
from tests.fakes import FakeEngine
from tests.serving import InProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

JSON = {"content-type": "application/json"}


class OriginalRequest(BaseModel):
    """EmbeddingRequest of comps/cores/proto/api_protocol.py."""

    input: list[int] | list[list[int]] | str | list[str]
    model: str | None = None
    encoding_format: str | None = Field("float", pattern="^(float|base64)$")
    dimensions: int | None = None
    user: str | None = None
    request_type: Literal["embedding"] = "embedding"


def original_app() -> fastapi.FastAPI:
    from prometheus_client import CollectorRegistry

    app = fastapi.FastAPI(strict_content_type=False)
    app.add_middleware(
        CORSMiddleware, allow_origins=["*"], allow_credentials=True, allow_methods=["*"], allow_headers=["*"]
    )
    Instrumentator(registry=CollectorRegistry()).instrument(app).expose(app)

    @app.post("/v1/embeddings")
    async def embeddings(input: OriginalRequest) -> dict[str, Any]:  # noqa: A002  as the original
        return input.model_dump()

    @app.get("/health")
    async def health() -> None:
        pass

    return app


@pytest.fixture(scope="module")
def original() -> Iterator[httpx.Client]:
    with httpx.Client(transport=InProcess(original_app()), base_url="http://original.example") as client:
        yield client


@pytest.fixture(scope="module")
def gateway() -> Iterator[httpx.Client]:
    engine = FakeEngine()
    golden = GoldenText([1, 97, 2], engine.row([1, 97, 2]))
    backend = LocalBackend(LoadedModel("fake", engine, golden, created=0))
    app = guarded_app(backend, Metrics(), GatewaySettings(), Traffic())
    with httpx.Client(transport=InProcess(app), base_url="http://gateway.example") as client:
        yield client
    backend._batcher.close()


BODIES = {
    "no input": b"{}",
    "no input, but others": b'{"model": "m", "user": "u"}',
    "malformed": b'{"input": "a"',
    "malformed within": b'{"input": "a", }',
    "not JSON": b"hello",
    "a line break in a string": b'{"input": "a\nb"}',
    "empty": b"",
    "a list": b'["a"]',
    "a string": b'"a"',
    "a number": b"5",
    "unknown format": b'{"input": "a", "encoding_format": "int8"}',
    "format of another type": b'{"input": "a", "encoding_format": 5}',
    "number": b'{"input": 5}',
    "null input": b'{"input": null}',
    "object": b'{"input": {}}',
    "true": b'{"input": true}',
    "mixed": b'{"input": ["a", 1]}',
    "nested strings": b'{"input": [["a"]]}',
    "list of null": b'{"input": ["a", null]}',
    "fractions": b'{"input": [1.5]}',
    "not a number": b'{"input": "a", "dimensions": "x"}',
    "fraction": b'{"input": "a", "dimensions": 1.5}',
    "other type": b'{"input": "a", "request_type": "chat"}',
    "model of another type": b'{"input": "a", "model": 5}',
    "user of another type": b'{"input": "a", "user": ["b"]}',
    "everything": b'{"input": {}, "model": 1, "encoding_format": "x", "dimensions": [], "user": 0, "request_type": 1}',
    "latin-1": '{"input": "é"}'.encode("latin-1"),
    "utf-16": '{"input": 5}'.encode("utf-16"),
    "not ASCII": '{"input": "a", "request_type": "größer"}'.encode(),
}


def assert_same(left: httpx.Response, right: httpx.Response) -> None:
    assert left.status_code == right.status_code
    assert left.headers["content-type"] == right.headers["content-type"]
    assert left.content == right.content


@pytest.mark.parametrize("name", BODIES)
def test_a_refusal_is_fastapi_s(original: httpx.Client, gateway: httpx.Client, name: str) -> None:
    ours = gateway.post("/v1/embeddings", content=BODIES[name], headers=JSON)
    assert ours.status_code in (400, 422)
    assert_same(ours, original.post("/v1/embeddings", content=BODIES[name], headers=JSON))


def test_null_is_refused_as_by_the_fastapi_of_the_original(gateway: httpx.Client) -> None:
    """0.124; newer ones say that it is no object."""
    reply = gateway.post("/v1/embeddings", content=b"null", headers=JSON)
    missing = b'{"detail":[{"type":"missing","loc":["body"],"msg":"Field required","input":null}]}'
    assert (reply.status_code, reply.content) == (422, missing)


@pytest.mark.parametrize("body", [b"\xff\xfe{", b'{"input": ["a", NaN]}', b'{"input": 5, "user": "\\ud800"}'])
def test_what_fastapi_cannot_say_is_no_fault_of_the_server(gateway: httpx.Client, body: bytes) -> None:
    assert gateway.post("/v1/embeddings", content=body, headers=JSON).status_code in (400, 422)


@pytest.mark.parametrize(
    "content_type",
    ["application/x-www-form-urlencoded", "text/plain", "application/jsonl", "application/ld+json", "json", "a/b; c"],
)
@pytest.mark.parametrize("body", [b'{"input": 5}', b"input=a", b""])
def test_content_types_count_as_with_fastapi(
    original: httpx.Client, gateway: httpx.Client, content_type: str, body: bytes
) -> None:
    ask = {"content": body, "headers": {"content-type": content_type}}
    assert_same(gateway.post("/v1/embeddings", **ask), original.post("/v1/embeddings", **ask))  # type: ignore[arg-type]


def test_json_needs_no_content_type(original: httpx.Client, gateway: httpx.Client) -> None:
    ours = gateway.post("/v1/embeddings", content=b'{"input": 5}')
    assert_same(ours, original.post("/v1/embeddings", content=b'{"input": 5}'))
    assert gateway.post("/v1/embeddings", content=b'{"input": "a"}').status_code == 200


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=2), max_leaves=5
)
LIKELY = (
    st.sampled_from(["float", "base64", "embedding", "12", "1.0", "", 1.0, "float\n"])
    | st.lists(st.integers() | st.sampled_from(["1", "a", 1.0, True]), max_size=3)
    | VALUES
)
FIELDS = ["input", "model", "encoding_format", "dimensions", "user", "request_type", "unknown"]


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(FIELDS), LIKELY))
def test_any_body_is_taken_or_refused_as_by_fastapi(fields: dict[str, Any]) -> None:
    body = json.dumps(fields).encode()
    try:
        ours = schema.parse(body, "application/json").model_dump()
    except schema.InvalidBody as error:
        ours = json.loads(error.body())
    assert ours == _by_fastapi(fields)


def _by_fastapi(fields: dict[str, Any]) -> Any:
    """What FastAPI does with a parsed body, without a request around it."""
    from fastapi.encoders import jsonable_encoder
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(OriginalRequest).validate_python(fields, from_attributes=True).model_dump()
    except ValidationError as error:
        faults = [{**fault, "loc": ("body", *fault["loc"])} for fault in error.errors(include_url=False)]
        return {"detail": json.loads(json.dumps(jsonable_encoder(faults)))}


@pytest.mark.parametrize(("method", "path"), [("PUT", "/v1/embeddings"), ("POST", "/health"), ("GET", "/nowhere")])
def test_no_such_route_is_fastapi_s_answer(
    original: httpx.Client, gateway: httpx.Client, method: str, path: str
) -> None:
    assert_same(gateway.request(method, path), original.request(method, path))


def test_web_pages_may_ask_as_with_the_original(original: httpx.Client, gateway: httpx.Client) -> None:
    origin = {"origin": "https://page.example"}
    asking = origin | {"access-control-request-method": "POST", "access-control-request-headers": "content-type,x-a"}
    for ask in (
        lambda client: client.options("/v1/embeddings", headers=asking),
        lambda client: client.get("/health", headers=origin),
        lambda client: client.get("/nowhere", headers=origin),
    ):
        ours, theirs = ask(gateway), ask(original)
        assert ours.status_code == theirs.status_code
        assert {name: value for name, value in ours.headers.items() if name.startswith("access-control")} == {
            name: value for name, value in theirs.headers.items() if name.startswith("access-control")
        }


def test_the_original_s_metrics_are_all_there(original: httpx.Client, gateway: httpx.Client) -> None:
    for client in (original, gateway):
        client.post("/v1/embeddings", json={"input": "a"})
        client.post("/v1/embeddings", json={"input": 5})
        client.get("/nowhere")
    ours, theirs = _series(gateway), _series(original)
    assert theirs
    assert theirs <= ours


def _series(client: httpx.Client) -> set[str]:
    """Of /v1/embeddings and of no route, without values."""
    lines = client.get("/metrics").text.splitlines()
    series = {line.rpartition(" ")[0] for line in lines if line.startswith("http_") and "_created" not in line}
    known = {one for one in series if "handler" not in one or '"none"' in one or '"/v1/embeddings"' in one}
    return {one for one in known if "OPTIONS" not in one}
