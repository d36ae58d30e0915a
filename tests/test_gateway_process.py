"""`ovembed gateway` as a process of its own, set by the original's environment."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
import numpy as np
import pytest

from ovembed import vectors
from tests.cli import failure, ovembed
from tests.fakes import FakeEngine
from tests.gateways import MODEL, FakeOvms, running
from tests.serving import PATIENCE_S, application, expected, rows_of
from tests.test_serve_process import wait_for_url

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ovembed.repository import ModelRepository

SECRET = "nobody may read this"


@contextlib.contextmanager
def gateway(folder: Path, *arguments: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """The process, and a client of it."""
    url_file = folder / "url"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "ovembed", "gateway", "--host", "127.0.0.1", "--port", "0"),
            *("--url-file", str(url_file), *arguments),
        ],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            url = wait_for_url(process, url_file)
            with httpx.Client(base_url=url, trust_env=False, timeout=PATIENCE_S) as client:
                yield process, client
        finally:
            process.kill()


def stop(process: subprocess.Popen[str], number: signal.Signals = signal.SIGTERM) -> str:
    """What it said on stderr; it ended well, and said nothing on stdout."""
    process.send_signal(number)
    results, talk = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, results) == (0, "")
    return talk


def of_ovms(url: str) -> dict[str, str]:
    return {
        "EMBEDDING_COMPONENT_NAME": "OPEA_OVMS_EMBEDDING",
        "OVMS_EMBEDDING_ENDPOINT": url,
        "MODEL_ID": MODEL,
        # The data path of the original does not ask them.
        "http_proxy": "http://127.0.0.1:9",
    }


def test_sigterm_lets_everybody_have_their_answer(tmp_path: Path) -> None:
    held = FakeEngine()
    held.gate.clear()
    texts = [f"text {number}" for number in range(12)]
    with (
        application({MODEL: held}) as (app, [batcher]),
        running(app) as url,
        gateway(tmp_path, LOGFLAG="true", **of_ovms(url)) as (process, client),
        ThreadPoolExecutor(len(texts)) as callers,
    ):
        replies = [callers.submit(client.post, "/v1/embeddings", json={"input": text}) for text in texts]
        batcher.wait_for(requests=len(texts))
        process.send_signal(signal.SIGTERM)
        wait_until_draining(client)
        assert client.post("/v1/embeddings", json={"input": "late"}).json()["error"]["code"] == "shutting_down"
        held.gate.set()
        rows = [rows_of(reply.result(PATIENCE_S))[0] for reply in replies]
        _, talk = process.communicate(timeout=PATIENCE_S)
    np.testing.assert_allclose(rows, expected(held, *texts), atol=1e-6)
    assert process.returncode == 0
    assert talk.splitlines()[-1] == "Stopped."
    assert talk.count("path=/v1/embeddings status=200") == len(texts)


def wait_until_draining(client: httpx.Client) -> None:
    while client.get("/ready").status_code == 200:
        pass


def test_variables_of_the_original_that_do_nothing_here_are_told(tmp_path: Path) -> None:
    ignored = {"TELEMETRY_ENDPOINT": "http://collector:4318/v1/traces", "MULTIMODAL_EMBEDDING": "true"}
    with gateway(tmp_path, **of_ovms("http://127.0.0.1:9"), **ignored) as (process, _):
        talk = stop(process)
    assert [talk.count(f"{name} is ignored: ") for name in ignored] == [1, 1]


@pytest.mark.parametrize("flag", ["true", "false"])
def test_logs_hold_no_texts_and_false_means_false(tmp_path: Path, flag: str) -> None:
    backend = FakeOvms()
    key = "backend-key-value"
    with (
        running(backend.app) as url,
        gateway(tmp_path, LOGFLAG=flag, OVEMBED_BACKEND_KEY=key, **of_ovms(url)) as (process, client),
    ):
        for body in ({"input": SECRET}, {"input": {SECRET: 1}}, {"input": [], "user": SECRET}):
            client.post("/v1/embeddings", json=body, params={"q": SECRET})
        talk = stop(process, signal.SIGINT)
    assert backend.keys == [f"Bearer {key}"]
    assert ("status=200" in talk, "status=422" in talk, "status=400" in talk) == (flag == "true",) * 3
    assert SECRET.rsplit(maxsplit=1)[-1] not in talk
    assert key not in talk
    assert f"'{MODEL}' at {url}" in talk


def test_it_starts_before_its_backend_and_tells(tmp_path: Path, nowhere: str) -> None:
    with gateway(tmp_path, **of_ovms(nowhere)) as (process, client):
        assert client.get("/v1/health_check").status_code == 200
        assert client.get("/ready").status_code == 503
        assert "Not ready: Nothing answers" in stop(process)


def test_local_gives_the_vectors_of_the_model(tmp_path: Path, repository: ModelRepository) -> None:
    with gateway(
        tmp_path, "--repository", str(repository.folder), EMBEDDING_COMPONENT_NAME="local", MODEL_ID="minilm-fp32"
    ) as (process, client):
        rows = rows_of(client.post("/v1/embeddings", json={"input": ["a small dog", "a little dog", "tax law"]}))
        assert client.get("/ready").status_code == 200
        stop(process)
    near, far = vectors.cosine(rows[:1], rows[1:2])[0], vectors.cosine(rows[:1], rows[2:])[0]
    assert rows.shape == (3, 384)
    assert near > 0.8 > 0.3 > far


def test_what_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDDING_COMPONENT_NAME", "OPEA_PREDICTIONGUARD_EMBEDDING")
    assert "OPEA_PREDICTIONGUARD_EMBEDDING" in failure(ovembed("gateway"))
    monkeypatch.setenv("EMBEDDING_COMPONENT_NAME", "OPEA_TEI_EMBEDDING")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"Port {port} on 127.0.0.1 is in use" in failure(
            ovembed("gateway", "--host", "127.0.0.1", "--port", port)
        )
