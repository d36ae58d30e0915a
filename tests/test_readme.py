"""The README and examples/ say what works: every command in them is run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```sh(?P<kind> tasks)?\n(?P<lines>.*?)^```", re.DOTALL | re.MULTILINE)


def commands(*, tasks: bool) -> list[str]:
    return [
        line for block in BLOCK.finditer(README) if bool(block["kind"]) is tasks for line in block["lines"].splitlines()
    ]


def test_ci_calls_the_readmes_test_command_as_written() -> None:
    install_and_run, install_and_test = commands(tasks=False)
    assert install_and_run.endswith("ovembed demo")
    assert install_and_test in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    return tmp_path


def environment() -> dict[str, str]:
    bin_folder = str(Path(sys.executable).parent)
    return os.environ | {"PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"}


def test_every_task_of_the_readme_works_in_order(clone: Path) -> None:
    """As a person would: each server in a terminal of its own, everything else one after the other."""
    servers: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands(tasks=True):
            if command.startswith(("ovembed serve", "ovembed gateway")) and "--detach" not in command:
                servers.append(subprocess.Popen(["bash", "-c", f"exec {command}"], cwd=clone, env=environment()))
                continue
            done = subprocess.run(
                ["bash", "-o", "pipefail", "-c", command], cwd=clone, env=environment(), capture_output=True, text=True
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    finally:
        for server in servers:
            server.terminate()
            assert server.wait(30) == 0
    assert len(servers) == 2
    assert {"texts.npy", "texts.meta.jsonl", "texts.jsonl", "queries.jsonl"} <= {path.name for path in clone.iterdir()}


def test_the_demo_shows_the_whole_path_and_a_second_time_too(clone: Path) -> None:
    for _ in range(2):
        done = subprocess.run(
            ["ovembed", "demo"], cwd=clone, env=environment(), capture_output=True, text=True, check=True
        )
        assert "You can reset your password" in done.stdout
        assert "Both agree" in done.stderr
        assert "ovembed serve" in done.stderr
    assert (clone / "models" / "config_embeddings.json").exists()


def test_every_command_is_in_the_readme() -> None:
    from ovembed.cli.main import app

    for command in app.registered_commands:
        assert f"`ovembed {command.name}`" in README or f"ovembed {command.name}" in README
