"""What stands around the application, over engines that compute nothing: guards, health, metrics, request ids."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families  # noqa: TID253

from ovembed.engine import EngineSettings, OpenVINOEngine
from ovembed.errors import EngineError, InputError
from ovembed.http.keys import KeyFile
from ovembed.http.replies import vectors_response
from ovembed.http.requests import Limits
from ovembed.server.catalog import State
from ovembed.server.service import Service
from ovembed.server.settings import ServeSettings
from ovembed.serving.condition import GoldenText
from ovembed.serving.loading import LoadedModel
from tests.fakes import FakeEngine, make_spec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence
    from pathlib import Path

    from ovembed.batches import Layout
    from ovembed.protocols import Engine, Vectors

    Scenario = Callable[[httpx.AsyncClient], Awaitable[Any]]

PATIENCE_S = 30
URL = "http://server.example"
EMBEDDINGS = "/v1/embeddings"
READINESS = (
    *("/", "/health", "/v2/health/ready"),
    *("/v2/models/org/fake/ready", "/v2/models/org/fake/versions/1/ready"),
)
GOLDEN = [1, 97, 2]


@contextmanager
def serving(engine: FakeEngine, **settings: Any) -> Iterator[Service]:
    with closing(Service(ServeSettings(**settings)), {"org/fake": engine}) as service:
        yield service


@contextmanager
def closing(service: Service, engines: dict[str, FakeEngine]) -> Iterator[Service]:
    for name, engine in engines.items():
        service.put(LoadedModel(name, engine, GoldenText(GOLDEN, engine.row(GOLDEN)), created=0))
    try:
        yield service
    finally:
        for engine in engines.values():
            engine.gate.set()
        service.close()


def ask(service: Service, scenario: Scenario) -> Any:
    """Run the scenario with a client of the service, all on one loop."""

    async def main() -> Any:
        transport = httpx.ASGITransport(service.app(), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
            return await scenario(client)

    return asyncio.run(main())


def get(service: Service, path: str, **headers: str) -> httpx.Response:
    return ask(service, lambda client: client.get(path, headers=headers))  # type: ignore[no-any-return]


def embed(service: Service, text_input: Any = "a", *, model: str | None = None, **headers: str) -> httpx.Response:
    body = {"input": text_input} | ({"model": model} if model else {})
    return ask(service, lambda client: client.post(EMBEDDINGS, json=body, headers=headers))  # type: ignore[no-any-return]


def samples(service: Service) -> dict[tuple[str, tuple[str, ...]], float]:
    """Every sample of /metrics: (name, label values in the order of the labels' names) -> value."""
    response = get(service, "/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def message_of(response: httpx.Response, status: int) -> str:
    """What is wrong, out of the error that clients of the path's dialect expect."""
    assert response.status_code == status, response.text
    path, content = response.request.url.path, response.json()
    if path.startswith(("/v2", "/v3", "/v1/config")):
        assert set(content) == {"error"}
    elif path in ("/", "/embed", "/health"):
        assert set(content) == {"error", "error_type"}
    else:
        return error_of(response, status)["message"]  # type: ignore[no-any-return]
    return content["error"]  # type: ignore[no-any-return]


def error_of(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    return response.json()["error"]  # type: ignore[no-any-return]


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


# Health


def test_health_is_503_from_a_failed_batch_until_the_golden_text_embeds_right(engine: FakeEngine) -> None:
    with serving(engine) as service:
        assert [get(service, path).status_code for path in READINESS] == [200] * len(READINESS)
        assert engine.batches == [], "a healthy server is not tried"
        engine.fault = EngineError("inference failed")
        assert embed(service).status_code == 500
        for path in READINESS:
            response = get(service, path)
            assert "org/fake" in message_of(response, 503)
            assert int(response.headers["Retry-After"]) >= 1
        assert get(service, "/v2/health/live").status_code == 200
        assert samples(service)["ovembed_model_healthy", ("org/fake",)] == 0
        engine.fault = None
        assert [get(service, path).status_code for path in READINESS] == [200] * len(READINESS)
        assert engine.batches[-1] == [GOLDEN]
        assert samples(service)["ovembed_model_healthy", ("org/fake",)] == 1


def test_a_fault_that_is_over_is_forgiven_by_the_next_probe(engine: FakeEngine) -> None:
    with serving(engine) as service:
        engine.fault = EngineError("inference failed")
        embed(service)
        engine.fault = None
        assert get(service, "/health").status_code == 200


class Drifting(FakeEngine):
    """Gives other vectors than were recorded, once it has begun to."""

    drifts = False

    def run(self, batch: Sequence[Sequence[int]], layout: Layout | None = None) -> Vectors:
        rows = super().run(batch, layout)
        return -rows if self.drifts else rows


def test_a_model_that_answers_wrongly_stays_unready() -> None:
    engine = Drifting()
    with serving(engine) as service:
        engine.fault = EngineError("inference failed")
        embed(service)
        engine.fault, engine.drifts = None, True
        assert get(service, "/health").status_code == 503
        engine.drifts = False
        assert get(service, "/health").status_code == 200


def test_one_model_s_fault_leaves_the_others_ready() -> None:
    engines = {"good": FakeEngine(), "bad": FakeEngine()}
    with closing(Service(ServeSettings()), engines) as service:
        engines["bad"].fault = EngineError("inference failed")
        assert embed(service, model="bad").status_code == 500
        assert message_of(get(service, "/v2/health/ready"), 503).startswith("Server is not ready - bad:")
        assert get(service, "/v2/models/bad/ready").status_code == 503
        assert get(service, "/v2/models/good/ready").status_code == 200


def test_probes_at_the_same_time_share_one_look_at_the_golden_text(engine: FakeEngine) -> None:
    async def probe_together(client: httpx.AsyncClient) -> list[httpx.Response]:
        return await asyncio.gather(*(client.get("/health") for _ in range(10)))

    with serving(engine) as service:
        engine.fault = EngineError("inference failed")
        embed(service)
        assert {response.status_code for response in ask(service, probe_together)} == {503}
        assert len(engine.batches) == 2


class NanModel:
    """A compiled model, and its inference request, whose vectors are not finite while `broken`."""

    any_name = "input_ids"
    broken = True

    @property
    def inputs(self) -> list[NanModel]:
        return [self]

    def create_infer_request(self) -> NanModel:
        return self

    def infer(self, feed: dict[str, Any], *, share_inputs: bool) -> list[Vectors]:
        rows = np.ones((len(feed["input_ids"]), 8), dtype=np.float32)
        if self.broken:
            rows[0, 3] = np.nan
        return [rows]


class ByteTokenizer:
    vocabulary_size = 256
    closing_tokens = 1

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return FakeEngine().tokenize(texts)


@pytest.mark.parametrize("encoding_format", ["float", "base64"])
def test_nan_never_leaves_the_server(encoding_format: str) -> None:
    model = NanModel()
    engine: Engine = OpenVINOEngine(
        make_spec(),
        ByteTokenizer(),
        model,
        EngineSettings(streams=1),
        vocabulary_size=256,  # type: ignore[arg-type]
    )
    service = Service(ServeSettings())
    service.put(LoadedModel("nan", engine, GoldenText(GOLDEN, np.ones(8, dtype=np.float32)), created=0))
    body = {"input": ["a", "b"], "encoding_format": encoding_format}
    try:
        response = ask(service, lambda client: client.post(EMBEDDINGS, json=body))
        assert "not finite" in error_of(response, 500)["message"]
        assert get(service, "/health").status_code == 503
        model.broken = False
        assert get(service, "/health").status_code == 200
        assert ask(service, lambda client: client.post(EMBEDDINGS, json=body)).status_code == 200
    finally:
        service.close()


# Draining


def test_a_draining_server_is_alive_and_not_ready_and_takes_nothing_more(engine: FakeEngine) -> None:
    with serving(engine) as service:
        service.traffic.draining = True
        for path in READINESS:
            assert "shutting down" in message_of(get(service, path), 503)
        response = embed(service)
        assert error_of(response, 503)["code"] == "shutting_down"
        assert int(response.headers["Retry-After"]) >= 1
        for path in ("/v2/health/live", "/v1/models"):
            assert get(service, path).status_code == 200
        assert samples(service)["ovembed_refused_requests_total", ("shutting_down",)] == 1
    assert engine.batches == []


@pytest.mark.parametrize(("path", "status"), [(EMBEDDINGS, 503), ("/v3/embeddings", 500), ("/embed", 503)])
def test_requests_for_a_model_that_loads_are_refused_for_that(engine: FakeEngine, path: str, status: int) -> None:
    async def post(client: httpx.AsyncClient) -> httpx.Response:
        return await client.post(path, json={"input": "a", "inputs": "a", "model": "new"})

    with serving(engine) as service:
        service.catalog.note("new", State.LOADING)
        assert ask(service, post).status_code == status
        refused = {
            labels: value
            for (name, labels), value in samples(service).items()
            if name == "ovembed_refused_requests_total" and value
        }
    assert refused == {("model_unready",): 1}


def test_requests_that_give_work_are_counted_while_they_run(engine: FakeEngine) -> None:
    engine.gate.clear()

    async def look(client: httpx.AsyncClient) -> int:
        request = asyncio.create_task(client.post(EMBEDDINGS, json={"input": "a"}))
        await asyncio.to_thread(engine.started.wait, PATIENCE_S)
        await client.get("/health")
        running = service.traffic.running
        engine.gate.set()
        await request
        return running

    with serving(engine) as service:
        assert ask(service, look) == 1
        assert service.traffic.running == 0


@pytest.mark.parametrize(("texts", "beside"), [(1, False), (2_000, True)])
def test_only_large_replies_are_rendered_beside_the_loop(texts: int, beside: bool) -> None:
    def render() -> bytes:
        return str(threading.get_ident()).encode()

    async def where() -> bool:
        response = await vectors_response(np.zeros((texts, 128), dtype=np.float32), render)
        return int(response.body) != threading.get_ident()

    assert asyncio.run(where()) is beside


# Time limits


def test_a_request_that_takes_too_long_is_504_and_its_texts_are_dropped(engine: FakeEngine) -> None:
    engine.gate.clear()

    async def two_requests(client: httpx.AsyncClient) -> list[httpx.Response]:
        first = asyncio.create_task(client.post(EMBEDDINGS, json={"input": "first"}))
        await asyncio.to_thread(engine.started.wait, PATIENCE_S)
        return [await client.post(EMBEDDINGS, json={"input": ["second", "third"]}), await first]

    with serving(engine, limits=Limits(request_s=0.2)) as service:
        for response in ask(service, two_requests):
            error = error_of(response, 504)
            assert error["code"] == "timeout"
            assert "0.2 s" in error["message"]
        engine.gate.set()
        assert embed(service, "fourth").status_code == 200
        assert engine.batches == [engine.tokenize(["first"]), engine.tokenize(["fourth"])]
        found = samples(service)
        assert found["ovembed_dropped_texts_total", ("org/fake",)] == 2
        assert found["ovembed_refused_requests_total", ("time_limit",)] == 2


class Sender:
    """A client, at the level of ASGI, that sends these parts of a body and then keeps the rest back."""

    def __init__(self, *parts: bytes, leaves: bool = False) -> None:
        self._parts = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
        if leaves:
            self._parts.append({"type": "http.disconnect"})
        self.messages: list[dict[str, Any]] = []

    def post(self, service: Service) -> int:
        asyncio.run(self._request(service))
        return self.messages[0]["status"]  # type: ignore[no-any-return]

    async def _request(self, service: Service) -> None:
        scope = {"type": "http", "method": "POST", "path": EMBEDDINGS, "query_string": b"", "headers": []}
        await service.app()(scope, self._receive, self._send)  # type: ignore[arg-type]

    async def _receive(self) -> dict[str, Any]:
        if not self._parts:
            await asyncio.Event().wait()
        return self._parts.pop(0)

    async def _send(self, message: Any) -> None:
        self.messages.append(message)


@pytest.mark.parametrize("limits", [Limits(body_s=0.05), Limits(request_s=0.05)])
@pytest.mark.parametrize("parts", [[], [b'{"input": '], [b"{", b'"input"', b": "]])
def test_a_client_that_keeps_its_body_back_is_408_and_its_connection_ends(
    engine: FakeEngine, limits: Limits, parts: list[bytes]
) -> None:
    sender = Sender(*parts)
    with serving(engine, limits=limits) as service:
        assert sender.post(service) == 408
        assert (b"connection", b"close") in sender.messages[0]["headers"]
        assert json.loads(sender.messages[1]["body"])["error"]["code"] == "request_timeout"
        assert samples(service)["ovembed_refused_requests_total", ("slow_body",)] == 1
    assert engine.batches == []


def test_a_client_that_leaves_is_neither_late_nor_refused(engine: FakeEngine) -> None:
    with serving(engine) as service:
        assert Sender(b"{", leaves=True).post(service) == 499
        found = samples(service)
        assert not any(value for (name, _), value in found.items() if name == "ovembed_refused_requests_total")


# Keys


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text("# ours\n  first-key  \n\nsecond#key # Alice's\n")
    return path


@pytest.mark.parametrize("key", ["first-key", "second#key"])
@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_every_key_of_the_file_opens(engine: FakeEngine, key_file: Path, key: str, scheme: str) -> None:
    with serving(engine, api_key_file=key_file) as service:
        assert embed(service, Authorization=f"{scheme} {key}").status_code == 200


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", "Bearer first", "Bearer first-key2", "Basic first-key", "first-key", "Bearer #"],
)
@pytest.mark.parametrize("path", [EMBEDDINGS, "/v3/embeddings", "/v1/config/reload", "/embed", "/no/such/route"])
def test_nothing_else_does(engine: FakeEngine, key_file: Path, authorization: str | None, path: str) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    with serving(engine, api_key_file=key_file) as service:
        response = ask(service, lambda client: client.post(path, json={"input": "a"}, headers=headers))
        assert "key" in message_of(response, 401)
        assert response.headers["WWW-Authenticate"] == "Bearer"
        assert samples(service)["ovembed_refused_requests_total", ("no_key",)] == 1
    assert engine.batches == []


def test_what_tells_about_the_server_needs_no_key(engine: FakeEngine, key_file: Path) -> None:
    with serving(engine, api_key_file=key_file) as service:
        for path in (*READINESS, "/v2/health/live", "/metrics", "/v1/models", "/v3/models", "/v1/models/org/fake"):
            assert get(service, path).status_code == 200


def test_a_changed_file_counts_at_once(engine: FakeEngine, key_file: Path) -> None:
    with serving(engine, api_key_file=key_file) as service:
        key_file.write_text("third-key\n")
        assert embed(service, Authorization="Bearer third-key").status_code == 200
        assert embed(service, Authorization="Bearer first-key").status_code == 401
        replacement = key_file.with_name("new")
        replacement.write_text("forth-key\n")
        replacement.replace(key_file)
        assert embed(service, Authorization="Bearer forth-key").status_code == 200


@pytest.mark.parametrize("content", [None, "", "# none\n", "two words\n"])
def test_a_file_without_keys_is_told_at_the_start_and_later_leaves_the_old_ones(
    key_file: Path, content: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    keys = KeyFile(key_file)
    if content is None:
        key_file.unlink()
    else:
        key_file.write_text(content)
    for _ in range(3):
        assert keys.allows(b"first-key")
        assert not keys.allows(b"two")
    [record] = caplog.records
    assert str(key_file) in record.getMessage()
    assert "words" not in record.getMessage()
    with pytest.raises(InputError, match="keys"):
        KeyFile(key_file)
    key_file.write_text("another\n")
    assert keys.allows(b"another")
    assert not keys.allows(b"first-key")


def test_a_file_that_can_be_read_again_counts_though_it_is_the_same(
    key_file: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> tuple[bytes, ...]:
        raise InputError(f"{path} cannot be read.")

    keys = KeyFile(key_file)
    key_file.write_text("another\n")
    with monkeypatch.context() as patched:
        patched.setattr("ovembed.http.keys.read_keys", refuse)
        assert keys.allows(b"first-key")
        assert not keys.allows(b"another")
    assert keys.allows(b"another")
    assert not keys.allows(b"first-key")
    assert len(caplog.records) == 1


# Request ids and logs


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("a1B2-c3:d4/e5_f6.g7+h8=@", "a1B2-c3:d4/e5_f6.g7+h8=@"),
        ("two words\tand 'quotes'", "twowordsandquotes"),
        ("x" * 500, "x" * 128),
    ],
)
@pytest.mark.parametrize("path", ["/health", "/no/such/route"])
def test_a_request_s_id_comes_back_clean(engine: FakeEngine, sent: str, expected: str, path: str) -> None:
    with serving(engine) as service:
        assert get(service, path, **{"X-Request-ID": sent}).headers.get_list("X-Request-ID") == [expected]


@pytest.mark.parametrize("headers", [{}, {"X-Request-ID": ""}, {"X-Request-ID": "{}"}])
def test_a_request_without_an_id_gets_one_of_its_own(engine: FakeEngine, headers: dict[str, str]) -> None:
    with serving(engine) as service:
        ids = {embed(service, **headers).headers["X-Request-ID"] for _ in range(5)}
    assert len(ids) == 5
    assert all(len(each) == 32 for each in ids)


def test_refusals_have_ids_too(engine: FakeEngine, key_file: Path) -> None:
    with serving(engine, api_key_file=key_file) as service:
        response = embed(service, **{"X-Request-ID": "mine"})
        assert (response.status_code, response.headers["X-Request-ID"]) == (401, "mine")


def test_an_access_line_tells_the_request_and_nothing_of_what_it_said(
    engine: FakeEngine, key_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ovembed.access")
    with serving(engine, api_key_file=key_file) as service:
        headers = {"Authorization": "Bearer first-key", "X-Request-ID": "id-1"}
        ask(
            service,
            lambda client: client.post(f"{EMBEDDINGS}?secret=query", json={"input": "a secret text"}, headers=headers),
        )
    [record] = [record for record in caplog.records if record.name == "ovembed.access"]
    fields = record.fields  # type: ignore[attr-defined]
    assert fields["took_s"] >= 0
    assert {name: fields[name] for name in ("method", "path", "status", "request_id")} == {
        "method": "POST",
        "path": EMBEDDINGS,
        "status": 200,
        "request_id": "id-1",
    }
    for secret in ("secret", "first-key"):
        assert secret not in caplog.text


def test_access_lines_are_off_unless_asked_for(engine: FakeEngine, caplog: pytest.LogCaptureFixture) -> None:
    with serving(engine) as service:
        embed(service)
    assert caplog.records == []


def test_a_path_cannot_forge_a_log_line(engine: FakeEngine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ovembed.access")
    with serving(engine) as service:
        get(service, "/x%0Aovembed.access: forged" + "y" * 1000)
    [record] = caplog.records
    assert "\n" not in record.getMessage()
    assert len(record.getMessage()) < 500


# Metrics


def test_metrics_count_what_happened(engine: FakeEngine) -> None:
    with serving(engine) as service:
        embed(service, ["a", "abcd"])
        embed(service, "")
        get(service, "/v1/models/org/fake")
        get(service, "/no/such/route")
        found = samples(service)
    totals = {labels: value for (name, labels), value in found.items() if name == "ovembed_requests_total"}
    assert {(route, status): value for (_, route, status), value in totals.items()} == {
        (EMBEDDINGS, "200"): 1,
        (EMBEDDINGS, "400"): 1,
        ("/v1/models/{name:path}", "200"): 1,
        ("", "404"): 1,
    }
    model = ("org/fake",)
    expected = {"texts_total": 2, "tokens_total": 9, "padding_tokens_total": 3, "failed_batches_total": 0}
    expected |= {"batch_texts_count": 1, "batch_texts_sum": 2, "batch_tokens_sum": 12, "queue_seconds_count": 2}
    expected |= {"inference_seconds_count": 1, "queue_texts": 0, "queue_tokens": 0, "model_healthy": 1}
    assert {name: found[f"ovembed_{name}", model] for name in expected} == expected
    assert found["ovembed_request_seconds_count", (EMBEDDINGS,)] == 2
    assert found["process_resident_memory_bytes", ()] > 0
    spec = engine.spec
    info = (str(spec.dimensions), spec.fingerprint, str(spec.max_tokens), "org/fake", "mean", "fp32", "fake")
    assert found["ovembed_model_info", info] == 1


def test_the_queue_is_measured_when_it_is_looked_at(engine: FakeEngine) -> None:
    engine.gate.clear()

    async def look(client: httpx.AsyncClient) -> str:
        first = asyncio.create_task(client.post(EMBEDDINGS, json={"input": "a"}))
        await asyncio.to_thread(engine.started.wait, PATIENCE_S)
        second = asyncio.create_task(client.post(EMBEDDINGS, json={"input": ["ab", "abc"]}))
        async with asyncio.timeout(PATIENCE_S):
            page = ""
            while 'ovembed_queue_texts{model="org/fake"} 2.0' not in page:
                await asyncio.sleep(0)  # let the second request go on
                page = (await client.get("/metrics")).text
        engine.gate.set()
        await asyncio.gather(first, second)
        return page

    with serving(engine) as service:
        page = ask(service, look)
    assert 'ovembed_queue_tokens{model="org/fake"} 9.0' in page
    assert "ovembed_running_requests 3.0" in page


def test_names_that_clients_make_up_become_no_series(engine: FakeEngine) -> None:
    def ask_for(service: Service, name: str) -> None:
        embed(service, model=name)
        for path in (f"/v1/models/{name}", f"/v2/models/{name}/ready", f"/{name}", "/metrics"):
            get(service, path)

    with serving(engine) as service:
        ask_for(service, "made-up")
        before = samples(service).keys()
        ask_for(service, "made-up-too")
        assert samples(service).keys() == before
        assert "made-up" not in get(service, "/metrics").text


def test_openmetrics_is_spoken_where_it_is_asked_for(engine: FakeEngine) -> None:
    with serving(engine) as service:
        response = get(service, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    assert response.text.endswith("# EOF\n")


def test_two_servers_count_apart(engine: FakeEngine) -> None:
    with serving(engine) as service, serving(FakeEngine()) as other:
        embed(service)
        assert samples(service)["ovembed_texts_total", ("org/fake",)] == 1
        assert samples(other)["ovembed_texts_total", ("org/fake",)] == 0


# Web pages


def test_web_pages_may_not_ask_unless_allowed(engine: FakeEngine) -> None:
    with serving(engine) as service:
        assert "Access-Control-Allow-Origin" not in embed(service, Origin="https://app.example").headers


def test_web_pages_of_allowed_origins_may(engine: FakeEngine, key_file: Path) -> None:
    preflight = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    preflight["Access-Control-Request-Headers"] = "Authorization, Content-Type"
    with serving(engine, api_key_file=key_file, cors_origins=("https://app.example",)) as service:
        response = ask(service, lambda client: client.options(EMBEDDINGS, headers=preflight))
        assert response.status_code == 200
        assert response.headers["Access-Control-Allow-Origin"] == "https://app.example"
        refused = embed(service, Origin="https://app.example")
        assert refused.status_code == 401
        assert refused.headers["Access-Control-Allow-Origin"] == "https://app.example"
        other = embed(service, Origin="https://other.example", Authorization="Bearer first-key")
        assert other.status_code == 200
        assert "Access-Control-Allow-Origin" not in other.headers
