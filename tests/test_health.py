from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from typer.testing import CliRunner

from ovembed import ModelRepository, wire
from ovembed.cli.main import app
from ovembed.errors import InputError
from ovembed.launch import HealthReport, Reference, check_health, local_server, wait_healthy
from ovembed.protocols import Embeddings
from ovembed.repository import read_golden

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ovembed.protocols import Vectors

Reply = tuple[int, bytes]
READY: dict[str, Reply] = {
    "/v2": (200, b'{"name": "ovembed", "version": "0.1.0"}'),
    "/v2/health/live": (200, b""),
    "/v2/health/ready": (200, b""),
    "/v1/models": (200, b'{"data": [{"id": "org/one"}, {"id": "two"}]}'),
    "/v2/models/org%2Fone/ready": (200, b""),
    "/v2/models/two/ready": (200, b""),
}
CHECKS = [
    "reachable",
    "live",
    "ready",
    "models",
    "model org/one",
    "embedding by org/one",
    "model two",
    "embedding by two",
]


class Endpoint(ThreadingHTTPServer):
    """A server of fixed replies; 404 to all else, and 503 to whether it lives, the first `sick` times.

    It embeds every text as `rows` has it, else as `vectors`.
    """

    daemon_threads = True

    def __init__(self, replies: dict[str, Reply], *, sick: int = 0) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.replies = replies
        self.sick = sick
        self.rows: dict[str, Vectors] = {}
        self.vectors = np.eye(1, 4, dtype=np.float32)
        self.asked: list[str] = []
        self.keys: set[str | None] = set()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def answer(self, path: str, body: bytes) -> Reply:
        self.asked.append(path)
        if self.asked.count(path) <= self.sick and path == "/v2/health/live":
            return 503, b""
        if path.endswith("/embeddings") and path not in self.replies:
            fields = json.loads(body)
            row = self.rows.get(fields["input"][0], self.vectors)
            return 200, wire.render_response(Embeddings(row, (1,), 1, (), fields["model"], None), "base64")
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


def results(report: HealthReport) -> dict[str, bool | None]:
    return {check.name: check.ok for check in report.checks}


def test_a_healthy_server_passes_every_check_for_each_model(start: Start) -> None:
    endpoint = start()
    report = check_health(endpoint.url)
    assert results(report) == dict.fromkeys(CHECKS, True)
    assert list(results(report)) == CHECKS
    assert (report.url, report.healthy, report.problem) == (endpoint.url, True, "")
    assert report.checks[5].detail.startswith("4 dimensions, ")


def test_one_model_alone_is_checked(start: Start) -> None:
    endpoint = start()
    assert list(results(check_health(endpoint.url, model="two"))) == [*CHECKS[:4], *CHECKS[6:]]
    assert not any("org" in path for path in endpoint.asked)


def test_a_model_that_is_not_served_is_told_with_those_that_are(start: Start) -> None:
    report = check_health(start().url, model="e5")
    assert not report.healthy
    assert report.problem == "models: 'e5' is not among org/one, two"


def test_where_nothing_listens_one_check_says_so(nowhere: str) -> None:
    report = check_health(nowhere)
    assert results(report) == {"reachable": False}
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
    assert results(report) == {
        name: True if name in {"reachable", "models"} or "embedding" in name else None for name in CHECKS
    }


def test_a_named_model_is_tried_where_models_are_not_listed(start: Start) -> None:
    report = check_health(start({}).url, model="mine")
    assert results(report) == {
        "reachable": True,
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
        ("reachable", True),
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


NOT_LOADED = (404, b'{"error": "Model with requested version is not loaded yet"}')
NO_SUCH = (404, b'{"error": "Model with requested name is not found"}')
AVAILABLE = {"model_version_status": [{"version": "1", "state": "AVAILABLE"}]}
RETIRED = {"model_version_status": [{"version": "1", "state": "END"}]}
PARTS = ("org/one_tokenizer_model", "org/one_embeddings_model")


def ovms(version: str, *models: str) -> dict[str, Reply]:
    """What an OVMS of that version answers to GET, all of `models` being loaded."""
    about = json.dumps({"name": "OpenVINO Model Server", "version": version}).encode()
    config = dict.fromkeys(models, AVAILABLE) | {"old": RETIRED}
    return {
        "/v2": (200, about),
        "/v2/health/live": (200, b""),
        "/v2/health/ready": (200, b""),
        "/v1/config": (200, json.dumps(config).encode()),
        **{f"/v2/models/{name.replace('/', '%2F')}/ready": (200, b"") for name in models},
        **{f"/v2/models/{name.replace('/', '%2F')}/ready": NO_SUCH for name in {*PARTS} - {*models}},
    }


def test_a_classic_ovms_is_asked_for_the_models_behind_the_graph(start: Start) -> None:
    report = check_health(start(ovms("2025.0", "org/one", *PARTS)).url)
    assert results(report) == dict.fromkeys([*CHECKS[:5], *(f"model {part}" for part in PARTS), CHECKS[5]], True)
    assert report.checks[0].detail == "OpenVINO Model Server 2025.0"
    assert report.checks[3].detail == "org/one"


@pytest.mark.parametrize("part", PARTS)
def test_a_model_behind_the_graph_that_failed_to_load_is_a_failure(start: Start, part: str) -> None:
    replies = ovms("2025.0", "org/one", *PARTS) | {f"/v2/models/{part.replace('/', '%2F')}/ready": NOT_LOADED}
    assert check_health(start(replies).url, model="org/one").problem == f"model {part}: HTTP 404"


@pytest.mark.parametrize("version", ["2025.2", "2025.4.1", "2026.3"])
def test_a_newer_ovms_is_asked_by_its_own_routes(start: Start, version: str) -> None:
    endpoint = start(ovms(version, "org/one"))
    report = check_health(endpoint.url)
    assert report.healthy, report.problem
    assert "model org/one" in results(report)
    assert not any(part in name for part in PARTS for name in results(report))
    assert "/v3/embeddings" in endpoint.asked
    assert "/v1/embeddings" not in endpoint.asked


def test_a_graph_that_failed_to_load_is_found_though_no_list_has_it(start: Start) -> None:
    replies = ovms("2026.3", "org/one", "two") | {"/v2/models/two/ready": NOT_LOADED}
    assert check_health(start(replies).url).problem == "model two: HTTP 404"


def test_the_opea_gateway_is_known_by_its_health_check_and_has_one_model(start: Start) -> None:
    endpoint = start({"/v1/health_check": (200, b'{"Service Title": "opea_service@embedding", "Version": "1.5"}')})
    report = check_health(endpoint.url)
    assert report.healthy, report.problem
    assert report.checks[0].detail == "OPEA embedding gateway"
    assert [check.ok for check in report.checks] == [True, True, None, None, None, True]


def test_tei_is_known_by_what_it_tells_of_itself(start: Start) -> None:
    endpoint = start({"/info": (200, b'{"model_id": "org/m", "max_client_batch_size": 32}'), "/health": (200, b"")})
    report = check_health(endpoint.url)
    assert report.healthy, report.problem
    assert report.checks[0].detail == "text-embeddings-inference"
    assert results(report)["embedding by org/m"]


@pytest.fixture
def recorded(start: Start, repository: ModelRepository) -> Endpoint:
    """An endpoint that gives the recorded vectors of `tiny`, under the name `served`, and tells no fingerprint."""
    golden = read_golden(repository.get("tiny").folder)
    endpoint = start(READY | {"/v1/models": (200, b'{"data": [{"id": "tiny"}]}'), "/v2/models/tiny/ready": (200, b"")})
    endpoint.rows = {text: row[None] for text, row in zip(golden.texts, golden.exported, strict=True)}
    return endpoint


def deep(endpoint: Endpoint, repository: ModelRepository, name: str | None = None) -> tuple[bool, str]:
    """Whether the server is healthy, and what the comparison says."""
    report = check_health(endpoint.url, reference=Reference(repository, name))
    assert report.checks[-1].name == "vectors of tiny"
    return report.healthy, report.checks[-1].detail


def test_the_vectors_of_the_export_pass(recorded: Endpoint, repository: ModelRepository) -> None:
    healthy, said = deep(recorded, repository)
    assert healthy
    assert said == "lowest cosine 1.00000 over 16 texts to 'tiny' (fp32)"
    assert deep(recorded, repository, "tiny")[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda row: np.roll(row, 1, axis=1), "below 0.999: another pooling, another model, or damaged weights"),
        (lambda row: row + 0.1 * np.eye(1, 32, dtype=np.float32), "below 0.999"),
        (lambda row: row[:, :16], "16 dimensions, but 'tiny' has 32"),
    ],
    ids=["another model", "damaged", "cut"],
)
def test_other_vectors_under_the_right_name_are_found(
    recorded: Endpoint, repository: ModelRepository, change: Callable[[Vectors], Vectors], said: str
) -> None:
    recorded.rows = {text: change(row) for text, row in recorded.rows.items()}
    healthy, told = deep(recorded, repository)
    assert not healthy
    assert said in told


def test_another_model_of_the_repository_is_found(recorded: Endpoint, repository: ModelRepository) -> None:
    healthy, said = deep(recorded, repository, "minilm")
    assert (healthy, said) == (False, "32 dimensions, but 'minilm' has 384")


def test_the_vectors_of_the_source_pass_too(recorded: Endpoint, repository: ModelRepository) -> None:
    golden = read_golden(repository.get("tiny").folder)
    recorded.rows = {text: 2 * row[None] for text, row in zip(golden.texts, golden.source, strict=True)}
    assert deep(recorded, repository)[0]


def test_a_model_that_is_not_in_the_repository_cannot_be_compared(start: Start, repository: ModelRepository) -> None:
    report = check_health(start().url, model="two", reference=Reference(repository))
    assert not report.healthy
    assert "has no 'two' to compare with (tiny, minilm, minilm-fp32); name it with --expect" in report.problem


def test_without_a_name_to_go_by_the_only_model_of_the_repository_counts(
    recorded: Endpoint, tiny_alone: ModelRepository
) -> None:
    recorded.replies = {"/v1/health_check": (200, b'{"Service Title": "opea_service@embedding"}')}
    report = check_health(recorded.url, reference=Reference(tiny_alone))
    assert report.healthy, report.problem
    assert report.checks[-1].detail.endswith("to 'org/tiny' (fp32)")


def test_our_server_tells_which_model_it_is_by_its_fingerprint(repository: ModelRepository, tmp_path: Path) -> None:
    own = tmp_path / "config.json"
    folder = str(repository.get("tiny").folder.resolve())
    entry = {"name": "org/mine", "base_path": folder}
    own.write_text(json.dumps({"model_config_list": [], "mediapipe_config_list": [entry]}))
    with local_server(ModelRepository(repository.folder, own), "org/mine") as url:
        for arguments in ([], ["--expect", "tiny"]):
            code, shown, _ = run(url, "--deep", "--repository", str(repository.folder), "--json", *arguments)
            checks = json.loads(shown)["checks"]
            assert (code, checks[-1]["name"], checks[-1]["ok"]) == (0, "vectors of org/mine", True)
        code, shown, _ = run(url, "--deep", "-r", str(repository.folder), "--expect", "minilm")
        assert code == 1
        assert "384" in shown


def test_expecting_something_needs_deep() -> None:
    assert run("http://127.0.0.1:1", "--expect", "x")[0] == 2
