"""A clean environment for every test, and the models that several test files share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ovembed import ExportRequest, ModelRepository, export_model
from ovembed.hub import DEFAULT_MODEL
from tests import models

STS = Path(__file__).parents[2] / "shared" / "data" / "sts-dev.tsv"


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
    """Neither the user's Hugging Face cache nor their compiled models take part."""
    home = tmp_path_factory.mktemp("caches")
    os.environ["XDG_CACHE_HOME"] = str(home)
    os.environ["HF_HOME"] = str(home / "huggingface")
    os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT with the files that sentence-transformers writes; mean pooling, normalized, 32 tokens."""
    return models.save_tiny_bert(tmp_path_factory.mktemp("source") / "tiny-bert")


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> ModelRepository:
    """`tiny` (fp32), and the default model as `minilm` (int8) and `minilm-fp32`, made by the real export."""
    made = ModelRepository(tmp_path_factory.mktemp("repository") / "models")
    export_model(ExportRequest(str(tiny_bert), name="tiny", precision="fp32"), made)
    export_model(ExportRequest(DEFAULT_MODEL, name="minilm"), made)
    export_model(ExportRequest(DEFAULT_MODEL, name="minilm-fp32", precision="fp32"), made)
    return made


@pytest.fixture(scope="session")
def sts_sentences() -> list[str]:
    """The 3,000 sentences of the STS benchmark's dev pairs, pair after pair; skips where the file is absent."""
    if not STS.exists():
        pytest.skip("the STS benchmark is not here")
    rows = [line.split("\t") for line in STS.read_text(encoding="utf-8").splitlines()]
    return [sentence for row in rows for sentence in row[5:7]]
