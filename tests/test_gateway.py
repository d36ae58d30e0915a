"""The gateway on real ports, in front of our own server, of computed fakes, and of backends that fail."""

from __future__ import annotations

import socket
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import openai
import pytest

from ovembed import vectors
from ovembed.errors import InputError
from ovembed.gateway.components import BackendSettings, open_backend
from ovembed.gateway.local import LocalBackend
from ovembed.gateway.metrics import Metrics
from ovembed.gateway.oauth import Credentials, credentials
from ovembed.gateway.settings import GatewaySettings
from ovembed.gateway.statistics import Statistics
from ovembed.gateway.upstream import UpstreamSettings
from ovembed.http.requests import Limits
from ovembed.serving.condition import GoldenText
from ovembed.serving.loading import LoadedModel
from tests.fakes import FakeEngine, make_spec
from tests.gateways import (
    CALCULATOR,
    MODEL,
    FakeOvms,
    FakeTei,
    FakeTokenEndpoint,
    fault,
    gateway_to,
    hanging_up,
    ovms,
    running,
    tei,
)
from tests.serving import PATIENCE_S, application, expected, rows_of
from tests.test_serve_process import address, post

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ovembed.protocols import Vectors

TEXTS = ["What is AI?", "Grüße\naus Köln", "a", "a"]


@contextmanager
def component(name: str, engine: FakeEngine) -> Iterator[httpx.Client]:
    """A client of a gateway with this engine behind it, by each of the ways there are."""
    if name == "local":
        golden = GoldenText([1, 97, 2], engine.row([1, 97, 2]))
        with gateway_to(LocalBackend(LoadedModel(MODEL, engine, golden, created=0))) as client:
            yield client
        return
    to = {"OPEA_OVMS_EMBEDDING": ovms, "OPEA_TEI_EMBEDDING": tei}[name]
    with application({MODEL: engine}) as (app, _), running(app) as url, gateway_to(to(url)) as client:
        yield client


@pytest.fixture(scope="module")
def engine() -> FakeEngine:
    return FakeEngine(make_spec(max_tokens=64))


@pytest.fixture(scope="module", params=["OPEA_OVMS_EMBEDDING", "OPEA_TEI_EMBEDDING", "local"])
def gateway(request: pytest.FixtureRequest, engine: FakeEngine) -> Iterator[httpx.Client]:
    with component(request.param, engine) as client:
        yield client


@pytest.fixture(scope="module")
def lasting() -> FakeOvms:
    return FakeOvms()


@pytest.fixture(scope="module")
def url(lasting: FakeOvms) -> Iterator[str]:
    with running(lasting.app) as url:
        yield url


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[httpx.Client]:
    with gateway_to(ovms(url)) as client:
        yield client


@pytest.fixture(scope="module")
def impatient(url: str) -> Iterator[httpx.Client]:
    """Tries once only, and not for long."""
    with gateway_to(ovms(url, upstream=UpstreamSettings(retries=0, timeout_s=0.5))) as client:
        yield client


@pytest.fixture
def backend(lasting: FakeOvms) -> FakeOvms:
    """What is behind `url`, as new."""
    lasting.forget()
    return lasting


def embed(client: httpx.Client, inputs: object = "a", **fields: object) -> httpx.Response:
    return client.post("/v1/embeddings", json={"input": inputs, **fields})


def error_of(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    error: dict[str, Any] = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert ("retry-after" in response.headers) is (status in (429, 503))
    return error


def unbroken(texts: Sequence[str]) -> list[str]:
    return [text.replace("\n", " ") for text in texts]


def assert_vectors(rows: Vectors, engine: FakeEngine, texts: Sequence[str]) -> None:
    np.testing.assert_allclose(rows, expected(engine, *texts), atol=1e-6)


# Every component.


def test_vectors_come_in_order_and_line_breaks_are_spaces(gateway: httpx.Client, engine: FakeEngine) -> None:
    assert_vectors(rows_of(embed(gateway, TEXTS)), engine, unbroken(TEXTS))
    assert_vectors(rows_of(embed(gateway, "alone")), engine, ["alone"])


def test_the_reply_is_the_original_s_with_model_and_usage_filled_in(gateway: httpx.Client) -> None:
    reply = embed(gateway, ["abc"], model="whatever", user="somebody").json()
    assert list(reply) == ["object", "model", "data", "usage"]
    assert list(reply["data"][0]) == ["index", "object", "embedding"]
    assert reply["model"] == MODEL
    assert reply["usage"] == {"prompt_tokens": 5, "total_tokens": 5, "completion_tokens": 0}


def test_dimensions_are_cut_and_of_unit_length_again(gateway: httpx.Client, engine: FakeEngine) -> None:
    rows = rows_of(embed(gateway, TEXTS, dimensions=3))
    np.testing.assert_allclose(rows, vectors.cut(expected(engine, *unbroken(TEXTS)), 3), atol=1e-6)
    for dimensions in (0, -1, 9):
        assert error_of(embed(gateway, dimensions=dimensions), 400)["param"] == "dimensions"


def test_the_local_component_tells_what_its_vectors_are_not(
    engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    with component("local", engine) as client:
        for bare in ([97], [[97, 98], [1, 97, 2]]):
            warning = embed(client, bare).headers["X-Ovembed-Warning"]
            assert "lists of token ids had to be given the model's special tokens" in warning
        assert "Matryoshka" in embed(client, dimensions=3).headers["X-Ovembed-Warning"]
        assert "X-Ovembed-Warning" not in embed(client, [[1, 97, 2]]).headers
    assert caplog.text.count("check_embedding_ctx_length=False") == 1, "the log tells it once"


def test_token_ids_give_the_vectors_of_their_text(gateway: httpx.Client, engine: FakeEngine) -> None:
    ids = engine.tokenize(["one", "two"])
    assert_vectors(rows_of(embed(gateway, ids)), engine, ["one", "two"])
    assert_vectors(rows_of(embed(gateway, ids[0])), engine, ["one"])


@pytest.mark.parametrize("inputs", [[], [[]], "word " * 20, [[1, 999, 2]]])
def test_what_cannot_be_embedded_is_the_client_s_fault(gateway: httpx.Client, inputs: object) -> None:
    assert error_of(embed(gateway, inputs), 400)["type"] == "invalid_request_error"


def test_opea_s_end_to_end_test_passes(gateway: httpx.Client, engine: FakeEngine) -> None:
    """tests/embeddings/test_embeddings_ovms.sh and tests/utils/validate_svc_with_openai.py, and numbers on top."""
    assert_vectors(rows_of(embed(gateway, "Is AI good?")), engine, ["Is AI good?"])
    two = ["Is AI good?", "Is AI deep?"]
    np.testing.assert_allclose(
        rows_of(embed(gateway, two, encoding_format="float", model="gte", user="user", dimensions=4)),
        vectors.cut(expected(engine, *two), 4),
        atol=1e-6,
    )
    with openai.OpenAI(
        api_key="empty", base_url=f"{gateway.base_url}/v1", http_client=httpx.Client(trust_env=False)
    ) as official:
        reply = official.embeddings.create(model="tei", input="The food was good")
        plain = official.embeddings.create(model="tei", input="The food was good", encoding_format="float")
        with pytest.raises(openai.BadRequestError, match="tokens"):
            official.embeddings.create(model="tei", input="word " * 20)
    for rows in (reply, plain):
        assert_vectors(np.array([rows.data[0].embedding], dtype=np.float32), engine, ["The food was good"])


def test_readiness_asks_the_backend_and_health_does_not(gateway: httpx.Client) -> None:
    assert gateway.get("/ready").json() == {"status": "ready"}
    assert gateway.get("/health").content == b""
    assert gateway.get("/v1/health_check").json() == {
        "Service Title": "opea_service@embedding",
        "Version": "1.5",
        "Service Description": "OPEA Microservice Infrastructure",
    }


def test_the_engine_s_failure_is_told(engine: FakeEngine) -> None:
    for name in ("OPEA_OVMS_EMBEDDING", "OPEA_TEI_EMBEDDING", "local"):
        failing = FakeEngine()
        with component(name, failing) as client:
            failing.fault = RuntimeError("boom")
            assert embed(client).status_code in (500, 502)
            failing.fault = None
            assert_vectors(rows_of(embed(client)), failing, ["a"])


def test_statistics_are_of_the_last_answers() -> None:
    statistics = Statistics()
    [figures] = statistics.to_json().values()
    assert len(figures) == 6
    assert set(figures.values()) == {None}
    for number in range(30_000):
        statistics.add(float(number))
    figures = statistics.to_json()["opea_service@embedding"]
    assert (figures["p50_latency"], figures["average_latency"]) == (24_999.5, 24_999.5)
    assert figures["p99_latency"] == pytest.approx(29_899, abs=1)
    assert figures["p99_latency_first_token"] is None


def test_only_answers_count_in_the_statistics(url: str) -> None:
    with gateway_to(ovms(url)) as client:
        embed(client, 5)
        assert client.get("/v1/statistics").json()["opea_service@embedding"]["p50_latency"] is None
        embed(client)
        assert client.get("/v1/statistics").json()["opea_service@embedding"]["p50_latency"] > 0


def test_the_description_names_every_route(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    for path in document["paths"]:
        assert client.get(path).status_code != 404
    assert document["components"]["schemas"]["EmbeddingRequest"]["required"] == ["input"]
    for page in ("/docs", "/redoc"):
        text = client.get(page).text
        assert "<script" not in text
        assert all(f"<code>{path}</code>" in text for path in document["paths"])


# What goes wrong at OVMS, by its own words.


@pytest.mark.parametrize(
    ("answer", "status", "message"),
    [
        ((400, CALCULATOR + "Input length 602 longer than allowed 512"), 400, "602 tokens, but the model takes 512"),
        ((400, CALCULATOR + "input must be homogeneous"), 400, "input must be homogeneous"),
        ((400, "Mediapipe execution failed. MP status - INTERNAL: RET_CHECK failure (a.cc:1)"), 502, "RET_CHECK"),
        ((404, "Mediapipe graph definition with requested name is not found"), 503, MODEL),
        ((404, "Mediapipe is retired"), 503, MODEL),
        ((404, "no such page"), 502, "answered 404"),
        ((412, "Mediapipe graph precondition failed - FAILED_PRECONDITION: x"), 503, MODEL),
        ((412, "The file is not valid json - Cannot parse JSON body"), 502, "answered 412"),
        ((500, "Mediapipe is not loaded yet"), 503, MODEL),
        ((500, "Unauthorized request due to invalid or missing api-key"), 502, "api-key"),
        ((401, "no"), 502, "answered 401"),
        ((413, "too large"), 413, "too large"),
        ((429, "queue full"), 429, "queue full"),
        ((503, "Server is not ready"), 503, "not ready"),
        ((504, "gateway timeout"), 504, "504"),
    ],
)
def test_a_refusal_of_ovms_gets_the_status_it_should_have(
    impatient: httpx.Client, backend: FakeOvms, answer: tuple[int, str], status: int, message: str
) -> None:
    backend.faults = [fault(*answer)]
    assert message in error_of(embed(impatient), status)["message"]
    assert_vectors(rows_of(embed(impatient)), backend.engine, ["a"])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b"[]",
        b'{"data": []}',
        b'{"data": [{"index": 0, "embedding": "AAA"}]}',
        b'{"data": [{"index": 0, "embedding": "AADAfw=="}]}',
        b'{"data": [{"index": 1, "embedding": "AACAPw=="}]}',
    ],
)
def test_an_answer_without_the_vectors_is_the_backend_s_fault(
    client: httpx.Client, backend: FakeOvms, body: bytes
) -> None:
    backend.answers(body)
    error_of(embed(client), 502)


def test_a_backend_that_still_loads_is_waited_for(client: httpx.Client, backend: FakeOvms) -> None:
    backend.faults = [
        fault(404, "Mediapipe graph definition with requested name is not found"),
        fault(500, "Mediapipe is not loaded yet"),
    ]
    assert_vectors(rows_of(embed(client)), backend.engine, ["a"])
    assert len(backend.bodies) == 3


@pytest.mark.parametrize("status", [400, 429, 500, 504])
def test_work_that_was_done_or_refused_is_not_asked_for_again(
    client: httpx.Client, backend: FakeOvms, status: int
) -> None:
    backend.faults = [fault(status, "no")]
    assert embed(client).is_error
    assert len(backend.bodies) == 1


def test_what_is_sent_is_what_ovms_takes(client: httpx.Client, backend: FakeOvms) -> None:
    embed(client, "a\nb", dimensions=2, user="somebody", model="other", encoding_format="float")
    assert backend.bodies == [{"input": ["a b"], "model": MODEL, "encoding_format": "base64"}]


def test_connections_to_the_backend_are_kept(client: httpx.Client, backend: FakeOvms) -> None:
    for _ in range(5):
        embed(client)
    assert len(backend.clients) == 1


def test_a_slash_at_the_end_of_the_endpoint_does_no_harm(url: str) -> None:
    with gateway_to(ovms(url + "/")) as client:
        assert embed(client).status_code == 200


def test_no_backend() -> None:
    with running(FakeOvms().app) as url:
        pass
    with gateway_to(ovms(url, upstream=UpstreamSettings(retries=1))) as client:
        assert error_of(embed(client), 503)["code"] == "backend_unreachable"
        assert "Nothing answers" in error_of(client.get("/ready"), 503)["message"]
        assert client.get("/v1/health_check").status_code == 200
        assert 'outcome="refused"} 3.0' in client.get("/metrics").text


def test_a_model_that_is_missing_is_not_ready(url: str) -> None:
    with gateway_to(replace(ovms(url), model="other")) as client:
        assert "no model 'other'" in error_of(client.get("/ready"), 503)["message"]


def test_a_backend_that_hangs_is_given_up_and_hears_of_it(impatient: httpx.Client, backend: FakeOvms) -> None:
    backend.hangs = True
    assert error_of(embed(impatient), 504)["code"] == "backend_timeout"
    assert backend.left.wait(PATIENCE_S)
    assert len(backend.bodies) == 1


def test_a_request_that_takes_too_long_in_all_is_dropped(url: str, backend: FakeOvms) -> None:
    backend.hangs = True
    with gateway_to(ovms(url), GatewaySettings(limits=Limits(request_s=0.5))) as client:
        assert error_of(embed(client), 504)["code"] == "timeout"
        assert backend.left.wait(PATIENCE_S)


def test_a_client_that_leaves_takes_its_work_with_it(client: httpx.Client, backend: FakeOvms) -> None:
    backend.hangs = True
    body = b'{"input": "a"}'
    with socket.create_connection(address(str(client.base_url)), PATIENCE_S) as connection:
        connection.sendall(post(body) + body)
        assert backend.asked.wait(PATIENCE_S)
    assert backend.left.wait(PATIENCE_S)


def test_a_backend_that_hangs_up_is_asked_again_but_not_for_ever() -> None:
    with hanging_up() as (url, seen), gateway_to(ovms(url, upstream=UpstreamSettings(retries=2))) as client:
        error_of(embed(client), 502)
        assert len(seen) == 3


def test_above_the_bound_clients_are_sent_away(engine: FakeEngine) -> None:
    held = FakeEngine()
    held.gate.clear()
    with (
        application({MODEL: held}) as (app, _),
        running(app) as url,
        gateway_to(ovms(url, upstream=UpstreamSettings(max_at_once=2))) as client,
        ThreadPoolExecutor() as callers,
    ):
        replies = [callers.submit(embed, client, text) for text in ("a", "b", "c")]
        [refused] = wait(replies, PATIENCE_S, return_when=FIRST_COMPLETED).done
        assert error_of(refused.result(), 429)["code"] == "overloaded"
        held.gate.set()
        assert sorted(reply.result(PATIENCE_S).status_code for reply in replies) == [200, 200, 429]


# Token ids.


def test_ids_with_wrong_token_types_are_refused() -> None:
    backend = FakeOvms(token_types=True)
    with running(backend.app) as url:
        with gateway_to(ovms(url)) as client:
            for _ in range(3):
                assert "token types" in error_of(embed(client, [1, 97, 2]), 400)["message"]
            assert len(backend.bodies) == 2, "the check is made once"
            assert_vectors(rows_of(embed(client)), backend.engine, ["a"])
        with gateway_to(ovms(url, trust_token_ids=True)) as client:
            assert embed(client, [1, 97, 2]).status_code == 200


def test_ids_are_refused_where_nobody_can_tell() -> None:
    backend = FakeOvms(tokenizes=False)
    with running(backend.app) as url, gateway_to(ovms(url)) as client:
        assert "/v3/tokenize" in error_of(embed(client, [[1, 97, 2]]), 400)["message"]


# OAuth and keys.


@contextmanager
def guarded(url: str, tokens: FakeTokenEndpoint) -> Iterator[httpx.Client]:
    with (
        running(tokens.app) as token_url,
        gateway_to(ovms(url, credentials=Credentials(f"{token_url}/token", "me", "my-secret"))) as client,
    ):
        yield client


def test_a_token_is_asked_for_once_by_all(url: str, backend: FakeOvms) -> None:
    tokens = FakeTokenEndpoint()
    with guarded(url, tokens) as client, ThreadPoolExecutor(8) as callers:
        assert {reply.status_code for reply in callers.map(lambda _: embed(client), range(24))} == {200}
    assert tokens.forms == [{"grant_type": "client_credentials", "client_id": "me", "client_secret": "my-secret"}]
    assert set(backend.keys) == {"Bearer token-1"}


def test_a_token_that_expires_is_replaced(url: str, backend: FakeOvms) -> None:
    with guarded(url, FakeTokenEndpoint(life_s=0.0001)) as client:
        for _ in range(3):
            embed(client)
    assert backend.keys == ["Bearer token-1", "Bearer token-2", "Bearer token-3"]


def test_a_token_that_is_refused_is_replaced(url: str, backend: FakeOvms) -> None:
    with guarded(url, FakeTokenEndpoint()) as client:
        embed(client)
        backend.faults = [fault(401, "expired")]
        assert embed(client).status_code == 200
    assert backend.keys == ["Bearer token-1", "Bearer token-1", "Bearer token-2"]


@pytest.mark.parametrize("status", [401, 500])
def test_without_a_token_nothing_is_sent(url: str, backend: FakeOvms, status: int) -> None:
    tokens = FakeTokenEndpoint()
    tokens.status = status
    with guarded(url, tokens) as client:
        message = error_of(embed(client), 502)["message"]
        assert f"answered {status}" in message
        assert "secret" not in message
        assert backend.bodies == []
        tokens.status = 200
        assert embed(client).status_code == 200


def test_oauth_needs_all_three() -> None:
    assert credentials(None, None, "") is None
    assert "hidden" not in repr(credentials("http://a", "me", "hidden"))
    with pytest.raises(InputError, match="all three"):
        credentials("http://a", "me", None)


def test_a_key_goes_to_the_backend_and_hf_s_only_to_tei(url: str, backend: FakeOvms) -> None:
    for settings in (ovms(url, hf_token="hf"), ovms(url, key="mine", hf_token="hf")):
        with gateway_to(settings) as client:
            embed(client)
    assert backend.keys == [None, "Bearer mine"]
    one_at_a_time = FakeTei(most=1)
    with running(one_at_a_time.app) as url, gateway_to(tei(url, hf_token="hf")) as client:
        embed(client)
    assert one_at_a_time.keys == ["Bearer hf"]


# TEI.


def test_more_than_tei_takes_is_sent_in_parts() -> None:
    backend = FakeTei(most=3)
    texts = [f"text {number}" for number in range(10)]
    with running(backend.app) as url, gateway_to(tei(url, model="named")) as client:
        reply = embed(client, texts)
        assert_vectors(rows_of(reply), backend.engine, texts)
        assert reply.json()["model"] == "named"
        assert reply.json()["usage"]["prompt_tokens"] == sum(map(len, backend.engine.tokenize(texts)))
    assert backend.sizes == [3, 3, 3, 1]


@pytest.mark.parametrize("tells", [b"", b"hello", b"[]", b"{}"])
def test_tei_need_not_tell_about_itself(tells: bytes) -> None:
    backend = FakeTei(most=8, tells=tells)
    with running(backend.app) as url, gateway_to(tei(url)) as client:
        reply = embed(client, ["a", "b"])
        assert_vectors(rows_of(reply), backend.engine, ["a", "b"])
        assert reply.json()["model"] is None


# Settings.


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (BackendSettings("OPEA_CLIP_EMBEDDING"), "no component 'OPEA_CLIP_EMBEDDING'.*OPEA_TEI_EMBEDDING, local"),
        (BackendSettings("OPEA_OVMS_EMBEDDING"), "MODEL_ID"),
        (BackendSettings(tei_endpoint="tei:80"), "no http:// or https:// URL"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_the_start(settings: BackendSettings, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_backend(settings, Metrics())
