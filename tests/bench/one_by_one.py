"""A server that runs every request by itself, as OVMS does: the same model and wire format, no shared batches.

python -m tests.bench.one_by_one MODEL_FOLDER URL_FILE
"""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from ovembed import admission, wire
from ovembed.engine import EngineSettings, OpenVINOEngine
from ovembed.protocols import Embeddings
from ovembed.repository import read_model

if TYPE_CHECKING:
    from starlette.requests import Request


def application(folder: Path) -> Starlette:
    """OVMS's defaults: one stream of all threads, and as many requests at work as there are cores."""
    entry = read_model(folder)
    engine = OpenVINOEngine.load(entry, EngineSettings(streams=1))
    at_work = asyncio.Semaphore(engine.threads)

    async def embeddings(request: Request) -> Response:
        wanted = wire.parse_request(await request.body())
        admitted = admission.admit_texts(engine, wanted.texts or [], truncate=True)
        async with at_work:
            rows = await asyncio.to_thread(engine.run, admitted.tokens)
        lengths = tuple(map(len, admitted.tokens))
        result = Embeddings(rows, lengths, sum(lengths), (), entry.name, entry.spec.fingerprint)
        return Response(wire.render_response(result, wanted.encoding_format), media_type="application/json")

    return Starlette(routes=[Route("/v1/embeddings", embeddings, methods=["POST"])])


def main(folder: str, url_file: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        app = application(Path(folder))
        host, port = listener.getsockname()
        Path(url_file).write_text(f"http://{host}:{port}", encoding="utf-8")
        uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False)).run(sockets=[listener])


if __name__ == "__main__":
    main(*sys.argv[1:])
