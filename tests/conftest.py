"""A clean environment for every test, and the models that several test files share."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from filelock import FileLock

from ovembed import ExportRequest, ModelRepository, export_model
from ovembed.hub import DEFAULT_MODEL
from tests import models
from tests.cli import ovembed
from tests.engine import DockerEngine, find_engine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ovembed.protocols import Vectors

ROOT = Path(__file__).parents[1]
STS = ROOT.parent / "shared" / "data" / "sts-dev.tsv"


# A shell ignores interrupts for what it starts in the background, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Processes share the files out: the tests of a file share its fixtures, and those with Docker its images."""
    for item in items:
        in_docker = "docker_engine" in getattr(item, "fixturenames", ())
        item.add_marker(pytest.mark.xdist_group("docker" if in_docker else item.nodeid.partition("::")[0]))


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of this run see."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    for name in os.environ:
        if name.startswith("OVEMBED_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture(autouse=True, scope="session")
def _caches_of_our_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Neither the user's Hugging Face cache nor their compiled models and servers take part.

    PyTorch runs on one core: its threads wait for each other at every small step, and on a busy machine for long.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    home = tmp_path_factory.mktemp("caches")
    os.environ["XDG_CACHE_HOME"] = str(home)
    os.environ["XDG_STATE_HOME"] = str(home / "state")
    os.environ["HF_HOME"] = str(home / "huggingface")
    os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT with the files that sentence-transformers writes; mean pooling, normalized, 32 tokens."""
    return models.save_tiny_bert(tmp_path_factory.mktemp("source") / "tiny-bert")


@pytest.fixture(scope="session")
def repository(whole_run: Path, tiny_bert: Path) -> ModelRepository:
    """`tiny` (fp32), and the default model as `minilm` (int8) and `minilm-fp32`, made by the real export.

    All processes of the run share it: a test that changes a model copies it first.
    """
    made = ModelRepository(whole_run / "repository" / "models")
    with FileLock(whole_run / "repository.lock"):
        for request in (
            ExportRequest(str(tiny_bert), name="tiny", precision="fp32"),
            ExportRequest(DEFAULT_MODEL, name="minilm"),
            ExportRequest(DEFAULT_MODEL, name="minilm-fp32", precision="fp32"),
        ):
            if request.name not in made.names():
                export_model(request, made)
    return made


@pytest.fixture(scope="session")
def wheel(whole_run: Path) -> Path:
    """What a user installs, built from this checkout."""
    place = whole_run / "wheel"
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(place), str(ROOT)]
    with FileLock(whole_run / "wheel.lock"):
        if not list(place.glob("*.whl")):
            subprocess.run(command, check=True, capture_output=True)
    [built] = place.glob("*.whl")
    return built


@pytest.fixture
def tiny_alone(repository: ModelRepository, tmp_path: Path) -> ModelRepository:
    """A repository of `org/tiny` alone, which may be changed, and which everybody may read."""
    own = ModelRepository(tmp_path / "models")
    shutil.copytree(repository.get("tiny").folder, own.folder / "org" / "tiny")
    content = {"model_config_list": [], "mediapipe_config_list": [{"name": "org/tiny", "base_path": "org/tiny"}]}
    own.config_path.write_text(json.dumps(content))
    return own


@pytest.fixture
def own_servers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The folder of the servers that the test starts; whatever still runs in the end is stopped."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    servers = tmp_path / "state" / "ovembed" / "servers"
    yield servers
    if list(servers.glob("*/server.json")):
        assert ovembed("stop", "--all").returncode == 0


@pytest.fixture
def nowhere() -> Iterator[str]:
    """A URL where nothing listens, and nothing can begin to."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@pytest.fixture(scope="session")
def docker_engine() -> DockerEngine:
    """Skips, with the reason, where no engine runs."""
    found = find_engine()
    if isinstance(found, str):
        pytest.skip(found)
    return found


@pytest.fixture(scope="session")
def sts_sentences() -> list[str]:
    """The 3,000 sentences of the STS benchmark's dev pairs, pair after pair; skips where the file is absent."""
    return [sentence for row in _sts_rows() for sentence in row[5:7]]


@pytest.fixture(scope="session")
def sts_scores() -> Vectors:
    """How alike people found the two sentences of each pair: 0 to 5."""
    return np.array([float(row[4]) for row in _sts_rows()], dtype=np.float32)


def _sts_rows() -> list[list[str]]:
    if not STS.exists():
        pytest.skip("the STS benchmark is not here")
    return [line.split("\t") for line in STS.read_text(encoding="utf-8").splitlines()]
