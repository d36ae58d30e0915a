"""/openapi.json and /docs: they tell of every route, and what they tell is true."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from ovembed.errors import ModelUnready, ShuttingDown, TextError
from ovembed.server.exchange import EMBEDDING_FAULTS
from ovembed.server.openapi import Described
from ovembed.server.service import Service
from ovembed.server.settings import ServeSettings
from ovembed.serving.condition import GoldenText
from ovembed.serving.loading import LoadedModel
from tests.fakes import FakeEngine, make_spec
from tests.serving import PATIENCE_S, application
from tests.test_server_clients import on_a_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = "key-of-alice"
PROMPTS = {"query": "q: ", "document": "d: ", "empty": ""}
GOLDEN = [1, 97, 2]

# All checks, but for what OVMS and TEI themselves do otherwise: OVMS answers 412 to a body that is not as it should be,
# 406 to a method it does not know and 500 when asked for an unknown model, TEI 413 to an input that does not fit.
CONFIGURATION = """
[[operations]]
include-path = "/v3/models/{name}"
[operations.checks]
not_a_server_error.enabled = false
negative_data_rejection.expected-statuses = [500]

[[operations]]
include-path-regex = "^/(v2|v3|v1/config)"
[operations.checks]
unsupported_method.enabled = false
negative_data_rejection.expected-statuses = [400, 401, 404, 412]

[[operations]]
include-path-regex = "^/(embed)?$"
[operations.checks]
negative_data_rejection.expected-statuses = [400, 401, 404, 413, 422]
"""


@contextmanager
def served(models: dict[str, FakeEngine], **settings: Any) -> Iterator[str]:
    """The URL of a server of these models."""
    service = Service(ServeSettings(**settings))
    for name, engine in models.items():
        service.put(LoadedModel(name, engine, GoldenText(GOLDEN, engine.row(GOLDEN)), created=0))
    try:
        with on_a_port(service.app()) as url:
            yield url
    finally:
        service.close()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a server of one model that takes texts of any length; it needs a key."""
    key_file = tmp_path_factory.mktemp("keys") / "keys"
    key_file.write_text(KEY)
    engine = FakeEngine(make_spec(max_tokens=1_000_000, prompts=PROMPTS))
    with served({"org/fake": engine}, api_key_file=key_file) as url:
        yield url


@pytest.fixture(scope="module")
def document(url: str) -> dict[str, Any]:
    return document_of(url)


def document_of(url: str) -> dict[str, Any]:
    response = get(url, "/openapi.json")
    assert response.status_code == 200
    return response.json()  # type: ignore[no-any-return]


def get(url: str, path: str, **headers: str) -> httpx.Response:
    encoded = {name: value.encode("latin-1") for name, value in headers.items()}
    return httpx.get(url + path, headers=encoded, trust_env=False, timeout=PATIENCE_S)


def operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method.upper(), path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def test_every_route_is_described(document: dict[str, Any]) -> None:
    with application({"fake": FakeEngine()}) as (app, _):
        routes = {
            (method, route.shown)
            for route in app.routes
            if isinstance(route, Described)
            for method in route.methods or ()
        }
        assert all(isinstance(route, Described) for route in app.routes)
    about_the_server = {("GET", "/metrics"), ("GET", "/openapi.json"), ("GET", "/docs")}
    assert operations(document).keys() == {route for route in routes if route[0] != "HEAD"} | about_the_server
    assert len({operation["operationId"] for operation in operations(document).values()}) == len(operations(document))


def test_what_schemathesis_tries_is_answered_as_described(url: str, tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION)
    result = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json"),
            *("--seed", "1", "--max-examples", "20", "--no-color"),
            *("--header", f"Authorization: Bearer {KEY}"),
        ],
        cwd=tmp_path,
        env=os.environ | {"NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE_S,
    )
    assert result.returncode == 0, result.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not here")
def test_every_curl_line_works(document: dict[str, Any]) -> None:
    run_curl_lines(document)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not here")
def test_every_curl_line_works_where_a_model_must_be_named() -> None:
    with served({"one": FakeEngine(), "other": FakeEngine()}) as url:
        run_curl_lines(document_of(url))


def run_curl_lines(document: dict[str, Any]) -> None:
    for operation in operations(document).values():
        [sample] = operation["x-codeSamples"]
        command = shlex.split(sample["source"].replace("Bearer KEY", f"Bearer {KEY}"))
        assert command[0] == "curl"
        result = subprocess.run(
            [*command, "--silent", "--fail", "--noproxy", "*"], capture_output=True, timeout=PATIENCE_S
        )
        assert result.returncode == 0, sample


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v3/embeddings", "/embed"])
@pytest.mark.parametrize("kind", [*EMBEDDING_FAULTS, ModelUnready, ShuttingDown], ids=lambda kind: kind.__name__)
def test_faults_are_told_as_described(kind: type[Exception], path: str) -> None:
    engine = FakeEngine()
    engine.fault = kind(0, "problem") if issubclass(kind, TextError) else kind("what happened")
    with served({"fake": engine}) as url:
        response = httpx.post(url + path, json={"input": "a", "inputs": "a"}, trust_env=False, timeout=PATIENCE_S)
        described = operations(document_of(url))["POST", path]["responses"]
    assert str(response.status_code) in described
    assert {name.lower() for name in described[str(response.status_code)]["headers"]} <= set(response.headers)


def test_work_needs_a_key_where_there_are_keys(document: dict[str, Any]) -> None:
    assert {method for (method, _), operation in operations(document).items() if "security" in operation} == {"POST"}
    assert all("security" in operation for (method, _), operation in operations(document).items() if method == "POST")
    with served({"fake": FakeEngine()}) as url:
        open_to_all = document_of(url)
    assert "securitySchemes" not in open_to_all["components"]
    assert not any("security" in operation for operation in operations(open_to_all).values())


def test_the_served_models_are_those_to_choose_from(document: dict[str, Any]) -> None:
    request = document["components"]["schemas"]["EmbeddingsRequest"]
    assert request["properties"]["model"]["enum"] == ["org/fake", "", None]
    assert request["required"] == ["input"]
    assert request["properties"]["prompt_name"]["enum"] == ["document", "empty", "query", "", None]
    with served({"one": FakeEngine(), "other": FakeEngine(make_spec(dimensions=4))}) as url:
        request = document_of(url)["components"]["schemas"]["EmbeddingsRequest"]
    assert request["properties"]["model"]["enum"] == ["one", "other"]
    assert request["required"] == ["input", "model"]
    assert request["properties"]["dimensions"]["maximum"] == 8


def test_a_server_without_models_describes_itself_too() -> None:
    with served({}) as url:
        assert get(url, "/docs").status_code == 200
        request = document_of(url)["components"]["schemas"]["EmbeddingsRequest"]
    assert request["examples"] == [{"input": "a text"}]


def test_the_page_tells_everything_and_needs_nothing_else(url: str, document: dict[str, Any]) -> None:
    response = get(url, "/docs")
    assert response.headers["content-type"].startswith("text/html")
    page = response.text
    for (method, path), operation in operations(document).items():
        assert re.search(rf"{method}</span> <code>{re.escape(path)}</code>", page)
        assert f'id="{operation["operationId"]}"' in page
    for name in document["components"]["schemas"]:
        assert f'<article id="{name}">' in page
    assert page.count("<pre>curl ") == len(operations(document))
    targets = set(re.findall(r'(?:href|src)="([^"]*)"', page))
    assert {target for target in targets if not target.startswith("#")} == {"openapi.json"}
    assert {target[1:] for target in targets if target.startswith("#")} <= set(re.findall(r'id="([^"]*)"', page))
    assert "<script" not in page
    assert "url(" not in page


def test_nothing_in_the_page_is_markup_of_its_own() -> None:
    name = "<script>alert('a')</script>"
    with served({name: FakeEngine()}) as url:
        page = get(url, "/docs", host="<b>evil</b>").text
    assert "&lt;script&gt;" in page
    assert "<script" not in page
    assert "<b>evil" not in page


@pytest.mark.parametrize("host", ["[", "a b", "'; rm -rf /", "", "é"])
def test_a_host_that_is_none_harms_nothing(url: str, host: str) -> None:
    assert get(url, "/openapi.json", host=host).status_code == 200
