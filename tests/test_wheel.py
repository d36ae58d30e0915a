"""A wheel without extras, in a fresh environment: what a user gets from `pip install ovembed`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ovembed import ModelRepository

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment that holds the wheel and what it asks for, nothing else."""
    place = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "venv", str(place / "venv"))
    bin_folder = place / "venv" / "bin"
    run(str(bin_folder / "pip"), "install", "-q", "-c", str(ROOT / ".ci" / "constraints.txt"), str(wheel))
    return bin_folder


def run(*command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True)


def test_the_wheel_brings_no_torch(installed: Path) -> None:
    listed = json.loads(run(str(installed / "pip"), "list", "--format", "json").stdout)
    names = {package["name"].lower() for package in listed}
    assert "openvino" in names
    assert names.isdisjoint({"torch", "transformers", "optimum-intel", "nncf"})


def test_help_and_version_work(installed: Path) -> None:
    assert "export" in run(str(installed / "ovembed"), "--help").stdout
    assert run(str(installed / "ovembed"), "--version").stdout.startswith("ovembed ")


def test_it_embeds_and_serves(installed: Path, repository: ModelRepository, tmp_path: Path) -> None:
    """In a process of its own, both ways give the same numbers."""
    script = (
        "from ovembed import ModelRepository, open_embedder\n"
        "from ovembed.launch import local_server\n"
        f"repository = ModelRepository({str(repository.folder)!r})\n"
        "with local_server(repository, 'minilm-fp32') as url, open_embedder(url) as served:\n"
        "    with open_embedder(repository.get('minilm-fp32').folder) as local:\n"
        "        print(abs(served.embed(['a text']).vectors - local.embed(['a text']).vectors).max())\n"
    )
    assert float(run(str(installed / "python"), "-c", script, cwd=tmp_path).stdout) < 1e-6
    program = str(installed / "ovembed")
    embedded = run(program, "embed", "--text", "hello", "--repository", str(repository.folder), "--model", "minilm")
    assert json.loads(embedded.stdout)["dimensions"] == 384


def test_a_command_that_needs_an_extra_says_which(installed: Path, tmp_path: Path) -> None:
    failed = subprocess.run(
        [str(installed / "ovembed"), "export", "some/model"], cwd=tmp_path, capture_output=True, text=True
    )
    assert failed.returncode == 1
    assert "pip install 'ovembed[export]'" in failed.stderr
    assert list(tmp_path.iterdir()) == []
