"""Keys, TLS, time limits, draining, logs and metrics of the server as a process of its own, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import openai
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families  # noqa: TID253

from ovembed.errors import InputError, ServerError
from ovembed.http import descriptors
from ovembed.http.certificate import expiry
from ovembed.http.tls import Tls
from tests.test_serve_process import (
    PATIENCE_S,
    Server,
    address,
    command,
    post,
    run_and_fail,
    served,
    time_it_is_read,
    wait_until,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ovembed.repository import ModelRepository

BODY = json.dumps({"input": "a"}).encode()


@contextlib.contextmanager
def tiny(repository: ModelRepository, folder: Path, *arguments: str) -> Iterator[Server]:
    with served(repository, folder, "--model", "tiny", *arguments) as server:
        yield server


def connect(server: Server) -> socket.socket:
    return socket.create_connection(address(server.url), timeout=PATIENCE_S)


def read_all(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(1 << 16), b""))


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text("key-of-alice\nkey-of-bob  # leaves in May\n")
    return path


def test_openai_s_client_needs_one_of_the_keys_and_health_does_not(
    repository: ModelRepository, tmp_path: Path, key_file: Path
) -> None:
    with tiny(repository, tmp_path, "--api-key-file", str(key_file)) as server:

        def embed(key: str) -> list[float]:
            with openai.OpenAI(
                base_url=f"{server.url}/v1", api_key=key, http_client=httpx.Client(trust_env=False, timeout=PATIENCE_S)
            ) as client:
                return client.embeddings.create(model="tiny", input="a").data[0].embedding

        assert embed("key-of-alice") == embed("key-of-bob")
        with pytest.raises(openai.AuthenticationError, match="valid key"):
            embed("key-of-mallory")
        key_file.write_text("key-of-alice\n")
        embed("key-of-alice")
        with pytest.raises(openai.AuthenticationError):
            embed("key-of-bob")
        with server.client() as client:
            for path in ("/health", "/metrics", "/v1/models"):
                assert client.get(path).status_code == 200


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_logs_tell_every_request_but_no_text_and_no_key(
    repository: ModelRepository, tmp_path: Path, key_file: Path, log_format: str
) -> None:
    arguments = ["--api-key-file", str(key_file), "--access-log", "--log-format", log_format]
    if log_format == "text":
        arguments.append("--quiet")
    with tiny(repository, tmp_path, *arguments) as server:
        with server.client() as client:
            for key in ("key-of-alice", "wrong-key"):
                headers = {"Authorization": f"Bearer {key}", "X-Request-ID": f"id-{len(key)}"}
                client.post("/v1/embeddings?api_key=key-in-query", json={"input": "my private words"}, headers=headers)
        key_file.write_text("")
        with server.client() as client:
            client.post("/v1/embeddings", headers={"Authorization": "Bearer key-of-bob"}, content=b"private {")
        code, talk = server.stop()
    assert code == 0
    for secret in ("key-of", "wrong-key", "key-in-query", "private"):
        assert secret not in talk
    lines = talk.splitlines()
    if log_format == "json":
        entries = [json.loads(line) for line in lines]
        requests = [entry for entry in entries if entry["logger"] == "ovembed.access"]
        assert [(entry["status"], entry["request_id"]) for entry in requests[:2]] == [(200, "id-12"), (401, "id-9")]
        assert {entry["path"] for entry in requests} == {"/v1/embeddings"}
        [warning] = [entry for entry in entries if entry["level"] == "WARNING"]
        assert "holds no key" in warning["message"]
        said = [entry["message"] for entry in entries if entry["logger"] == "ovembed.cli.output"]
        assert said[0].startswith("tiny: fp32")
        assert said[1].startswith(f"Serving on {server.url}")
        assert said[2:] == ["Stopped."]
    else:
        assert "method=POST path=/v1/embeddings status=200" in lines[0]
        assert "request_id=id-12" in lines[0]
        assert "status=401" in lines[1]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--api-key-file", "{folder}/none"), "none cannot be read"),
        (("--api-key-file", "{folder}/empty"), "empty holds no key"),
        (("--tls-key", "{folder}/empty"), "--tls-cert"),
        (("--tls-cert", "{folder}/empty"), "cannot be used for TLS"),
        (("--tls-cert", "{folder}/none"), "cannot be used for TLS (No such file or directory)"),
    ],
)
def test_files_that_cannot_be_used_are_told_before_models_are_loaded(
    repository: ModelRepository, tmp_path: Path, arguments: tuple[str, ...], expected: str
) -> None:
    (tmp_path / "empty").touch()
    filled = [argument.format(folder=tmp_path) for argument in arguments]
    assert expected in run_and_fail(repository, "--model", "tiny", "--port", "0", *filled)


needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not here")


def make_pair(folder: Path, *options: str) -> tuple[Path, Path]:
    """A certificate of this machine, and its key."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    folder.mkdir(exist_ok=True)
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(cert), *(options or ["-nodes"])),
        ],
        capture_output=True,
        check=True,
    )
    return cert, key


@needs_openssl
@pytest.mark.parametrize("in_one_file", [True, False])
def test_tls_with_a_certificate_that_is_renewed_meanwhile(
    repository: ModelRepository, tmp_path: Path, in_one_file: bool
) -> None:
    def put(cert: Path, key: Path) -> None:
        served_cert.write_bytes(cert.read_bytes() + (key.read_bytes() if in_one_file else b""))
        served_key.write_bytes(key.read_bytes())

    served_cert, served_key = tmp_path / "cert.pem", tmp_path / "key.pem"
    first, second = make_pair(tmp_path / "first"), make_pair(tmp_path / "second")
    put(*first)
    arguments = ["--tls-cert", str(served_cert), *([] if in_one_file else ["--tls-key", str(served_key)])]
    trust = ssl.create_default_context(cafile=str(first[0]))
    with tiny(repository, tmp_path, *arguments) as server:
        assert server.url.startswith("https://127.0.0.1:")
        with httpx.Client(trust_env=False, verify=trust, base_url=server.url, timeout=PATIENCE_S) as client:
            assert client.post("/v1/embeddings", json={"input": "a"}).status_code == 200
            put(*second)
            wait_until(lambda: ssl.get_server_certificate(address(server.url)) == second[0].read_text())
            assert client.post("/v1/embeddings", json={"input": "a"}).status_code == 200
        with connect(server) as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert not connection.recv(1000).startswith(b"HTTP/1.1 200")
        assert server.stop()[0] == 0


@needs_openssl
def test_a_certificate_without_its_key_is_told_once_and_the_one_before_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ovembed.http.tls._POLL_S", 0)
    cert, key = make_pair(tmp_path / "first")
    next_cert, next_key = make_pair(tmp_path / "next")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)

    async def scenario() -> None:
        async with await asyncio.start_server(lambda *_: None, "127.0.0.1", ssl=context) as server:
            here = server.sockets[0].getsockname()
            following = asyncio.create_task(Tls(cert, key).follow(context))
            for renewed in (cert, key):
                before = await asyncio.to_thread(ssl.get_server_certificate, here)
                shutil.copy(next_cert if renewed is cert else next_key, renewed)
                while len(caplog.records) < (1 if renewed is cert else 2):
                    await asyncio.sleep(0)
            assert before != next_cert.read_text()
            assert await asyncio.to_thread(ssl.get_server_certificate, here) == next_cert.read_text()
            following.cancel()

    with caplog.at_level("INFO"):
        asyncio.run(asyncio.wait_for(scenario(), PATIENCE_S))
    told, renewed = [record.getMessage() for record in caplog.records if record.name.startswith("ovembed.http.")]
    assert "the key is not that of the certificate" in told
    assert "has changed" in renewed


@needs_openssl
def test_tls_files_that_do_not_go_together_are_told(tmp_path: Path) -> None:
    cert, key = make_pair(tmp_path / "ours")
    _, other = make_pair(tmp_path / "other")
    _, locked = make_pair(tmp_path / "locked", "-passout", "pass:x")
    Tls(cert, key).check()
    for wrong, problem in ((other, "not that of the cert"), (locked, "key is encrypted"), (None, "do not hold")):
        with pytest.raises(InputError, match=problem):
            Tls(cert, wrong).check()


@needs_openssl
def test_a_certificate_that_has_expired_is_told_with_its_date(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cert, key = make_pair(tmp_path)
    Tls(cert, key).check()
    assert not caplog.records
    past = tmp_path / "past.pem"
    command = ["openssl", "x509", "-in", str(cert), "-signkey", str(key), "-days", "-1", "-out", str(past)]
    subprocess.run(command, capture_output=True, check=True)
    both = tmp_path / "both.pem"
    both.write_bytes(key.read_bytes() + past.read_bytes() + cert.read_bytes())
    Tls(both).check()
    [told] = [record.getMessage() for record in caplog.records]
    assert f"{both} expired on {datetime.now(UTC) - timedelta(days=1):%F}" in told


def test_a_file_without_a_certificate_expires_never() -> None:
    assert expiry(b"") is None
    assert expiry(b"-----END CERTIFICATE-----\n-----BEGIN CERTIFICATE-----") is None


def test_a_server_that_cannot_start_says_so_in_json_where_its_log_is_json(repository: ModelRepository) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for arguments, told in (
            (["--model", "e5"], "'e5'"),
            (["--model", "tiny", "--port", str(taken.getsockname()[1])], "is in use"),
        ):
            line = [*command(repository, *arguments), "--log-format", "json"]
            result = subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
            assert (result.returncode, result.stdout) == (1, "")
            [entry] = map(json.loads, result.stderr.splitlines())
            assert entry["level"] == "ERROR"
            assert told in entry["message"]


def test_a_limit_of_files_that_no_server_can_do_with_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (16, 16))
    with pytest.raises(ServerError, match="Only 16 files may be open"):
        descriptors.lift_limit()


def test_a_lack_of_files_is_told_of_now_and_then(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none_left(_: int) -> int:
        raise OSError(errno.EMFILE, "")

    shortage = descriptors.Shortage()
    shortage.look()
    assert not caplog.records
    monkeypatch.setattr(os, "dup", none_left)
    shortage.look()
    shortage.look()
    assert len(caplog.records) == 1
    monkeypatch.setattr(descriptors, "_TELL_EVERY_S", 0)
    shortage.look()
    assert len(caplog.records) == 2


def status_until(server: Server, path: str, wanted: int) -> httpx.Response:
    """Ask anew, each time on a connection of its own, until the answer is that one."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        response = server.get(path)
        if response.status_code == wanted:
            return response
    raise AssertionError(f"{path} never answered {wanted}")


def test_told_to_stop_it_says_so_and_finishes_what_it_has(repository: ModelRepository, tmp_path: Path) -> None:
    with tiny(repository, tmp_path) as server:
        with connect(server) as connection:
            connection.sendall(post(BODY) + BODY[:5])
            time_it_is_read(server)
            server.process.send_signal(signal.SIGTERM)
            status_until(server, "/v2/health/ready", 503)
            assert server.get("/v2/health/live").status_code == 200
            assert server.get("/health").status_code == 503
            refused = server.post("/v1/embeddings", json={"input": "b"})
            assert refused.status_code == 503
            assert refused.json()["error"]["code"] == "shutting_down"
            assert "Retry-After" in refused.headers
            assert refused.headers["Connection"] == "close"
            connection.sendall(BODY[5:])
            reply = read_all(connection)
            assert reply.startswith(b"HTTP/1.1 200")
            assert b"connection: close\r\n" in reply
        _, talk = server.process.communicate(timeout=PATIENCE_S)
    assert server.process.returncode == 0
    assert talk.splitlines()[-1] == "Stopped."


def test_after_the_grace_it_ends_whatever_runs(repository: ModelRepository, tmp_path: Path) -> None:
    with tiny(repository, tmp_path, "--grace", "0.2") as server, connect(server) as connection:
        connection.sendall(post(BODY) + BODY[:5])
        time_it_is_read(server)
        code, talk = server.stop()
        assert code == 0
        assert "Traceback" not in talk
        assert read_all(connection).startswith(b"HTTP/1.1 503")


def test_an_idle_server_stops_at_once_though_connections_are_open(repository: ModelRepository, tmp_path: Path) -> None:
    with tiny(repository, tmp_path, "--grace", "3600") as server, connect(server) as idle, connect(server) as used:
        used.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert used.recv(10_000).startswith(b"HTTP/1.1 200")
        assert server.stop()[0] == 0
        assert idle.recv(1) == b""


@pytest.fixture(scope="module")
def impatient(repository: ModelRepository, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with tiny(repository, tmp_path_factory.mktemp("impatient"), "--body-timeout", "0.5") as server:
        yield server


@pytest.mark.parametrize("sent", [b"", BODY[:5]])
def test_a_body_that_does_not_come_is_408_and_hung_up(impatient: Server, sent: bytes) -> None:
    with connect(impatient) as connection:
        connection.sendall(post(BODY) + sent)
        reply = read_all(connection)
    assert reply.startswith(b"HTTP/1.1 408")
    assert b'"code":"request_timeout"' in reply


@pytest.mark.parametrize("sent", [b"", b"POST /v1/embed", b"GET /health HTTP/1.1\r\nHost: local"])
def test_a_connection_without_a_request_is_closed(impatient: Server, sent: bytes) -> None:
    with connect(impatient) as connection:
        connection.sendall(sent)
        assert connection.recv(1) == b""


def test_a_client_that_does_not_read_its_reply_is_hung_up_on(impatient: Server) -> None:
    body = json.dumps({"input": ["a b c"] * 15_000}).encode()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(PATIENCE_S)
        connection.connect(address(impatient.url))
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        reply = b""
        while not reply.endswith(b"}"):  # then the server has accepted the connection
            reply += connection.recv(4096)
        connection.sendall(post(body) + body)
        port = connection.getsockname()[1]
        deadline = time.monotonic() + PATIENCE_S
        while port in ports_of_clients(impatient):
            assert time.monotonic() < deadline, "the server waits for ever"
            time.sleep(0.01)
        head, _, content = read_all(connection).partition(b"\r\n\r\n")
    [length] = [int(line.split()[1]) for line in head.splitlines() if line.startswith(b"content-length")]
    assert head.startswith(b"HTTP/1.1 200")
    if largest_send_buffer() < length:
        assert len(content) < length


def largest_send_buffer() -> int:
    """Bytes that the kernel takes of a reply which nobody reads."""
    return int(Path("/proc/sys/net/ipv4/tcp_wmem").read_text().split()[2])


def ports_of_clients(server: Server) -> set[int]:
    connections = psutil.Process(server.process.pid).net_connections("tcp")
    return {each.raddr.port for each in connections if each.raddr}


def test_a_request_above_the_time_limit_is_504(repository: ModelRepository, tmp_path: Path) -> None:
    with served(repository, tmp_path, "--model", "minilm", "--timeout", "0.5") as server:
        response = server.post("/v1/embeddings", json={"input": ["word " * 250] * 500})
        assert response.status_code == 504
        assert response.json()["error"]["code"] == "timeout"
        assert server.stop()[0] == 0


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: \x00\r\n\r\n",
        b"POST /v1/embeddings HTTP/9\r\n\r\n",
    ],
)
def test_broken_clients_get_400_and_hold_nothing(impatient: Server, sent: bytes) -> None:
    with connect(impatient) as connection:
        connection.sendall(sent)
        assert read_all(connection)[:12] in (b"HTTP/1.1 400", b"")
    status_until(impatient, "/health", 200)


def test_metrics_can_be_read_under_load(repository: ModelRepository, tmp_path: Path) -> None:
    texts = [f"text {number}" for number in range(20)]
    statuses: list[int] = []

    def call(server: Server) -> None:
        with server.client() as client:
            statuses.extend(client.post("/v1/embeddings", json={"input": texts}).status_code for _ in range(10))

    with tiny(repository, tmp_path) as server:
        callers = [threading.Thread(target=call, args=(server,)) for _ in range(4)]
        for caller in callers:
            caller.start()
        counts = [texts_embedded(server)]
        while any(caller.is_alive() for caller in callers):
            counts.append(texts_embedded(server))
        for caller in callers:
            caller.join(PATIENCE_S)
        counts.append(texts_embedded(server))
    assert statuses == [200] * 40
    assert counts == sorted(counts)
    assert counts[-1] == 40 * len(texts)


def texts_embedded(server: Server) -> float:
    page = server.get("/metrics").text
    samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
    [count] = [sample.value for sample in samples if sample.name == "ovembed_texts_total"]
    return count
