"""A server that is told to stop answers everybody whom it, or the kernel for it, has let in."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import threading
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING

import psutil
import pytest

from ovembed.http import door
from tests.test_operations import connect, read_all, status_until
from tests.test_serve_process import PATIENCE_S, Server, address, post, served, wait_until
from tests.test_workers import accepted, worker_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ovembed.repository import ModelRepository

BODY = json.dumps({"input": "a"}).encode()
REQUEST = post(BODY) + BODY
PAST_ITS_GRACE_S = "3600"


@pytest.fixture(params=["1", "2"], ids=["one process", "two workers"])
def workers(request: pytest.FixtureRequest) -> str:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def server(repository: ModelRepository, tmp_path: Path, workers: str) -> Iterator[Server]:
    arguments = ("--model", "tiny", "--workers", workers, "--grace", PAST_ITS_GRACE_S)
    with served(repository, tmp_path, *arguments) as server:
        yield server


with_two_workers = pytest.mark.parametrize("workers", ["2"], indirect=True, ids=["two workers"])


def serving(server: Server) -> list[psutil.Process]:
    """The processes that answer."""
    process = psutil.Process(server.process.pid)
    return process.children() or [process]


def ended_well(server: Server) -> bool:
    _, talk = server.process.communicate(timeout=PATIENCE_S)
    assert "Traceback" not in talk
    assert talk.splitlines()[-1] == "Stopped."
    return server.process.returncode == 0


def is_answered(connection: socket.socket) -> bool:
    """With vectors, or with all that a client needs to know to ask another server."""
    head = read_all(connection).partition(b"\r\n\r\n")[0].lower()
    told = (b"connection: close", b"retry-after: ")
    return head.startswith(b"http/1.1 200") or (head.startswith(b"http/1.1 503") and all(part in head for part in told))


def test_a_closed_door_lets_nobody_in_and_keeps_nobody_who_is_in() -> None:
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        assert not door.has_waiting(listener)
        waiting = stack.enter_context(socket.create_connection(listener.getsockname()))
        door.close(listener)
        late = stack.enter_context(socket.socket())
        late.setblocking(False)
        with pytest.raises(BlockingIOError):
            late.connect(listener.getsockname())
        assert door.has_waiting(listener)
        accepted = stack.enter_context(listener.accept()[0])
        waiting.sendall(b"x")
        assert accepted.recv(1) == b"x"
        assert not door.has_waiting(listener)
        door.open_again(listener)
        stack.enter_context(socket.create_connection(listener.getsockname()))
        assert door.has_waiting(listener)


def test_a_socket_that_does_not_listen_has_nobody_waiting() -> None:
    with socket.socket() as unused:
        assert not door.has_waiting(unused)


def test_who_waits_to_be_accepted_or_to_be_read_is_answered(server: Server) -> None:
    with ExitStack() as stack:
        used = [stack.enter_context(connect(server)) for _ in range(8)]
        for connection in used:
            connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(10_000).startswith(b"HTTP/1.1 200")
        stopped = serving(server)
        for process in stopped:
            process.suspend()
        wait_until(lambda: all(process.status() == psutil.STATUS_STOPPED for process in stopped))
        fresh = [stack.enter_context(connect(server)) for _ in range(32)]
        slow = fresh.pop()
        for connection in (*used, *fresh):
            connection.sendall(REQUEST)
        slow.sendall(REQUEST[:9])
        server.process.send_signal(signal.SIGTERM)
        for process in stopped:
            process.resume()
        assert [is_answered(connection) for connection in (*used, *fresh)] == [True] * 39
        slow.sendall(REQUEST[9:])
        assert is_answered(slow)
    assert ended_well(server)


@pytest.mark.parametrize("keeps_alive", [True, False], ids=["kept connections", "new connections"])
def test_under_load_no_request_is_lost(server: Server, keeps_alive: bool) -> None:
    seen: Counter[int | str] = Counter()
    under_load = threading.Event()
    headers = {"Content-Type": "application/json"} | ({} if keeps_alive else {"Connection": "close"})

    def hammer() -> None:
        with contextlib.closing(http.client.HTTPConnection(*address(server.url), timeout=PATIENCE_S)) as client:
            while True:
                if client.sock is None:
                    try:
                        client.connect()
                    except ConnectionRefusedError:  # there is no server any more
                        return
                try:
                    client.request("POST", "/v1/embeddings", BODY, headers)
                    response = client.getresponse()
                    response.read()
                    seen[response.status] += 1
                except (OSError, http.client.HTTPException) as error:
                    seen[repr(error)] += 1
                    client.close()
                if seen[200] > 200:
                    under_load.set()

    hammers = [threading.Thread(target=hammer) for _ in range(8)]
    for each in hammers:
        each.start()
    assert under_load.wait(PATIENCE_S)
    server.process.send_signal(signal.SIGTERM)
    for each in hammers:
        each.join(PATIENCE_S)
    assert set(seen) <= {200, 503}, seen
    assert ended_well(server)


def test_a_request_with_a_large_body_hears_that_it_is_refused(server: Server) -> None:
    body = json.dumps({"input": ["word " * 1_000] * 1_000}).encode()
    with ExitStack() as stack:
        held = [stack.enter_context(connect(server)) for _ in range(8)]
        for connection in held:
            connection.sendall(REQUEST[:-5])
        wait_until(lambda: accepted(server) > len(held))
        server.process.send_signal(signal.SIGTERM)
        status_until(server, "/health", 503)
        for _ in range(8):
            with connect(server) as refused:
                refused.sendall(post(body) + body)
                assert read_all(refused).startswith(b"HTTP/1.1 503")
        for connection in held:
            connection.sendall(REQUEST[-5:])
            assert read_all(connection).startswith(b"HTTP/1.1 200")
    assert ended_well(server)


@with_two_workers
def test_nobody_is_left_with_a_worker_that_ends_before_others(server: Server) -> None:
    with connect(server) as held:
        held.sendall(REQUEST[:-5])
        busy = worker_of(server, held)
        [idle] = [process for process in serving(server) if process != busy]
        wait_until(lambda: accepted(server) > 1)
        server.process.send_signal(signal.SIGTERM)
        idle.wait(PATIENCE_S)
        for _ in range(20):
            with connect(server) as late:
                late.sendall(REQUEST)
                assert is_answered(late)
        held.sendall(REQUEST[-5:])
        assert read_all(held).startswith(b"HTTP/1.1 200")
    assert ended_well(server)


@with_two_workers
def test_who_waits_for_a_worker_that_is_killed_while_all_stop_is_told_so(server: Server) -> None:
    with ExitStack() as stack:
        held = stack.enter_context(connect(server))
        held.sendall(REQUEST[:-5])
        busy = worker_of(server, held)
        [victim] = [process for process in serving(server) if process != busy]
        wait_until(lambda: accepted(server) > 1)
        victim.suspend()
        wait_until(lambda: victim.status() == psutil.STATUS_STOPPED)
        waiting = [stack.enter_context(connect(server)) for _ in range(20)]
        for connection in waiting:
            connection.sendall(REQUEST)
        server.process.send_signal(signal.SIGTERM)
        victim.kill()
        for connection in waiting:
            assert is_answered(connection)
        held.sendall(REQUEST[-5:])
        assert read_all(held).startswith(b"HTTP/1.1 200")
    assert ended_well(server)


@with_two_workers
def test_a_worker_that_alone_is_told_to_stop_is_replaced(server: Server) -> None:
    told, other = serving(server)
    told.terminate()
    told.wait(PATIENCE_S)
    wait_until(lambda: len(serving(server)) == 2)
    assert other in serving(server)
    for _ in range(20):
        assert server.post("/v1/embeddings", content=BODY).status_code == 200
    server.process.send_signal(signal.SIGTERM)
    assert ended_well(server)
