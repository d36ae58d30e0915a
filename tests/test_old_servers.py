"""Exports for servers of other releases, run by the OpenVINO of those: what they would answer is what we answer."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ovembed import ExportRequest, ModelRepository, export_model
from ovembed.engine import OpenVINOEngine
from ovembed.errors import ExportError, InputError
from ovembed.local import LocalEmbedder
from ovembed.vectors import cosine
from tests import models

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ovembed.protocols import Vectors
    from ovembed.repository import ModelEntry

SERVER = Path(__file__).with_name("old_server.py")

# The first release, and the newest one, which is what an export is made for unless it is told otherwise.
PACKAGES = {
    "2025.0": ["openvino==2025.0.0", "openvino-tokenizers==2025.0.0.0"],
    "2026.3": ["openvino==2026.3.0", "openvino-tokenizers==2026.3.0.0", "openvino-genai==2026.3.0.0"],
}

BATCHES = [
    ["the cat"],
    ["a red house by the river", "?", "Il pleut des cordes depuis ce matin."],
    ["the old green bridge " * 5, "I", "\u00dcber den Wolken", "\u041f\u0440\u0438\u0432\u0435\u0442"],
    ["\u4eca\u65e5\u306f\u5929\u6c17", "MiXeD CaSe caf\u00e9", "x = f(a) + 3", "\u0928\u092e\u0938\u094d\u0924\u0947"],
]


class Server:
    """The Python of one release, alone in an environment of its own."""

    def __init__(self, python: Path) -> None:
        self._python = python

    def embed(self, entry: ModelEntry, batches: Sequence[Sequence[str]]) -> Vectors:
        run = self.run(entry, batches)
        assert run.returncode == 0, run.stderr
        return np.array(json.loads(run.stdout), dtype=np.float32)

    def run(self, entry: ModelEntry, batches: Sequence[Sequence[str]]) -> subprocess.CompletedProcess[str]:
        command = [self._python, "-I", "-W", "ignore", SERVER, entry.folder]
        return subprocess.run(command, input=json.dumps(batches), capture_output=True, text=True, timeout=120)


def install(folder: Path, release: str) -> Server:
    venv.create(folder)
    python = folder / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--retries", "1", *PACKAGES[release]]
    environment = {name: value for name, value in os.environ.items() if name != "PIP_CONSTRAINT"}
    pip = subprocess.run(command, env=environment, capture_output=True, text=True)
    if pip.returncode != 0:
        pytest.skip(f"the packages of OVMS {release} cannot be installed: {pip.stderr.strip().splitlines()[-1]}")
    return Server(python)


@pytest.fixture(scope="session")
def first(tmp_path_factory: pytest.TempPathFactory) -> Server:
    return install(tmp_path_factory.mktemp("first") / "env", "2025.0")


@pytest.fixture(scope="session")
def newest(tmp_path_factory: pytest.TempPathFactory) -> Server:
    return install(tmp_path_factory.mktemp("newest") / "env", "2026.3")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> ModelRepository:
    return ModelRepository(tmp_path_factory.mktemp("old") / "models")


def export(source: Path, repository: ModelRepository, **settings: Any) -> ModelEntry:
    return export_model(ExportRequest(str(source), **settings), repository)


def ours(entry: ModelEntry, batches: Sequence[Sequence[str]]) -> Vectors:
    with LocalEmbedder(OpenVINOEngine.load(entry), entry.name) as embedder:
        return embedder.embed([text for batch in batches for text in batch], truncate=True).vectors


class TestClassic:
    @pytest.mark.parametrize(("name", "least"), [("minilm-fp32", 0.9999), ("minilm", 0.999)])
    def test_a_mean_pooled_model_in_another_layout(
        self, name: str, least: float, first: Server, repository: ModelRepository, own: ModelRepository
    ) -> None:
        made = repository.get(name)
        entry = export(made.folder, own, name=name, precision=made.spec.precision, ovms_version="2025.0")
        assert cosine(first.embed(entry, BATCHES), ours(entry, BATCHES)).min() >= least

    @pytest.mark.parametrize(
        ("architecture", "pooling"), [("bert", "cls"), ("bert", "mean"), ("qwen3", "last"), ("roberta", "mean")]
    )
    def test_other_models(
        self, architecture: str, pooling: str, first: Server, own: ModelRepository, tmp_path: Path
    ) -> None:
        source = models.save_tiny(tmp_path / architecture, architecture, pooling=pooling, max_seq_length=200)
        name = f"{architecture}-{pooling}"
        entry = export(source, own, name=name, precision="fp32", ovms_version="2025.0")
        assert cosine(first.embed(entry, BATCHES), ours(entry, BATCHES)).min() >= 0.9999

    def test_texts_are_cut_only_when_asked_for(self, tiny_bert: Path, first: Server, own: ModelRepository) -> None:
        batches = [["the weather of the city " * 20, "the cat"]]
        for truncate in (True, False):
            name = f"cut-{truncate}"
            entry = export(tiny_bert, own, name=name, precision="fp32", ovms_version="2025.0", truncate=truncate)
            if truncate:
                assert cosine(first.embed(entry, batches), ours(entry, batches)).min() >= 0.9999
            else:
                assert "Input length 102 longer than allowed 32" in first.run(entry, batches).stderr

    def test_a_tokenizer_that_it_cannot_run_is_refused_with_the_releases_that_can(
        self, own: ModelRepository, tmp_path: Path
    ) -> None:
        source = models.save_tiny(tmp_path / "tiny", "xlm-roberta")
        steps: list[str] = []
        with pytest.raises(ExportError, match=r"OVMS 2025\.0 .*UnigramTokenizer\..*: 2025\.1, 2025\.2, .*2026\.3\.$"):
            export_model(ExportRequest(str(source), ovms_version="2025.0"), own, on_step=steps.append)
        assert steps[-1] == "Converting to OpenVINO"

    def test_a_tokenizer_without_its_json_cannot_be_made_to_cut(
        self, repository: ModelRepository, own: ModelRepository, tmp_path: Path
    ) -> None:
        folder = shutil.copytree(repository.get("tiny").folder, tmp_path / "converted")
        for name in ("tokenizer.json", "ovembed.json"):
            (folder / name).unlink()
        with pytest.raises(InputError, match=r"has no tokenizer\.json to make one of that cuts\. Leave out --truncate"):
            export(folder, own, name="cutting", ovms_version="2025.0", truncate=True)


class TestNewest:
    @pytest.mark.parametrize(("name", "least"), [("minilm-fp32", 0.9999), ("minilm", 0.999), ("tiny", 0.9999)])
    def test_it_reads_what_is_made_by_default(
        self, name: str, least: float, newest: Server, repository: ModelRepository
    ) -> None:
        entry = repository.get(name)
        assert cosine(newest.embed(entry, BATCHES), ours(entry, BATCHES)).min() >= least


class TestFiles:
    """What the servers' own code asks of the files, whether or not their packages can be had here."""

    def test_the_limit_of_a_tokenizer_is_a_constant_and_nothing_is_remembered(
        self, repository: ModelRepository
    ) -> None:
        nodes = nodes_of(repository.get("tiny").folder / "openvino_tokenizer.xml")
        assert nodes["Truncate"][0].input_value(3).get_node().get_type_name() == "Constant"
        assert not nodes.keys() & {"ReadValue", "Assign"}

    def test_the_encoder_takes_no_token_types_and_masks_with_numbers(self, repository: ModelRepository) -> None:
        nodes = nodes_of(repository.get("minilm").folder / "openvino_model.xml")
        assert {node.get_output_tensor(0).any_name for node in nodes["Parameter"]} == {"input_ids", "attention_mask"}
        masks = {node.input_value(3).get_element_type().get_type_name() for node in nodes["ScaledDotProductAttention"]}
        assert masks == {"f32"}

    def test_a_classic_folder_has_older_operations_and_a_vector_for_every_token(
        self, tiny_bert: Path, own: ModelRepository
    ) -> None:
        folder = export(tiny_bert, own, name="files", precision="fp32", ovms_version="2025.1").folder
        nodes = nodes_of(folder / "tokenizer/1/model.xml")
        assert {"NormalizeUnicode", "CaseFold"} <= nodes.keys()
        assert not nodes.keys() & {"Truncate", "CharsMapNormalization", "ReadValue", "Assign"}
        result = nodes_of(folder / "embeddings/1/model.xml")["Result"][0].get_output_partial_shape(0)
        assert [size.is_dynamic for size in result] == [True, True, False]


def nodes_of(path: Path) -> dict[str, list[Any]]:
    """The operations of a model, by their types."""
    import openvino as ov
    import openvino_tokenizers  # noqa: F401  (its import registers the operations)

    nodes: dict[str, list[Any]] = {}
    for node in ov.Core().read_model(path).get_ops():
        nodes.setdefault(node.get_type_name(), []).append(node)
    return nodes
