"""Our own server as a child process, for as long as a block runs."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ovembed.errors import NotReady, ServerError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ovembed.repository import ModelRepository

_POLL_S = 0.02
_GRACE_S = 30


@contextlib.contextmanager
def local_server(repository: ModelRepository, model: str, *, wait_s: float = 60.0) -> Iterator[str]:
    """Serve one model on a free port of this machine, yield the URL, stop the server in the end.

    Raises ServerError, with the server's own words, when it ends before it is ready, NotReady after `wait_s`.
    """
    with tempfile.TemporaryDirectory(prefix="ovembed-") as folder:
        log, url_file = Path(folder) / "log", Path(folder) / "url"
        command = [
            *(sys.executable, "-m", "ovembed", "serve"),
            *("--repository", str(repository.folder), "--config", str(repository.config_path)),
            *("--model", model, "--port", "0", "--url-file", str(url_file)),
        ]
        with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
            try:
                yield _wait_for_url(process, url_file, log, wait_s)
            finally:
                _stop(process)


def _wait_for_url(process: subprocess.Popen[bytes], url_file: Path, log: Path, wait_s: float) -> str:
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        if url_file.exists():
            return url_file.read_text(encoding="utf-8").strip()
        if process.poll() is not None:
            raise ServerError(f"The server ended at once: {log.read_text(errors='replace').strip()}")
        time.sleep(_POLL_S)
    raise NotReady(f"The server was not ready after {wait_s:.0f} s.")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
