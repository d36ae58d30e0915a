"""A Hub on this machine: the part of the HTTP API that huggingface_hub asks for models, over folders.

What it answers, and to whom, is what huggingface.co does: private models look like missing ones, gated ones are
listed but not served, renamed ones redirect, and weights come from another host ("localhost"), without the token.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import socket
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOKEN = "hf_reader"
OTHER_TOKEN = "hf_somebody_else"

_INFO = re.compile(r"/api/models/(?P<id>[^/]+/[^/]+)(/revision/(?P<revision>[^/]+))?")
_TREE = re.compile(r"/api/models/(?P<id>[^/]+/[^/]+)/tree/(?P<revision>[^/]+)")
_RESOLVE = re.compile(r"/(?P<id>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")
_BLOB = re.compile(r"/blobs/(?P<id>[^/]+/[^/]+)/(?P<revision>[^/]+)/(?P<file>.+)")
_LARGE = (".safetensors", ".bin", ".h5", ".onnx", ".msgpack", ".ot", ".gguf")


@dataclass(frozen=True)
class Request:
    """One request and how many bytes of the file it was answered with."""

    method: str
    path: str
    file: str | None
    range: str | None
    token: str | None
    user_agent: str
    sent: int


@dataclass
class Model:
    """`commits` by their hash; `refs` are branches and tags. Readers of a private or gated model hold a token."""

    commits: dict[str, Path] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    private: bool = False
    gated: bool = False
    readers: set[str] = field(default_factory=set)


class LocalHub:
    def __init__(self) -> None:
        self.models: dict[str, Model] = {}
        self.renamed: dict[str, str] = {}
        self.requests: list[Request] = []
        self.fault: tuple[int, str] | None = None  # what every request is answered with
        self.listing_limit: int | None = None  # files that the info of a model names; the tree names them all
        self._cuts: dict[str, list[int]] = {}
        self._dies_of_a_cut = False
        self.alive = True
        self._server = _Server(("127.0.0.1", 0), _Handler, self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def add(
        self, name: str, folder: Path, revision: str = "main", *, private: bool = False, gated: bool = False
    ) -> str:
        """Serve the folder as that revision of a model; returns its commit."""
        model = self.models.setdefault(name, Model(private=private, gated=gated, readers={TOKEN}))
        commit = hashlib.sha1(f"{name} {len(model.commits)}".encode()).hexdigest()
        model.commits[commit] = folder
        model.refs[revision] = commit
        return commit

    def rename(self, old: str, new: str) -> None:
        self.models[new] = self.models.pop(old)
        self.renamed[old] = new

    def cut(self, file: str, *after: int, die: bool = False) -> None:
        """End the connection after so many bytes of the file: the first time, the second time and so on."""
        self._cuts[file] = list(after)
        self._dies_of_a_cut = die

    def fetched(self) -> list[str]:
        """The files whose content was asked for, in order."""
        return [request.file for request in self.requests if request.method == "GET" and request.file is not None]

    def sent(self, file: str) -> int:
        return sum(request.sent for request in self.requests if request.method == "GET" and request.file == file)

    def stop(self) -> None:
        """Nothing listens any more, and no connection that is open is answered."""
        if self.alive:
            self.alive = False
            self._server.shutdown()
            self._server.server_close()

    def close(self) -> None:
        self.stop()
        self._thread.join()

    def take_cut(self, file: str, start: int) -> int | None:
        """Where to cut this answer, counted from the beginning of the file."""
        places = self._cuts.get(file)
        return max(places.pop(0) - start, 0) if places else None

    def has_been_cut(self) -> None:
        if self._dies_of_a_cut:
            self.stop()


@contextlib.contextmanager
def local_hub() -> Iterator[LocalHub]:
    hub = LocalHub()
    try:
        yield hub
    finally:
        hub.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a cut ends the server from one of its own threads

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler], hub: LocalHub) -> None:
        super().__init__(address, handler)
        self.hub = hub

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are part of the tests."""


class _Refused(Exception):
    """Ends a request with an error as the Hub words it."""

    def __init__(self, status: int, code: str | None = None, message: str = "", commit: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        found = {"X-Error-Code": code, "X-Error-Message": message, "X-Repo-Commit": commit}
        self.headers = {name: value for name, value in found.items() if value}


class _Moved(Exception):
    """Ends a request with the path that the model has now."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if not self.hub.alive:
            self.close_connection = True
            return
        try:
            if self.hub.fault is not None:
                raise _Refused(*self.hub.fault)
            self.route(unquote(urlsplit(self.path).path))
        except _Moved as moved:
            self.answer(307, headers={"Location": str(moved)})
        except _Refused as refused:
            self.answer(refused.status, b'{"error": "refused"}', refused.headers)

    @property
    def hub(self) -> LocalHub:
        return self.server.hub

    @property
    def token(self) -> str | None:
        return self.headers.get("Authorization", "").removeprefix("Bearer ") or None

    def route(self, path: str) -> None:
        raw = urlsplit(self.path).path  # branches may hold a quoted slash
        if found := _INFO.fullmatch(raw):
            self.info(found["id"], unquote(found["revision"] or "main"))
        elif found := _TREE.fullmatch(raw):
            self.tree(found["id"], unquote(found["revision"]))
        elif found := _RESOLVE.fullmatch(raw):
            self.resolve(found["id"], unquote(found["revision"]), unquote(found["file"]))
        elif found := _BLOB.fullmatch(raw):
            self.content(self.hub.models[found["id"]].commits[found["revision"]] / unquote(found["file"]))
        else:
            raise _Refused(404, None, f"no such path: {path}")

    def model(self, name: str, *, content: bool) -> Model:
        """The model, if the token may see it, and read it where `content` is asked for."""
        if self.token not in {None, TOKEN, OTHER_TOKEN}:
            raise _Refused(401, None, "Invalid credentials in Authorization header")
        if name in self.hub.renamed:
            raise _Moved(self.path.replace(name, self.hub.renamed[name], 1))
        model = self.hub.models.get(name)
        if model is None or (model.private and self.token not in model.readers):
            raise _Refused(404 if self.token else 401, "RepoNotFound", "Repository not found")
        if content and model.gated and self.token not in model.readers:
            raise _Refused(403 if self.token else 401, "GatedRepo", f"Access to model {name} is restricted.")
        return model

    def commit(self, model: Model, revision: str) -> str:
        commit = model.refs.get(revision, revision)
        if commit not in model.commits:
            raise _Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return commit

    def listing(self, folder: Path) -> list[tuple[str, int]]:
        return sorted(
            (path.relative_to(folder).as_posix(), path.stat().st_size) for path in folder.rglob("*") if path.is_file()
        )

    def info(self, name: str, revision: str) -> None:
        model = self.model(name, content=False)
        commit = self.commit(model, revision)
        listing = self.listing(model.commits[commit])[: self.hub.listing_limit]
        files = [{"rfilename": file, "size": size, "blobId": "0" * 40} for file, size in listing]
        self.answer_json({"id": name, "sha": commit, "private": model.private, "siblings": files})

    def tree(self, name: str, revision: str) -> None:
        model = self.model(name, content=False)
        listing = self.listing(model.commits[self.commit(model, revision)])
        self.answer_json([{"type": "file", "path": file, "size": size, "oid": "0" * 40} for file, size in listing])

    def resolve(self, name: str, revision: str, file: str) -> None:
        model = self.model(name, content=True)
        commit = self.commit(model, revision)
        path = model.commits[commit] / file
        if not path.is_file():
            raise _Refused(404, "EntryNotFound", "Entry not found", commit)
        if file.endswith(_LARGE):
            place = f"http://localhost:{self.hub.port}/blobs/{name}/{commit}/{file}"
            linked = {"X-Linked-Size": str(path.stat().st_size), "X-Linked-ETag": f'"{_hash(path, "sha256")}"'}
            self.answer(302, headers={"Location": place, "X-Repo-Commit": commit} | linked)
        else:
            self.content(path, {"X-Repo-Commit": commit, "ETag": f'"{_hash(path, "sha1")}"'}, file)

    def content(self, path: Path, headers: dict[str, str] | None = None, file: str | None = None) -> None:
        file = file or _BLOB.fullmatch(urlsplit(self.path).path)["file"]  # type: ignore[index]
        data = path.read_bytes()
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        status = 206 if start else 200
        ranged = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {}
        cut = self.hub.take_cut(file, start) if self.command == "GET" else None
        self.answer(status, data[start:], (headers or {}) | ranged, file=file, cut=cut)

    def answer_json(self, content: Any) -> None:
        self.answer(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def answer(
        self,
        status: int,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        *,
        file: str | None = None,
        cut: int | None = None,
    ) -> None:
        sent = 0 if self.command == "HEAD" else len(body[:cut])
        agent = self.headers.get("User-Agent", "")
        self.hub.requests.append(
            Request(self.command, self.path, file, self.headers.get("Range"), self.token, agent, sent)
        )
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:cut])
        if cut is not None:
            self.hub.has_been_cut()
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)


def _hash(path: Path, kind: str) -> str:
    return hashlib.new(kind, path.read_bytes()).hexdigest()
