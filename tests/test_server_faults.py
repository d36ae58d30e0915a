"""Whatever clients send, however many they are, whenever they leave: others are answered as ever."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import resource
import signal
import socket
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import psutil
import pytest

from tests.fakes import FakeEngine
from tests.serving import PATIENCE_S, application, expected, on_a_port, rows_of
from tests.test_serve_process import Server, address, post, served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ovembed.repository import ModelRepository

OPENAI = "/v1/embeddings"
PATHS = (OPENAI, "/v3/embeddings", "/embed")
MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def server(repository: ModelRepository, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """It has to end well after all that is done to it here."""
    with served(repository, tmp_path_factory.mktemp("faults"), "--model", "tiny") as server:
        yield server
        code, talk = server.stop()
    assert code == 0
    assert "Traceback" not in talk


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, trust_env=False, timeout=PATIENCE_S) as client:
        yield client


def vector_of(client: httpx.Client) -> list[float]:
    response = client.post(OPENAI, json={"input": "a cat"})
    assert response.status_code == 200, response.text
    return response.json()["data"][0]["embedding"]  # type: ignore[no-any-return]


def until(condition: Callable[[], bool], told: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, told
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("value", "statuses"),
    [
        (b"", (400, 412, 422)),
        (b"[" * 200_000, (400, 412, 422)),
        (b"[" * 200_000 + b"]" * 200_000, (400, 412, 422)),
        (b'{"input": ' * 50_000, (400, 412, 422)),
        (b'{"input": "\xff\xfe", "inputs": "\xff\xfe"}', (400, 412, 422)),
        (b'{"input": "\x00", "inputs": "\x00"}', (400, 412, 422)),
        (b'{"input": "\\ud800", "inputs": "\\ud800"}', (400, 412, 422)),
        (json.dumps({"input": "a\0b", "inputs": "a\0b"}).encode(), (200, 200, 200)),
        (json.dumps({"input": "w" * MEGABYTE, "inputs": "w" * MEGABYTE}).encode(), (400, 400, 413)),
        (json.dumps({"input": "w" * 900_000, "inputs": "w" * 900_000}).encode(), (200, 200, 200)),
        (json.dumps({"input": ["a"] * 5_000, "inputs": ["a"] * 5_000}).encode(), (200, 200, 200)),
        (json.dumps({"input": [""] * 5_000, "inputs": [""] * 5_000}).encode(), (400, 400, 400)),
        (json.dumps({"input": [[7] * 20_000] * 50, "inputs": [[7] * 20_000] * 50}).encode(), (400, 400, 413)),
        (b"x" * (100 * MEGABYTE), (413, 413, 413)),
    ],
    ids=[
        *("nothing", "open lists", "nested lists", "nested objects", "no UTF-8", "raw NUL", "lone surrogate", "NUL"),
        *("word above the limit", "long word", "5,000 texts", "5,000 empty texts", "a million ids", "100 MB"),
    ],
)
@pytest.mark.parametrize("path", PATHS)
def test_whatever_a_body_holds(client: httpx.Client, path: str, value: bytes, statuses: tuple[int, ...]) -> None:
    before = vector_of(client)
    response = client.post(path, content=value, headers={"Content-Type": "application/json"})
    assert response.status_code == statuses[PATHS.index(path)], response.text[:1000]
    assert response.headers["content-type"] == "application/json"
    assert ("error" in response.text[:10]) == (response.status_code != 200)
    assert vector_of(client) == before


def test_a_body_of_unknown_length_is_not_kept_when_it_is_too_large(server: Server, client: httpx.Client) -> None:
    before = memory_of(server)
    parts = (b"x" * MEGABYTE for _ in range(100))
    assert client.post(OPENAI, content=parts).status_code == 413
    assert memory_of(server) - before < 64 * MEGABYTE
    vector_of(client)


@pytest.mark.parametrize("ending", [b"", b"x" * 99], ids=["unfinished", "finished"])
def test_a_connection_is_not_kept_for_the_rest_of_a_refused_body(
    repository: ModelRepository, tmp_path: Path, ending: bytes
) -> None:
    """Nor for the next request, when the rest has come."""
    limits = ("--max-body-bytes", "50", "--body-timeout", "0.3")
    with served(repository, tmp_path, "--model", "tiny", *limits) as server, ExitStack() as stack:
        [connection] = connections(server, 1, stack)
        connection.sendall(post(b"x" * 100))
        reply = b""
        while not reply.endswith(b"}}"):
            reply += connection.recv(10_000)
        assert reply.startswith(b"HTTP/1.1 413")
        connection.sendall(b"x" + ending)
        assert connection.recv(1) == b""


def memory_of(server: Server) -> int:
    return psutil.Process(server.process.pid).memory_info().rss  # type: ignore[no-any-return]


@contextlib.contextmanager
def open_files(soft: int) -> Iterator[None]:
    """This process, and those it starts, may open so many."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def connections(server: Server, count: int, stack: ExitStack) -> list[socket.socket]:
    return [stack.enter_context(socket.create_connection(address(server.url), PATIENCE_S)) for _ in range(count)]


def test_ten_thousand_connections_that_are_held_keep_nobody_out(repository: ModelRepository, tmp_path: Path) -> None:
    """As many as the limit of this machine allows, if that is less; the usual limit at its start is no bound."""
    _, allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(10_000, allowed - 1_000)
    with ExitStack() as stack:
        with open_files(1_024):
            server = stack.enter_context(served(repository, tmp_path, "--model", "tiny", "--body-timeout", "600"))
        stack.enter_context(open_files(allowed))
        held = connections(server, count, stack)
        for connection, begun in zip(held, itertools.cycle([b"", b"GET /hea", post(b"{}"), post(b"{}") + b"{"])):
            connection.sendall(begun)
        process = psutil.Process(server.process.pid)
        until(lambda: process.num_fds() > count, "the connections are not held")
        with httpx.Client(base_url=server.url, trust_env=False, timeout=PATIENCE_S) as client:
            for _ in range(20):
                vector_of(client)
        for connection in held:
            connection.close()
        until(lambda: process.num_fds() < 100, "the connections are not given up")
        code, talk = server.stop()
    assert code == 0
    assert "Traceback" not in talk


def test_a_server_out_of_files_answers_those_it_knows_and_recovers(repository: ModelRepository, tmp_path: Path) -> None:
    with served(repository, tmp_path, "--model", "tiny") as server:
        process = psutil.Process(server.process.pid)
        with httpx.Client(base_url=server.url, trust_env=False, timeout=PATIENCE_S) as known, ExitStack() as stack:
            vector_of(known)
            limit = process.num_fds() + 50
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (limit, limit))
            connections(server, 200, stack)
            until(lambda: process.num_fds() >= limit - 1, "it has files left")
            for _ in range(5):
                vector_of(known)
        with httpx.Client(base_url=server.url, trust_env=False, timeout=PATIENCE_S) as client:
            vector_of(client)
        code, talk = server.stop()
    assert code == 0
    assert f"All {limit} files that this process may open are open" in talk
    assert "Traceback" not in talk


OFFER = {"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings", "HTTP2-Settings": "AAMAAABkAARAAAAAAAIAAAAA"}


@pytest.mark.parametrize("body", [{"input": "a cat"}, {"input": ["a cat"] * 5_000}], ids=["small", "large"])
def test_who_offers_another_protocol_is_answered_in_this_one(
    server: Server, client: httpx.Client, body: dict[str, Any]
) -> None:
    """Request after request: Java's clients offer HTTP/2 with every one."""
    with contextlib.closing(http.client.HTTPConnection(*address(server.url), timeout=PATIENCE_S)) as connection:
        for encode_chunked in (False, True, False):
            sent = json.dumps(body).encode()
            parts: Any = iter([sent[:9], sent[9:]]) if encode_chunked else sent
            connection.request("POST", OPENAI, parts, OFFER, encode_chunked=encode_chunked)
            reply = connection.getresponse()
            assert reply.status == 200
            assert json.loads(reply.read())["data"][-1]["embedding"] == pytest.approx(vector_of(client), abs=1e-5)
        connection.request("GET", "/health", headers={"Upgrade": "websocket", "Connection": "Upgrade"})
        assert connection.getresponse().status == 200


@pytest.mark.parametrize(
    ("pieces", "told"),
    [
        ([b"GET / HTTP/1.1\r\n", *[b"X-Number: %a\r\n" % (b"1" * 10_000)] * 100], b"too large"),
        ([b"CONNECT example.org:443 HTTP/1.1\r\n\r\n"], b"no proxy"),
        ([b"\x16\x03\x01 no HTTP"], b"Invalid"),
    ],
    ids=["large head", "proxy", "no HTTP"],
)
def test_a_head_that_cannot_be_used_ends_its_connection(server: Server, pieces: list[bytes], told: bytes) -> None:
    with ExitStack() as stack:
        [connection] = connections(server, 1, stack)
        with contextlib.suppress(OSError):  # it need not read the rest
            for piece in pieces:
                connection.sendall(piece)
        reply = b""
        with contextlib.suppress(ConnectionResetError):
            while part := connection.recv(10_000):
                reply += part
    assert reply.startswith(b"HTTP/1.1 400 ")
    assert told in reply


@pytest.mark.parametrize("ending", [b"", b"\x00"], ids=["hung up", "no HTTP"])
def test_requests_whose_connection_ends_are_given_up(server: Server, client: httpx.Client, ending: bytes) -> None:
    """Those that wait for their turn on it, and the one before them that is at work; the log takes it for no bug."""
    body = json.dumps({"input": ["a cat"] * 100}).encode()
    for _ in range(5):
        with ExitStack() as stack:
            [connection] = connections(server, 1, stack)
            connection.sendall((post(body) + body) * 3 + ending)
        vector_of(client)


def test_heads_that_come_a_byte_at_a_time_are_cut_off(repository: ModelRepository, tmp_path: Path) -> None:
    """However steadily they come."""
    no_idle_ones = httpx.Limits(max_keepalive_connections=0)  # they would be hung up on as well, at any moment
    with (
        served(repository, tmp_path, "--model", "tiny", "--body-timeout", "1") as server,
        httpx.Client(base_url=server.url, trust_env=False, timeout=PATIENCE_S, limits=no_idle_ones) as client,
        ExitStack() as stack,
    ):
        dripping = connections(server, 100, stack)
        for connection in dripping:
            connection.settimeout(0.001)
        head = itertools.chain(b"GET /health HTTP/1.1\r\nX-Slow: ", itertools.repeat(ord("x")))
        while dripping:
            byte = bytes([next(head)])
            dripping = [connection for connection in dripping if drips(connection, byte)]
            vector_of(client)


def drips(connection: socket.socket, byte: bytes) -> bool:
    """Whether the connection takes another byte; it gets no reply."""
    try:
        connection.sendall(byte)
        assert connection.recv(1) == b""
    except TimeoutError:
        return True
    except OSError:
        pass
    return False


def test_those_who_leave_harm_nobody(engine_of_a_port: tuple[FakeEngine, str, Any]) -> None:
    engine, url, batcher = engine_of_a_port
    engine.gate.clear()
    in_a_batch = ask(url, "runs")
    assert engine.started.wait(PATIENCE_S)
    in_the_queue = ask(url, "waits")
    batcher.wait_for(requests=2)
    for leaving in (in_a_batch, in_the_queue):
        leaving.close()
    for future in batcher.futures:
        until(future.done, "nobody noticed that they left")
    staying = ask(url, "stays")
    batcher.wait_for(requests=1)
    engine.gate.set()
    with staying:
        head, _, body = b"".join(iter(lambda: staying.recv(1 << 16), b"")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    np.testing.assert_array_equal(rows_of(httpx.Response(200, content=body)), expected(engine, "stays"))
    assert engine.batches == [engine.tokenize(["runs"]), engine.tokenize(["stays"])]


@pytest.fixture
def engine_of_a_port() -> Iterator[tuple[FakeEngine, str, Any]]:
    engine = FakeEngine()
    with application({"fake": engine}) as (app, [batcher]), on_a_port(app) as url:
        yield engine, url, batcher


def ask(url: str, text: str) -> socket.socket:
    body = json.dumps({"input": text}).encode()
    connection = socket.create_connection(address(url), PATIENCE_S)
    connection.sendall(post(body).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + body)
    return connection


def test_told_to_stop_under_load_it_answers_every_request_it_took(repository: ModelRepository, tmp_path: Path) -> None:
    answered: dict[str, int] = {}
    under_load = threading.Event()

    def call(caller: int, url: str) -> None:
        with httpx.Client(base_url=url, trust_env=False, timeout=PATIENCE_S) as client:
            for number in itertools.count():
                name = f"{caller}-{number}"
                body = {"input": [f"text {number}"] * (1 + number % 5)}
                try:
                    response = client.post(OPENAI, json=body, headers={"X-Request-ID": name})
                except httpx.TransportError:  # there is no server any more
                    return
                answered[name] = response.status_code
                if len(answered) > 200:
                    under_load.set()

    with served(repository, tmp_path, "--model", "tiny", "--access-log", "--log-format", "json", "--quiet") as server:
        callers = [threading.Thread(target=call, args=(number, server.url)) for number in range(16)]
        for caller in callers:
            caller.start()
        assert under_load.wait(PATIENCE_S)
        code, talk = server.stop(signal.SIGTERM)
        for caller in callers:
            caller.join(PATIENCE_S)
    taken = {entry["request_id"]: entry["status"] for entry in map(json.loads, talk.splitlines())}
    assert taken == answered
    assert set(answered.values()) <= {200, 503}
    assert code == 0
