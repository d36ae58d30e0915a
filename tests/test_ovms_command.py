"""`ovembed-ovms`: OVMS's command line, as strict as OVMS is, in front of our server."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from ovembed.launch import wait_healthy
from ovembed.launch.ovms_flags import UsageError, parse
from ovembed.repository import ovms_version

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ovembed import ModelRepository

PROGRAM = str(Path(sys.executable).with_name("ovembed-ovms"))
PATIENCE_S = 60


def refused(*arguments: str, code: int = 64) -> str:
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.returncode, done.stdout) == (code, "")
    return done.stderr


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@contextlib.contextmanager
def served(*arguments: str, **environment: str) -> Iterator[tuple[str, list[str]]]:
    """Its URL once it is healthy; what it said, once it has ended."""
    port, said = free_port(), []
    command = [PROGRAM, *arguments, "--rest_port", str(port), "--rest_bind_address", "127.0.0.1"]
    with subprocess.Popen(command, env=os.environ | environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            report = wait_healthy(url, PATIENCE_S, api_key=environment.get("API_KEY"))
            assert report.healthy, report.problem
            yield url, said
        finally:
            process.terminate()
            said += process.communicate(timeout=PATIENCE_S)[1].splitlines()
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (["--rest_port", "8000", "--config_path=/m/c.json"], {"rest_port": "8000", "config_path": "/m/c.json"}),
        (["--metrics_enable", "--log_level", "DEBUG"], {"metrics_enable": "true", "log_level": "DEBUG"}),
        (["--plugin_config", '{"A": "--b"}', "--plugin_config="], {"plugin_config": ""}),
    ],
)
def test_flags_have_values_and_switches_have_none(words: list[str], values: dict[str, str]) -> None:
    assert parse(words) == values


@pytest.mark.parametrize(
    ("flag", "version", "known"),
    [
        ("--api_key_file", "2025.3", False),
        ("--api_key_file", "2025.4", True),
        ("--allowed_origins", "2025.1", False),
        ("--sequence_cleaner_poll_wait_minutes", "2026.2", True),
        ("--sequence_cleaner_poll_wait_minutes", "2026.3", False),
    ],
)
def test_each_release_knows_its_own_flags(flag: str, version: str, known: bool) -> None:
    with contextlib.nullcontext() if known else pytest.raises(UsageError, match=f"unmatched arguments: {flag}, 5, "):
        assert parse([flag, "5"], ovms_version(version)) == {flag.removeprefix("--"): "5"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--rest_port 1 --config_path c --rest-port 8000", "unmatched arguments: --rest-port, 8000, "),
        ("--rest_port 1 --config_path c grpc_workers 2", "unmatched arguments: grpc_workers, 2, "),
        ("--config_path c --rest_port", "Option 'rest_port' is missing an argument"),
        ("--config_path c", "port and rest_port cannot both be unset"),
        ("--config_path c --port 8000", "opens no REST"),
        ("--config_path c --port 8000 --rest_port 8000", "cannot have the same values"),
        ("--config_path c --rest_port 65536", "rest_port number out of range from 0 to 65535"),
        ("--config_path c --rest_port -1", "rest_port number out of range"),
        ("--config_path c --model_name m --rest_port 1", "--config_path excludes --model_name"),
        ("--model_path m --rest_port 1", "Use config_path or model_path with model_name"),
        ("--config_path c --rest_port 1 --log_level LOUD", "log_level should be one of"),
        ("--source_model a/b --rest_port 1", "ovembed export"),
    ],
)
def test_a_wrong_command_line_ends_it_with_64(arguments: str, said: str) -> None:
    assert said in refused(*arguments.split())


def test_a_file_that_is_not_there_is_named() -> None:
    assert "c.json does not exist. Check --config_path." in refused(
        "--rest_port", "1", "--config_path", "c.json", code=1
    )


def test_a_configuration_is_served_and_idle_flags_are_told(repository: ModelRepository, tmp_path: Path) -> None:
    model = shutil.copytree(repository.get("tiny").folder, tmp_path / "models" / "tiny")
    config = model.with_name("config.json")
    config.write_text('{"model_config_list": [], "mediapipe_config_list": [{"name": "org/tiny", "base_path": "tiny"}]}')
    with served("--config_path", str(config), "--port", "1", "--cache_dir=/tmp", "--metrics_enable") as (url, said):
        listed = httpx.get(f"{url}/v3/models", trust_env=False, timeout=PATIENCE_S).json()
    assert [model["id"] for model in listed["data"]] == ["org/tiny"]
    assert said[0] == "Without effect here: --cache_dir, --port"


def test_one_model_is_served_by_its_name_and_the_key_of_the_environment_counts(repository: ModelRepository) -> None:
    folder = str(repository.get("tiny").folder)
    arguments = ("--model_name", "org/tiny", "--model_path", folder, "--log_level", "ERROR")
    with served(*arguments, API_KEY="secret") as (url, said):
        body = {"model": "org/tiny", "input": "a"}
        refusal = httpx.post(f"{url}/v3/embeddings", json=body, trust_env=False, timeout=PATIENCE_S)
        answer = httpx.post(
            f"{url}/v3/embeddings", json=body, headers={"Authorization": "Bearer secret"}, trust_env=False
        )
    assert (refusal.status_code, answer.status_code) == (401, 200)
    assert said == []
