from __future__ import annotations

import base64
import json
import math
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import httpx
import numpy as np
import pytest

from ovembed import wire
from ovembed.errors import (
    EndpointBusy,
    EndpointError,
    EndpointLost,
    EndpointRefused,
    EndpointTimeout,
    InputError,
    ModelNotFound,
    TextError,
    TextTooLong,
)
from ovembed.local import LocalEmbedder
from ovembed.remote import RemoteEmbedder, RemoteSettings, api_base, http_client
from ovembed.remote.limits import TEXTS_PER_REQUEST
from tests.fakes import FakeEngine, make_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Handler = Callable[[httpx.Request], httpx.Response]

URL = "http://embeddings.example/v1"
MANY = [f"text {number}" for number in range(2 * TEXTS_PER_REQUEST + 3)]


class Endpoint:
    """A faultless server over a FakeEngine; keeps the texts of every request."""

    def __init__(self) -> None:
        self.engine = FakeEngine(make_spec(max_tokens=16))
        self.requests: list[list[str]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/models":
            return httpx.Response(200, json={"data": [{"id": "served"}]})
        asked = wire.parse_request(request.content)
        assert asked.texts is not None
        self.requests.append(asked.texts)
        with LocalEmbedder(self.engine, "served") as local:
            try:
                result = local.embed(asked.texts, truncate=asked.truncate)
            except TextError as error:
                code = "context_length_exceeded" if isinstance(error, TextTooLong) else None
                content = wire.render_error(str(error), kind="x", param=f"input[{error.position}]", code=code)
                return httpx.Response(400, content=content)
        return httpx.Response(200, content=wire.render_response(result, asked.encoding_format))


def remote(handler: Handler, *, model: str | None = "served", concurrency: int = 1) -> RemoteEmbedder:
    """One that asks once, and one after the other."""
    client = httpx.Client(transport=httpx.MockTransport(handler))
    settings = RemoteSettings(retries=0, concurrency=concurrency, first_texts=TEXTS_PER_REQUEST, reply_s=math.inf)
    return RemoteEmbedder(URL, model=model, client=client, settings=settings)


def answering(status: int, content: bytes) -> Handler:
    return lambda _: httpx.Response(status, content=content)


def raising(error: Exception) -> Handler:
    def handler(_: httpx.Request) -> httpx.Response:
        raise error

    return handler


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://host", "http://host/v1"),
        ("http://host/", "http://host/v1"),
        ("http://host:8000", "http://host:8000/v1"),
        ("https://host/v1", "https://host/v1"),
        ("https://host/v1/", "https://host/v1"),
        ("http://host:8000/v3", "http://host:8000/v3"),
        ("http://host/v1/embeddings", "http://host/v1"),
        ("http://host/v1/embeddings/", "http://host/v1"),
        ("http://host/embeddings", "http://host"),
        ("http://host/api/v1?key=x#top", "http://host/api/v1"),
        ("http://[::1]:8000", "http://[::1]:8000/v1"),
    ],
)
def test_base_of_every_form_of_url(url: str, base: str) -> None:
    assert api_base(url) == base


@pytest.mark.parametrize(
    "url", ["", "host:8000", "ftp://host", "http://", "/models/e5", "http://host:port", "http://[::1"]
)
def test_what_is_no_http_url_is_refused(url: str) -> None:
    with pytest.raises(InputError, match="is no") as caught:
        api_base(url)
    assert f"'{url}'" in str(caught.value)


def test_a_long_list_goes_in_several_requests_and_keeps_its_order() -> None:
    endpoint = Endpoint()
    result = remote(endpoint).embed(MANY)
    assert [len(texts) for texts in endpoint.requests] == [TEXTS_PER_REQUEST, TEXTS_PER_REQUEST, 3]
    expected = [endpoint.engine.row(tokens) for tokens in endpoint.engine.tokenize(MANY)]
    np.testing.assert_array_equal(result.vectors, np.stack(expected))
    assert result.tokens == tuple(len(text) + 2 for text in MANY)
    assert result.total_tokens == sum(result.tokens)
    assert (result.model, result.fingerprint) == ("served", endpoint.engine.spec.fingerprint)


def test_positions_of_cut_texts_count_through_all_requests() -> None:
    texts = list(MANY)
    for position in (1, TEXTS_PER_REQUEST, 2 * TEXTS_PER_REQUEST + 2):
        texts[position] = "far too long a text"
    assert remote(Endpoint()).embed(texts, truncate=True).truncated == (
        1,
        TEXTS_PER_REQUEST,
        2 * TEXTS_PER_REQUEST + 2,
    )


def test_position_of_a_refused_text_counts_through_all_requests() -> None:
    texts = list(MANY)
    texts[TEXTS_PER_REQUEST + 4] = "far too long a text"
    with pytest.raises(TextTooLong, match=r"^Input 260: 21 tokens, but the model takes 16") as caught:
        remote(Endpoint()).embed(texts)
    assert caught.value.position == 260


def test_a_text_refused_for_another_reason_is_a_text_error() -> None:
    content = wire.render_error("Input 0: not today.", kind="x", param="input[0]")
    with pytest.raises(TextError, match=r"^Input 0: not today\.$") as caught:
        remote(answering(400, content)).embed(["a"])
    assert type(caught.value) is TextError


@pytest.mark.parametrize("text", ["", "\udcff"])
def test_a_text_that_nobody_can_embed_is_not_even_sent(text: str) -> None:
    endpoint = Endpoint()
    with pytest.raises(TextError) as caught:
        remote(endpoint).embed([*MANY, text])
    assert caught.value.position == len(MANY)
    assert endpoint.requests == []


def test_no_texts_need_no_request() -> None:
    endpoint = Endpoint()
    result = remote(endpoint).embed([])
    assert (result.vectors.shape, result.tokens, endpoint.requests) == ((0, 0), (), [])


def test_tokens_are_unknown_where_the_endpoint_does_not_tell() -> None:
    content = json.dumps({"data": [{"index": 0, "embedding": [1.0]}], "usage": {"prompt_tokens": 4}}).encode()
    result = remote(answering(200, content)).embed(["a"])
    assert (result.tokens, result.total_tokens, result.model, result.fingerprint) == (None, 4, "served", None)


def test_the_model_is_asked_for_where_none_is_named() -> None:
    assert remote(Endpoint(), model=None).model == "served"


@pytest.mark.parametrize(
    ("status", "content", "problem"),
    [
        (200, b"<html>", "does not list its models. Name one with --model"),
        (200, b"[]", "does not list its models"),
        (200, b'{"models": []}', "does not list its models"),
        (200, b'{"data": ["a"]}', "does not list its models"),
        (404, b'{"detail": "Not Found"}', "does not list its models"),
        (200, b'{"data": []}', "serves no model"),
        (200, b'{"data": [{"id": "a"}, {"id": "b"}]}', r"serves 2 models \(a, b\)\. Choose one with --model"),
    ],
)
def test_a_model_that_cannot_be_chosen_must_be_named(status: int, content: bytes, problem: str) -> None:
    with pytest.raises(ModelNotFound, match=problem):
        remote(answering(status, content), model=None)


@pytest.mark.parametrize(("status", "message"), [(401, "Invalid key"), (503, "starting")])
def test_an_error_instead_of_the_models_is_told(status: int, message: str) -> None:
    with pytest.raises(EndpointError, match=f"answered {status}: {message}"):
        remote(answering(status, wire.render_error(message, kind="x")), model=None)


@pytest.mark.parametrize(
    ("handler", "kind", "message"),
    [
        (answering(500, b"worker died\n"), EndpointError, "answered 500: worker died"),
        (answering(502, b""), EndpointBusy, "answered 502: Bad Gateway"),
        (answering(404, b'{"error": "No such graph"}'), EndpointError, "answered 404: No such graph"),
        (answering(200, b'{"data": [{"index": 0, "emb'), EndpointError, "not an OpenAI embeddings object"),
        (answering(200, b'{"data": []}'), EndpointError, "0 vectors for 1 texts"),
        (raising(httpx.ConnectError("refused")), EndpointRefused, f"Nothing answers at {URL}.*ovembed serve"),
        (raising(httpx.ConnectTimeout("slow")), EndpointTimeout, f"{URL} did not answer in time"),
        (raising(httpx.ReadTimeout("slow")), EndpointTimeout, f"{URL} did not answer in time"),
        (raising(httpx.RemoteProtocolError("cut")), EndpointLost, rf"{URL} broke off \(cut\)"),
        (raising(httpx.ReadError("")), EndpointLost, r"broke off \(ReadError\)"),
    ],
)
def test_faults_of_an_endpoint_are_endpoint_errors(handler: Handler, kind: type[Exception], message: str) -> None:
    with pytest.raises(EndpointError, match=message) as caught:
        remote(handler).embed(["a"])
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "replies",
    [
        [([1.0, 2.0], "f"), ([1.0], "f")],
        [([1.0, 2.0], "f"), ([1.0, 2.0], "g")],
    ],
    ids=["dimensions", "fingerprint"],
)
def test_a_model_that_changes_between_requests_is_noticed(replies: list[tuple[list[float], str]]) -> None:
    following = iter(replies)

    def handler(request: httpx.Request) -> httpx.Response:
        vector, fingerprint = next(following)
        data = [{"index": index, "embedding": vector} for index in range(len(json.loads(request.content)["input"]))]
        return httpx.Response(200, json={"data": data, "ovembed": {"fingerprint": fingerprint}})

    with pytest.raises(EndpointError, match="changed its model"):
        remote(handler).embed(["a"] * (TEXTS_PER_REQUEST + 1))


def test_a_password_in_the_url_is_sent_and_never_told() -> None:
    sent: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        sent.append(request.headers["Authorization"])
        if len(sent) == 1:
            return httpx.Response(503)
        raise httpx.ConnectError("refused")

    client = httpx.Client(transport=httpx.MockTransport(handler))
    embedder = RemoteEmbedder(
        "http://user:secret@host", model="m", client=client, settings=RemoteSettings(retries=0, concurrency=1)
    )
    for kind, words in ((EndpointBusy, "^http://host/v1 answered 503"), (EndpointRefused, "at http://host/v1")):
        with pytest.raises(kind, match=words):
            embedder.embed(["a"])
    assert sent == [f"Basic {base64.b64encode(b'user:secret').decode()}"] * 2


def test_prompts_are_not_known() -> None:
    embedder = remote(Endpoint())
    assert embedder.prompt() == ""
    with pytest.raises(InputError, match="does not tell its prompts"):
        embedder.prompt("query")


def test_a_client_given_is_left_open_and_one_of_our_own_is_closed() -> None:
    client = httpx.Client(transport=httpx.MockTransport(Endpoint()))
    with client, RemoteEmbedder(URL, client=client) as embedder:
        embedder.close()
        assert not client.is_closed
    with RemoteEmbedder(URL, model="m") as embedder:
        pass
    with pytest.raises(RuntimeError, match="closed"):
        embedder._clients[0].get(URL)


def test_the_key_is_sent_as_bearer_token() -> None:
    with http_client(URL, api_key="secret") as client:
        assert client.headers["Authorization"] == "Bearer secret"
    with http_client(URL) as client:
        assert "Authorization" not in client.headers


@pytest.fixture
def web_server() -> Iterator[tuple[int, list[str]]]:
    """The port of a server that answers everything, and what it was asked for, as a proxy sees it."""
    asked: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_port, asked
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.usefixtures("_no_proxies")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_no_proxy_is_asked_for_this_machine(
    host: str, web_server: tuple[int, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, asked = web_server
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.invalid:3128")
    url = f"http://{host}:{port}/v1"
    with http_client(url) as client:
        assert client.get(f"{url}/models").status_code == 200
    assert asked == ["/v1/models"]


@pytest.mark.usefixtures("_no_proxies")
def test_the_proxy_of_the_environment_is_asked_for_other_machines(
    web_server: tuple[int, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, asked = web_server
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
    with http_client(URL) as client:
        client.get(f"{URL}/models")
    assert asked == [f"{URL}/models"]
