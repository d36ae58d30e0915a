"""A server on a port that computes its vectors, and fails where a test wants it to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tests.fakes import FakeEngine

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ovembed.protocols import Vectors


@dataclass(frozen=True)
class Reply:
    """What is sent instead of vectors; status 0 is a connection cut in the middle of a reply."""

    status: int
    content: Any = None
    headers: dict[str, str] = field(default_factory=dict)


CUT_OFF = Reply(0)
Fault: TypeAlias = Callable[[list[str]], Reply | None]


class FaultyServer:
    """Speaks OpenAI's dialect with `models`, or only TEI's /embed with `info`.

    `requests` holds the texts of every request for vectors, also of those that failed. `fault` is asked for each, in
    the thread that answers it; `gets` answers other routes by their path.
    """

    def __init__(self) -> None:
        self.engine = FakeEngine()
        self.requests: list[list[str]] = []
        self.fault: Fault = lambda _: None
        self.gets: dict[str, Reply] = {"/v1/models": Reply(200, {"data": [{"id": "served"}]})}
        self.embed_route = "/v1/embeddings"
        self.fingerprint = self.engine.spec.fingerprint
        self.url = ""

    def answer(self, path: str, body: dict[str, Any]) -> Reply:
        if path != self.embed_route:
            return Reply(404, {"detail": "Not Found"})
        texts = body["input"] if "input" in body else body["inputs"]
        self.requests.append(texts)
        return self.fault(texts) or Reply(200, self._vectors(texts, listed="inputs" in body))

    def _vectors(self, texts: list[str], *, listed: bool) -> Any:
        rows = [row.tolist() for row in self.rows(texts)]
        if listed:
            return rows
        data = [{"index": index, "embedding": row} for index, row in enumerate(rows)]
        return {"data": data, "model": "served", "ovembed": {"fingerprint": self.fingerprint}}

    def rows(self, texts: Sequence[str]) -> Vectors:
        return np.stack([self.engine.row(tokens) for tokens in self.engine.tokenize(texts)])


def nth(*replies: Reply | None) -> Fault:
    """The replies to the first requests, None being vectors; all later ones get vectors."""
    following = iter(replies)
    lock = threading.Lock()

    def fault(_: list[str]) -> Reply | None:
        with lock:
            return next(following, None)

    return fault


@contextmanager
def faulty_server() -> Iterator[FaultyServer]:
    server = FaultyServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._send(server.gets.get(self.path, Reply(404, {"detail": "Not Found"})))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self._send(server.answer(self.path, json.loads(body)))

        def _send(self, reply: Reply) -> None:
            content = json.dumps(reply.content).encode()
            self.send_response(reply.status or 200)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if reply.status:
                self.wfile.write(content)
            else:
                self.wfile.write(content[:1])
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    server.url = f"http://127.0.0.1:{listener.server_port}"
    try:
        yield server
    finally:
        listener.shutdown()
        thread.join()
        listener.server_close()
