"""Programs whose standard streams are closed, full, or have nobody at the other end."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.test_serve_process import PATIENCE_S, command, wait_for_url

if TYPE_CHECKING:
    from pathlib import Path

    from ovembed import ModelRepository


def redirected(words: list[str], redirection: str) -> list[str]:
    return ["bash", "-c", f'exec "$@" {redirection}', "bash", *words]


@pytest.mark.parametrize(("redirection", "workers"), [("<&- >&- 2>/dev/full", 2), ("2> >(true)", 1)])
def test_a_server_works_and_ends_well_with_nobody_to_talk_to(
    repository: ModelRepository, tmp_path: Path, redirection: str, workers: int
) -> None:
    url_file = tmp_path / "url"
    arguments = ("--model", "tiny", "--port", "0", "--url-file", str(url_file), "--workers", str(workers))
    with subprocess.Popen(redirected(command(repository, *arguments, "--access-log"), redirection)) as process:
        try:
            url = wait_for_url(process, url_file)  # type: ignore[arg-type]
            for _ in range(4):
                reply = httpx.post(f"{url}/v1/embeddings", json={"input": "a"}, trust_env=False, timeout=PATIENCE_S)
                assert reply.status_code == 200
            process.terminate()
            assert process.wait(PATIENCE_S) == 0
        finally:
            process.kill()


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
def test_exit_codes_stay_the_same(redirection: str, nowhere: str) -> None:
    words = [sys.executable, "-m", "ovembed", "health", nowhere, "--wait", "0"]
    done = subprocess.run(redirected(words, redirection), capture_output=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 3
