"""The server as a process of its own, the way users run it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import openai
import pytest
from tokenizers import Tokenizer

from ovembed import vectors
from ovembed.engine import OpenVINOEngine
from ovembed.errors import ModelNotFound, NotReady, ServerError
from ovembed.http import run
from ovembed.launch import local_server
from ovembed.local import LocalEmbedder
from ovembed.remote import RemoteEmbedder
from ovembed.repository import ModelRepository
from ovembed.server.run import serve
from ovembed.server.selection import Selection
from ovembed.server.settings import ServeSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE_S = 60
TEXTS = ["The river flooded the town.", "cheap flights", "Grüße aus Köln", "word " * 120, "a"]


class Server:
    """A running `ovembed serve` whose models are loaded."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, trust_env=False, timeout=PATIENCE_S)

    def get(self, path: str) -> httpx.Response:
        """On a connection of its own."""
        with self.client() as client:
            return client.get(path)

    def post(self, path: str, **arguments: Any) -> httpx.Response:
        """On a connection of its own."""
        with self.client() as client:
            return client.post(path, **arguments)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Its exit code, and what it said on stderr."""
        self.process.send_signal(number)
        _, talk = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, talk


def command(repository: ModelRepository, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "ovembed", "serve", "--repository", str(repository.folder), *arguments]


@contextlib.contextmanager
def served(repository: ModelRepository, folder: Path, *arguments: str) -> Iterator[Server]:
    url_file = folder / "url"
    process = subprocess.Popen(
        command(repository, "--port", "0", "--url-file", str(url_file), *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield Server(process, wait_for_url(process, url_file))
        finally:
            process.kill()


def wait_for_url(process: subprocess.Popen[str], url_file: Path) -> str:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if url_file.exists():
            return url_file.read_text().strip()
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    raise AssertionError("the server did not become ready")


def run_and_fail(repository: ModelRepository, *arguments: str) -> str:
    """The one line that a server which cannot start says; its exit code is 1 and stdout is empty."""
    result = subprocess.run(
        command(repository, *arguments), capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert (result.returncode, result.stdout) == (1, ""), result.stderr
    assert result.stderr.startswith("ovembed: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


@pytest.fixture(scope="module")
def server(repository: ModelRepository, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with served(repository, tmp_path_factory.mktemp("served"), "--model", "minilm", "--model", "minilm-fp32") as server:
        yield server


@pytest.fixture(scope="module")
def fp32(repository: ModelRepository) -> Iterator[LocalEmbedder]:
    engine = OpenVINOEngine.load(repository.get("minilm-fp32"))
    with LocalEmbedder(engine, "minilm-fp32") as embedder:
        yield embedder


def test_openai_s_client_gets_the_vectors_of_the_model(server: Server, fp32: LocalEmbedder) -> None:
    with openai.OpenAI(
        base_url=f"{server.url}/v1", api_key="none", http_client=httpx.Client(trust_env=False, timeout=PATIENCE_S)
    ) as client:
        reply = client.embeddings.create(model="minilm-fp32", input=TEXTS)
        plain = client.embeddings.create(model="minilm-fp32", input=TEXTS, encoding_format="float")
        assert [model.id for model in client.models.list()] == ["minilm", "minilm-fp32"]
        with pytest.raises(openai.NotFoundError, match="No model 'e5'"):
            client.embeddings.create(model="e5", input="a")
        with pytest.raises(openai.BadRequestError, match="but the model takes 256"):
            client.embeddings.create(model="minilm", input="word " * 300)
    rows = np.array([item.embedding for item in reply.data], dtype=np.float32)
    assert (vectors.cosine(rows, fp32.embed(TEXTS).vectors) >= 0.999999).all()
    np.testing.assert_allclose(rows, [item.embedding for item in plain.data], atol=1e-5)


def test_vectors_over_http_equal_those_in_this_process(server: Server, fp32: LocalEmbedder) -> None:
    here = fp32.embed(TEXTS)
    with RemoteEmbedder(server.url, model="minilm-fp32") as remote:
        there = remote.embed(TEXTS)
    assert (vectors.cosine(here.vectors, there.vectors) >= 0.999999).all()
    assert (here.tokens, here.fingerprint) == (there.tokens, there.fingerprint)


@pytest.mark.parametrize("dialect", ["v1", "v3"])
def test_token_input_gives_the_vectors_of_the_same_text(server: Server, fp32: LocalEmbedder, dialect: str) -> None:
    with httpx.Client(base_url=f"{server.url}/{dialect}", trust_env=False, timeout=PATIENCE_S) as client:
        reply = client.post(f"{server.url}/v3/tokenize", json={"model": "minilm-fp32", "text": TEXTS}).json()
        ids = reply["tokens"]
        reply = client.post("embeddings", json={"model": "minilm-fp32", "input": ids}).json()
    assert ids == fp32.engine.tokenize(TEXTS)
    rows = np.array([item["embedding"] for item in reply["data"]], dtype=np.float32)
    assert (vectors.cosine(rows, fp32.embed(TEXTS).vectors) >= 0.999999).all()


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("The river flooded the town.", {"max_length": 5}),
        ("The river flooded the town.", {"add_special_tokens": False}),
        ("", {"add_special_tokens": False}),
    ],
)
def test_tokens_are_shaped_as_the_model_s_own_tokenizer_does(
    server: Server, repository: ModelRepository, text: str, fields: dict[str, Any]
) -> None:
    own = Tokenizer.from_file(str(repository.get("minilm").tokenizer_path))
    own.no_padding()
    own.no_truncation()
    if "max_length" in fields:
        own.enable_truncation(fields["max_length"])
    ids = own.encode(text, add_special_tokens=fields.get("add_special_tokens", True)).ids
    reply = server.post("/v3/tokenize", json={"model": "minilm", "text": text} | fields)
    assert reply.json() == {"tokens": ids}


def test_head_and_body_of_a_reply_come_in_one_piece(server: Server) -> None:
    body = b'{"model": "minilm", "input": "Hello"}'
    with socket.create_connection(address(server.url), timeout=PATIENCE_S) as client:
        client.sendall(post(body) + body)
        head, _, received = client.recv(1 << 16).partition(b"\r\n\r\n")
    [length] = [int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")]
    assert len(received) == length


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not here")
def test_curl_as_in_the_readme(server: Server) -> None:
    result = subprocess.run(
        [
            *("curl", "--silent", "--noproxy", "*", f"{server.url}/v1/embeddings"),
            *("-H", "Content-Type: application/json", "-d", '{"model": "minilm", "input": "Hello"}'),
        ],
        capture_output=True,
        timeout=PATIENCE_S,
        check=True,
    )
    [item] = json.loads(result.stdout)["data"]
    assert np.linalg.norm(item["embedding"]) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_answers_what_runs_and_ends_well(
    repository: ModelRepository, tmp_path: Path, number: signal.Signals
) -> None:
    texts = ["word " * 200] * 256
    with served(repository, tmp_path, "--model", "minilm") as server:
        with socket.create_connection(address(server.url), timeout=PATIENCE_S) as connection:
            body = json.dumps({"input": texts, "encoding_format": "base64"}).encode()
            connection.sendall(post(body) + body)
            time_it_is_read(server)
            code, talk = server.stop(number)
            reply = b"".join(iter(lambda: connection.recv(1 << 20), b""))
        head, _, content = reply.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert len(json.loads(content)["data"]) == len(texts)
    assert code == 0
    assert talk.splitlines()[-1] == "Stopped."
    assert "Traceback" not in talk


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_the_loop_runs_is_not_missed(
    repository: ModelRepository, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    begin = run._Server.run

    def told_to_stop_first(server: run._Server, sockets: list[socket.socket] | None = None) -> None:
        signal.raise_signal(number)
        begin(server, sockets)

    monkeypatch.setattr(run._Server, "run", told_to_stop_first)
    rescue = threading.Timer(PATIENCE_S, signal.raise_signal, [signal.SIGTERM])
    rescue.start()
    before = signal.getsignal(number)
    serve(Selection(repository, ("tiny",)), ServeSettings(port=0))
    assert rescue.is_alive(), "the signal was missed"
    rescue.cancel()
    assert signal.getsignal(number) is before


def post(body: bytes) -> bytes:
    return (
        "POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode()


def time_it_is_read(server: Server) -> None:
    """Two more round trips on a new connection: the loop has read what was sent before."""
    with httpx.Client(trust_env=False, timeout=PATIENCE_S) as client:
        for _ in range(2):
            assert client.get(f"{server.url}/health").status_code == 200


def address(url: str) -> tuple[str, int]:
    parsed = httpx.URL(url)
    assert parsed.port is not None
    return parsed.host, parsed.port


def test_stdout_stays_empty_and_stderr_tells_the_model_and_the_url(repository: ModelRepository, tmp_path: Path) -> None:
    with served(repository, tmp_path, "--model", "tiny") as server:
        server.process.send_signal(signal.SIGTERM)
        results, talk = server.process.communicate(timeout=PATIENCE_S)
    assert results == ""
    assert "tiny: fp32, mean pooling, up to 32 tokens, 32 dimensions" in talk
    assert f"Serving on {server.url} " in talk


def test_quiet_says_nothing(repository: ModelRepository, tmp_path: Path) -> None:
    with served(repository, tmp_path, "--model", "tiny", "--quiet") as server:
        assert server.stop() == (0, "")


def test_a_model_named_twice_is_served_once(repository: ModelRepository, tmp_path: Path) -> None:
    with served(repository, tmp_path, "--model", "tiny", "--model", "tiny") as server:
        code, talk = server.stop()
    assert code == 0
    assert talk.count("tiny: ") == 1


def test_the_url_appears_once_a_connection_works_and_an_old_one_is_gone_before(
    repository: ModelRepository, tmp_path: Path
) -> None:
    (tmp_path / "url").write_text("http://127.0.0.1:1\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        run_and_fail(
            repository,
            *("--model", "tiny", "--url-file", str(tmp_path / "url"), "--port", str(taken.getsockname()[1])),
        )
    assert not (tmp_path / "url").exists()
    with (
        served(repository, tmp_path, "--model", "tiny") as server,
        socket.create_connection(address(server.url), timeout=PATIENCE_S) as connection,
    ):
        connection.sendall(b"GET /v2/health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")


def test_a_port_in_use_is_told_with_the_option_to_change(repository: ModelRepository) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = run_and_fail(repository, "--model", "tiny", "--port", str(port))
    assert f"Port {port} on 127.0.0.1 is in use" in line
    assert "--port" in line


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1"])
def test_an_address_of_another_machine_is_refused(repository: ModelRepository, host: str) -> None:
    assert host in run_and_fail(repository, "--model", "tiny", "--port", "0", "--host", host)


def test_an_unknown_model_is_told_with_those_there_are(repository: ModelRepository) -> None:
    line = run_and_fail(repository, "--model", "e5")
    assert "'e5'" in line
    assert "minilm" in line


@pytest.mark.parametrize("exists", [True, False])
def test_an_empty_repository_says_how_to_fill_it(tmp_path: Path, exists: bool) -> None:
    folder = tmp_path / "models"
    if exists:
        folder.mkdir()
    assert "ovembed export" in run_and_fail(ModelRepository(folder))


@pytest.fixture
def copied(repository: ModelRepository, tmp_path: Path) -> ModelRepository:
    return ModelRepository(shutil.copytree(repository.folder, tmp_path / "models"))


@pytest.mark.parametrize("content", [b"", b"not weights"])
def test_damaged_weights_are_told_in_one_line(copied: ModelRepository, content: bytes) -> None:
    path = copied.get("tiny").folder / "openvino_model.bin"
    path.write_bytes(content)
    assert str(path.parent) in run_and_fail(copied, "--model", "tiny", "--port", "0")


@pytest.mark.parametrize("name", ["openvino_model.xml", "openvino_model.bin", "tokenizer.json"])
def test_a_missing_file_is_told_in_one_line(copied: ModelRepository, name: str) -> None:
    (copied.get("tiny").folder / name).unlink()
    assert "tiny" in run_and_fail(copied, "--model", "tiny", "--port", "0")


def test_a_url_file_that_cannot_be_written_ends_the_server(repository: ModelRepository, tmp_path: Path) -> None:
    path = tmp_path / "nothing" / "url"
    assert str(path) in run_and_fail(repository, "--model", "tiny", "--port", "0", "--url-file", str(path))


def test_a_model_folder_that_is_replaced_while_it_is_served_changes_nothing(
    copied: ModelRepository, tmp_path: Path
) -> None:
    with served(copied, tmp_path, "--model", "tiny") as server, RemoteEmbedder(server.url) as remote:
        before = remote.embed(["a cat"]).vectors
        shutil.rmtree(copied.folder)
        np.testing.assert_array_equal(remote.embed(["a cat"]).vectors, before)


def test_weights_that_are_cut_off_while_they_are_served_change_nothing(copied: ModelRepository, tmp_path: Path) -> None:
    with served(copied, tmp_path, "--model", "tiny") as server, RemoteEmbedder(server.url) as remote:
        before = remote.embed(["a cat"]).vectors
        (copied.get("tiny").folder / "openvino_model.bin").write_bytes(b"")
        assert server.post("/v1/config/reload").status_code == 500
        np.testing.assert_array_equal(remote.embed(["a cat"]).vectors, before)


def test_changes_of_the_configuration_are_seen_and_sighup_looks_for_others(
    copied: ModelRepository, tmp_path: Path
) -> None:
    with served(copied, tmp_path) as server, server.client() as client:
        copied.remove("minilm")
        wait_until(lambda: client.get("/v2/models/minilm/ready").status_code == 404)
        folder = copied.get("tiny").folder
        shutil.copytree(folder, folder.with_name("beside"))
        shutil.rmtree(folder)
        folder.with_name("beside").rename(folder)
        os.utime(folder, (1_700_000_000, 1_700_000_000))
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: client.get("/v1/models/tiny").json()["created"] == 1_700_000_000)
        code, talk = server.stop()
    assert code == 0
    assert "minilm is no longer served" in talk
    assert talk.count("tiny is served") == 1
    assert "minilm-fp32 is served" not in talk


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_server_ends_with_the_terminal_that_it_was_started_in(
    repository: ModelRepository, tmp_path: Path, workers: str
) -> None:
    master, slave = os.openpty()
    url_file = tmp_path / "url"
    arguments = ("--model", "tiny", "--port", "0", "--url-file", str(url_file), "--workers", workers)
    with subprocess.Popen(command(repository, *arguments), stdin=slave, stderr=subprocess.PIPE, text=True) as process:
        os.close(slave)
        wait_for_url(process, url_file)
        os.close(master)
        process.send_signal(signal.SIGHUP)
        _, talk = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert talk.splitlines()[-1] == "Stopped."


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_local_server_serves_for_as_long_as_its_block(repository: ModelRepository) -> None:
    with local_server(repository, "tiny") as url, RemoteEmbedder(url) as remote:
        assert remote.model == "tiny"
        assert remote.embed(["a cat"]).vectors.shape == (1, 32)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address(url), timeout=PATIENCE_S)


def test_local_server_gives_the_server_s_own_words_when_it_fails(copied: ModelRepository) -> None:
    (copied.get("tiny").folder / "tokenizer.json").write_text("{")
    with pytest.raises(ServerError, match=r"tokenizer\.json cannot be read"), local_server(copied, "tiny"):
        pass


def test_local_server_gives_up_in_time(repository: ModelRepository) -> None:
    with pytest.raises(NotReady, match="after 0 s"), local_server(repository, "tiny", wait_s=0):
        pass


def test_local_server_ends_with_an_error_in_its_block(repository: ModelRepository) -> None:
    urls: list[str] = []

    def fail_while_it_runs() -> None:
        with local_server(repository, "tiny") as url:
            urls.append(url)
            raise ModelNotFound("somewhere else")

    with pytest.raises(ModelNotFound):
        fail_while_it_runs()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address(urls[0]), timeout=PATIENCE_S)


def test_many_clients_at_once_get_their_own_vectors(server: Server, fp32: LocalEmbedder) -> None:
    lists = [[f"{caller} and {number}" for number in range(1 + caller % 5)] for caller in range(24)]
    results: dict[int, float] = {}

    def call(caller: int) -> None:
        with RemoteEmbedder(server.url, model="minilm-fp32") as remote:
            rows = remote.embed(lists[caller]).vectors
        results[caller] = float(vectors.cosine(rows, fp32.embed(lists[caller]).vectors).min())

    callers = [threading.Thread(target=call, args=(caller,)) for caller in range(len(lists))]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(PATIENCE_S)
    assert len(results) == len(lists)
    assert min(results.values()) >= 0.999999
