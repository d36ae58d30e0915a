"""Servers to measure: ours, one without shared batches, and Infinity, each a process of its own on loopback."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ovembed.repository import ModelEntry

# The newest that starts: later packages of each changed what it calls.
INFINITY = ("infinity_emb[torch,server]==0.0.77", "click<8.2", "transformers<4.49", "optimum<2", "torch==2.13.0")
START_S = 120


@contextlib.contextmanager
def ours(entry: ModelEntry, folder: Path, *options: str) -> Iterator[tuple[str, int]]:
    """URL and process id of `ovembed serve`."""
    command = [sys.executable, "-m", "ovembed", "serve", "--repository", str(entry.folder.parent)]
    with _started([*command, "--model", entry.name, "--port", "0", "--quiet", *options, "--url-file"], folder) as found:
        yield found


@contextlib.contextmanager
def gateway(folder: Path, *options: str) -> Iterator[str]:
    command = [sys.executable, "-m", "ovembed", "gateway", "--host", "127.0.0.1", "--port", "0", "--quiet", *options]
    with _started([*command, "--url-file"], folder) as (url, _):
        yield url


@contextlib.contextmanager
def one_by_one(entry: ModelEntry, folder: Path) -> Iterator[str]:
    with _started([sys.executable, "-m", "tests.bench.one_by_one", str(entry.folder)], folder) as (url, _):
        yield url


@contextlib.contextmanager
def infinity(model: Path, venv: Path) -> Iterator[str | None]:
    """Infinity with its own defaults for a CPU; None where it cannot be installed or does not start."""
    if not (venv / "bin" / "infinity_emb").exists():
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        installed = subprocess.run([str(venv / "bin" / "pip"), "install", "-q", *INFINITY], capture_output=True)
        if installed.returncode:
            yield None
            return
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [str(venv / "bin" / "infinity_emb"), "v2", "--model-id", str(model), "--port", str(port)]
    options = ["--host", "127.0.0.1", "--device", "cpu", "--no-bettertransformer", "--served-model-name", "peer"]
    options += ["--url-prefix", "/v1"]
    environment = os.environ | {"DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0"}
    environment.pop("PYTHONPATH", None)
    url = f"http://127.0.0.1:{port}"
    with _process([*command, *options], environment) as process:
        yield url if _answers(process, f"{url}/health") else None


@contextlib.contextmanager
def _started(command: list[str], folder: Path) -> Iterator[tuple[str, int]]:
    """A server that writes its URL into a file, whose name ends its command."""
    url_file = folder / "url"
    url_file.unlink(missing_ok=True)
    with _process([*command, str(url_file)], dict(os.environ)) as process:
        deadline = time.monotonic() + START_S
        while not (url_file.exists() and url_file.read_text(encoding="utf-8").strip()):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{command[2]} did not start")
            time.sleep(0.1)
        yield url_file.read_text(encoding="utf-8").strip(), process.pid


@contextlib.contextmanager
def _process(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def _answers(process: subprocess.Popen[bytes], url: str) -> bool:
    deadline = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url, trust_env=False).is_success:
                return True
        time.sleep(0.2)
    return False
