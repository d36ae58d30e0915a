from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from typer.testing import CliRunner

from ovembed import wire
from ovembed.cli.main import app
from ovembed.errors import InputError
from ovembed.launch import HealthReport, check_health, wait_healthy
from ovembed.protocols import Embeddings

if TYPE_CHECKING:
    from collections.abc import Iterator

Reply = tuple[int, bytes]
READY: dict[str, Reply] = {
    "/v2/health/live": (200, b""),
    "/v2/health/ready": (200, b""),
    "/v1/models": (200, b'{"data": [{"id": "org/one"}, {"id": "two"}]}'),
    "/v2/models/org%2Fone/ready": (200, b""),
    "/v2/models/two/ready": (200, b""),
}
CHECKS = ["live", "ready", "models", "model org/one", "embedding by org/one", "model two", "embedding by two"]


class Endpoint(ThreadingHTTPServer):
    """A server of fixed replies; 404 to all else, and 503 to its first `sick` requests."""

    daemon_threads = True

    def __init__(self, replies: dict[str, Reply], *, sick: int = 0) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.replies = replies
        self.sick = sick
        self.vectors = np.eye(1, 4, dtype=np.float32)
        self.asked: list[str] = []
        self.keys: set[str | None] = set()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def answer(self, path: str, body: bytes) -> Reply:
        self.asked.append(path)
        if len(self.asked) <= self.sick:
            return 503, b""
        if path == "/v1/embeddings" and path not in self.replies:
            model = json.loads(body)["model"]
            return 200, wire.render_response(Embeddings(self.vectors, (1,), 1, (), model, None), "base64")
        return self.replies.get(path, (404, b"Not Found"))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Endpoint

    def do_GET(self) -> None:
        self._reply(b"")

    def do_POST(self) -> None:
        self._reply(self.rfile.read(int(self.headers["Content-Length"])))

    def log_message(self, *_: object) -> None: ...

    def _reply(self, body: bytes) -> None:
        self.server.keys.add(self.headers["Authorization"])
        status, content = self.server.answer(self.path, body)
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class Start:
    """Starts endpoints, and ends them with the test."""

    def __init__(self) -> None:
        self.endpoints: list[Endpoint] = []

    def __call__(self, replies: dict[str, Reply] | None = None, *, sick: int = 0) -> Endpoint:
        endpoint = Endpoint(READY if replies is None else replies, sick=sick)
        threading.Thread(target=endpoint.serve_forever, args=(0.01,)).start()
        self.endpoints.append(endpoint)
        return endpoint


@pytest.fixture
def start() -> Iterator[Start]:
    starter = Start()
    yield starter
    for endpoint in starter.endpoints:
        endpoint.shutdown()
        endpoint.server_close()


@pytest.fixture
def nowhere() -> Iterator[str]:
    """A URL where nothing listens, and nothing can begin to."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


def results(report: HealthReport) -> dict[str, bool | None]:
    return {check.name: check.ok for check in report.checks}


def test_a_healthy_server_passes_every_check_for_each_model(start: Start) -> None:
    endpoint = start()
    report = check_health(endpoint.url)
    assert results(report) == dict.fromkeys(CHECKS, True)
    assert list(results(report)) == CHECKS
    assert (report.url, report.healthy, report.problem) == (endpoint.url, True, "")
    assert report.checks[4].detail.startswith("4 dimensions, ")


def test_one_model_alone_is_checked(start: Start) -> None:
    endpoint = start()
    assert list(results(check_health(endpoint.url, model="two"))) == [*CHECKS[:3], *CHECKS[5:]]
    assert not any("org" in path for path in endpoint.asked)


def test_a_model_that_is_not_served_is_told_with_those_that_are(start: Start) -> None:
    report = check_health(start().url, model="e5")
    assert not report.healthy
    assert report.problem == "models: 'e5' is not among org/one, two"


def test_where_nothing_listens_one_check_says_so(nowhere: str) -> None:
    report = check_health(nowhere)
    assert results(report) == {"live": False}
    assert "Nothing answers" in report.problem


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v2/health/live", "live"),
        ("/v2/health/ready", "ready"),
        ("/v2/models/org%2Fone/ready", "model org/one"),
        ("/v1/embeddings", "embedding by org/one"),
    ],
)
def test_each_check_can_fail_alone(start: Start, path: str, name: str) -> None:
    report = check_health(start(READY | {path: (503, b"")}).url)
    assert report.problem.startswith(f"{name}: ")
    assert "503" in report.problem


def test_a_model_that_is_listed_but_not_there_is_a_failure(start: Start) -> None:
    report = check_health(start(READY | {"/v2/models/two/ready": (404, b"")}).url)
    assert report.problem == "model two: HTTP 404"


@pytest.mark.parametrize("status", [400, 404, 405])
def test_routes_that_a_server_does_not_offer_are_skipped(start: Start, status: int) -> None:
    replies = {path: reply if path == "/v1/models" else (status, b"") for path, reply in READY.items()}
    report = check_health(start(replies).url)
    assert report.healthy
    assert results(report) == {name: True if name == "models" or "embedding" in name else None for name in CHECKS}


def test_a_named_model_is_tried_where_models_are_not_listed(start: Start) -> None:
    report = check_health(start({}).url, model="mine")
    assert results(report) == {
        "live": None,
        "ready": None,
        "models": None,
        "model mine": None,
        "embedding by mine": True,
    }
    assert report.healthy


def test_a_server_that_embeds_nothing_is_not_healthy(start: Start) -> None:
    report = check_health(start({}).url)
    assert not report.healthy
    assert "--model" in report.problem


@pytest.mark.parametrize("listing", [b'{"data": []}', b"{", b"[]", b'{"data": 1}', b'{"data": [{"name": "x"}]}'])
def test_a_server_of_no_known_models_is_not_healthy(start: Start, listing: bytes) -> None:
    report = check_health(start(READY | {"/v1/models": (200, listing)}).url)
    assert not report.healthy
    assert report.problem.startswith("models: ")


def test_a_refused_key_is_a_failure_and_a_given_one_is_sent(start: Start) -> None:
    refusing = start(READY | {"/v1/models": (401, b'{"error": {"message": "no key"}}')})
    assert "401" in check_health(refusing.url).problem
    endpoint = start()
    assert check_health(endpoint.url, api_key="secret").healthy
    assert endpoint.keys == {"Bearer secret"}


@pytest.mark.parametrize("vector", [[0.0, 0.0], [float("nan"), 1.0], [float("inf"), 1.0]])
def test_a_vector_of_no_use_is_a_failure(start: Start, vector: list[float]) -> None:
    endpoint = start()
    endpoint.vectors = np.array([vector], dtype=np.float32)
    assert check_health(endpoint.url).problem.startswith("embedding by org/one: ")


def test_the_v3_path_of_a_url_is_kept(start: Start) -> None:
    replies = {path.replace("/v1/", "/v3/"): reply for path, reply in READY.items()}
    row = wire.render_response(Embeddings(np.eye(1, 4, dtype=np.float32), (1,), 1, (), "two", None), "base64")
    assert check_health(start(replies | {"/v3/embeddings": (200, row)}).url + "/v3", model="two").healthy


def test_what_is_no_url_is_refused() -> None:
    with pytest.raises(InputError, match="is no"):
        check_health("localhost:8090")


def test_waiting_ends_once_the_server_is_healthy(start: Start) -> None:
    endpoint = start(sick=2)
    seen: list[str] = []
    report = wait_healthy(endpoint.url, 60, on_wait=lambda sick: seen.append(sick.problem))
    assert report.healthy
    assert seen == ["live: HTTP 503"] * 2


def test_waiting_for_nothing_asks_once_and_gives_the_last_report(nowhere: str) -> None:
    seen: list[HealthReport] = []
    report = wait_healthy(nowhere, 0, on_wait=seen.append)
    assert (report.healthy, seen) == (False, [])


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["health", *arguments])
    return result.exit_code, result.stdout, result.stderr


def test_the_command_shows_a_table_and_ends_with_0(start: Start) -> None:
    code, shown, said = run(start().url)
    assert (code, said) == (0, "")
    assert [line.split("  ")[0].strip() for line in shown.splitlines()[2:] if line.strip()] == CHECKS
    assert "FAILED" not in shown


def test_the_command_ends_with_1_for_a_sick_server(start: Start) -> None:
    code, shown, _ = run(start(sick=99).url)
    assert code == 1
    assert "FAILED" in shown


def test_the_command_ends_with_1_where_nothing_listens(nowhere: str) -> None:
    code, shown, _ = run(nowhere)
    assert code == 1
    assert "Nothing answers" in shown


def test_the_command_ends_with_1_for_a_model_that_is_not_there(start: Start) -> None:
    assert run(start().url, "--model", "e5")[0] == 1


def test_the_command_ends_with_3_when_waiting_was_in_vain(nowhere: str) -> None:
    assert run(nowhere, "--wait", "0")[0] == 3


def test_the_command_waits_until_the_server_is_healthy(start: Start) -> None:
    code, shown, said = run(start(sick=2).url, "--wait", "60")
    assert (code, said) == (0, "")
    assert "FAILED" not in shown


def test_json_is_one_object_of_a_stable_shape(start: Start, nowhere: str) -> None:
    endpoint = start({"/v1/models": READY["/v1/models"]})
    code, shown, _ = run(endpoint.url, "--json", "--model", "two")
    report: dict[str, Any] = json.loads(shown)
    assert code == 0
    assert set(report) == {"url", "healthy", "checks"}
    assert (report["url"], report["healthy"]) == (endpoint.url, True)
    assert [(check["name"], check["ok"]) for check in report["checks"]] == [
        ("live", None),
        ("ready", None),
        ("models", True),
        ("model two", None),
        ("embedding by two", True),
    ]
    assert all(set(check) == {"name", "ok", "detail"} for check in report["checks"])
    code, shown, _ = run(nowhere, "--json")
    assert (code, json.loads(shown)["healthy"]) == (1, False)


def test_markup_in_what_a_server_says_is_text(start: Start) -> None:
    listing = json.dumps({"data": [{"id": "[red]x"}]}).encode()
    code, shown, _ = run(start({"/v1/models": (200, listing)}).url)
    assert code == 0
    assert "[red]x" in shown
