"""Our own server as a child process, for as long as a block runs."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ovembed.launch.backends import LocalBackend, Served
from ovembed.launch.start import start_server
from ovembed.launch.state import Servers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ovembed.repository import ModelRepository


@contextlib.contextmanager
def local_server(repository: ModelRepository, model: str, *, wait_s: float = 60.0) -> Iterator[str]:
    """Serve one model on a free port of this machine, yield the URL, stop the server in the end.

    Raises ModelNotFound for a model that is not there, ServerError, with the server's own words, when it ends before
    it is ready, NotReady after `wait_s`.
    """
    served = Served([repository.get(model)], repository.config_path, "127.0.0.1", 0)
    arguments = [
        *("--repository", str(repository.folder), "--config", str(repository.config_path)),
        *("--model", model, "--port", "0"),
    ]
    with tempfile.TemporaryDirectory(prefix="ovembed-") as folder:
        server = start_server(LocalBackend(served, arguments), "server", Servers(Path(folder)), wait_s=wait_s)
        try:
            assert server.url is not None, "This is a bug."  # noqa: S101
            yield server.url
        finally:
            server.stop()
