"""Exports that start from OpenVINO folders: optimum's, those of OVMS in both layouts, and our own."""

from __future__ import annotations

import hashlib
import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ovembed import ExportRequest, ModelRepository, export_model
from ovembed.engine import OpenVINOEngine
from ovembed.errors import ExportError, InputError
from ovembed.export.quiet import quiet
from ovembed.export.verify import probe_texts
from ovembed.local import LocalEmbedder
from ovembed.repository import Graph, ovms_version, read_golden
from ovembed.repository.graph import Servables, render
from ovembed.repository.subconfig import Subconfig
from ovembed.repository.subconfig import render as render_subconfig
from ovembed.vectors import cosine

if TYPE_CHECKING:
    from pathlib import Path

    from ovembed.protocols import Vectors
    from ovembed.repository import ModelEntry

TEXTS = ["the cat", "a red house by the river", "?", "the weather of the city " * 20]


@pytest.fixture
def own(tmp_path: Path) -> ModelRepository:
    return ModelRepository(tmp_path / "models")


@pytest.fixture(scope="module")
def optimum_folder(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `optimum-cli export openvino` leaves: an fp32 IR, config.json and the tokenizer's files."""
    folder = tmp_path_factory.mktemp("optimum") / "tiny-ir"
    with quiet():
        from optimum.exporters.openvino import main_export
        from optimum.intel import OVConfig

        main_export(
            str(tiny_bert),
            output=folder,
            task="feature-extraction",
            library_name="transformers",
            ov_config=OVConfig(dtype="fp32"),
        )
    return folder


@pytest.fixture
def ov_folder(optimum_folder: Path, tmp_path: Path) -> Path:
    """The same with the graph.pbtxt of an OVMS of 2025.4, which says last-token pooling and no normalization."""
    folder = tmp_path / "served"
    shutil.copytree(optimum_folder, folder)
    graph = Graph(normalize=False, pooling="last", target_device="CPU")
    (folder / "graph.pbtxt").write_text(render(graph, ovms_version("2025.4")), encoding="utf-8")
    return folder


@pytest.fixture
def classic_folder(optimum_folder: Path, tmp_path: Path) -> Path:
    """As OVMS's exporter of 2025.0 makes it: config.json inside the encoder's IR, and no tokenizer.json."""
    import openvino as ov
    from openvino_tokenizers import convert_tokenizer
    from transformers import AutoTokenizer

    folder = tmp_path / "old"
    servables = Servables(tokenizer="old_tokenizer_model", encoder="old_embeddings_model")
    for kind in ("embeddings", "tokenizer"):
        (folder / kind / "1").mkdir(parents=True)
    encoder = ov.Core().read_model(optimum_folder / "openvino_model.xml")
    for key, value in json.loads((optimum_folder / "config.json").read_text(encoding="utf-8")).items():
        encoder.set_rt_info(str(value), ["model_info", key])
    ov.save_model(encoder, folder / "embeddings" / "1" / "model.xml", compress_to_fp16=False)
    with quiet():
        tokenizer = convert_tokenizer(AutoTokenizer.from_pretrained(optimum_folder))
    ov.save_model(tokenizer, folder / "tokenizer" / "1" / "model.xml")
    graph = Graph(normalize=True, servables=servables)
    (folder / "graph.pbtxt").write_text(render(graph, ovms_version("2025.0")), encoding="utf-8")
    (folder / "subconfig.json").write_text(render_subconfig(Subconfig(servables)), encoding="utf-8")
    return folder


def hashes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def export(source: Path, repository: ModelRepository, **settings: Any) -> ModelEntry:
    return export_model(ExportRequest(str(source), **({"precision": "fp32"} | settings)), repository)


def embed(entry: ModelEntry, texts: list[str]) -> Vectors:
    with LocalEmbedder(OpenVINOEngine.load(entry), entry.name) as embedder:
        return embedder.embed(texts, truncate=True).vectors


def origins(entry: ModelEntry) -> dict[str, tuple[str, str]]:
    return {decision.setting: (decision.value, decision.origin) for decision in entry.decisions}


class TestOptimum:
    def test_it_gives_the_vectors_of_its_source_and_is_left_as_it_was(
        self, optimum_folder: Path, own: ModelRepository, repository: ModelRepository
    ) -> None:
        before = hashes(optimum_folder)
        entry = export(optimum_folder, own)
        assert hashes(optimum_folder) == before
        assert origins(entry)["source"] == ("tiny-ir", f"folder {optimum_folder}")
        assert entry.fidelity.minimum > 0.99999
        texts = TEXTS[:3]
        assert cosine(embed(entry, texts), embed(repository.get("tiny"), texts)).min() > 0.99999

    def test_it_can_still_be_quantized(self, optimum_folder: Path, own: ModelRepository) -> None:
        entry = export(optimum_folder, own, precision=None, min_similarity=0.5)
        assert entry.spec.precision == "int8"
        assert entry.efficiency.size_ratio is not None
        assert entry.efficiency.size_ratio < 1

    def test_weights_of_transformers_beside_an_ir_go_first(
        self, tiny_bert: Path, own: ModelRepository, tmp_path: Path
    ) -> None:
        both = tmp_path / "both"
        shutil.copytree(tiny_bert, both)
        (both / "openvino_model.xml").write_bytes(b"broken")
        assert export(both, own).fidelity.minimum > 0.9999

    def test_a_damaged_ir_is_told_in_one_line(self, optimum_folder: Path, own: ModelRepository, tmp_path: Path) -> None:
        folder = tmp_path / "broken"
        shutil.copytree(optimum_folder, folder)
        (folder / "openvino_model.xml").write_text("<net", encoding="utf-8")
        with pytest.raises(ExportError, match=r"openvino_model\.xml cannot be read") as caught:
            export(folder, own)
        assert "\n" not in str(caught.value)
        assert own.names() == []


class TestServedByOvms:
    def test_its_graph_decides_over_defaults(self, ov_folder: Path, own: ModelRepository) -> None:
        entry = export(ov_folder, own)
        told = origins(entry)
        assert told["pooling"] == ("last", "graph.pbtxt")
        assert told["normalize"] == ("no", "graph.pbtxt")
        assert "pooling: LAST" in (entry.folder / "graph.pbtxt").read_text(encoding="utf-8")

    def test_the_flag_decides_over_the_graph(self, ov_folder: Path, own: ModelRepository) -> None:
        assert origins(export(ov_folder, own, pooling="mean"))["pooling"] == ("mean", "--pooling")

    def test_classic_pools_by_the_first_token_and_brings_its_own_tokenizer(
        self, classic_folder: Path, own: ModelRepository, tiny_bert: Path, tmp_path: Path
    ) -> None:
        before = hashes(classic_folder)
        entry = export(classic_folder, own)
        assert hashes(classic_folder) == before
        assert origins(entry)["pooling"][0] == "cls"
        assert entry.tokenizer_path.name == "openvino_tokenizer.xml"
        fresh = export(tiny_bert, ModelRepository(tmp_path / "fresh"), pooling="cls", max_tokens=64)
        assert entry.spec.max_tokens == 64
        assert cosine(embed(entry, TEXTS), embed(fresh, TEXTS)).min() > 0.99999

    def test_its_tokenizer_is_like_the_one_it_was_made_of(
        self, classic_folder: Path, own: ModelRepository, repository: ModelRepository
    ) -> None:
        engine = OpenVINOEngine.load(export(classic_folder, own))
        other = OpenVINOEngine.load(repository.get("tiny"))
        assert engine.vocabulary_size == other.vocabulary_size
        assert engine.closing_tokens == other.closing_tokens == 1
        assert engine.tokenize(TEXTS) == other.tokenize(TEXTS)

    def test_without_any_tokenizer_it_is_refused(self, classic_folder: Path, own: ModelRepository) -> None:
        shutil.rmtree(classic_folder / "tokenizer")
        with pytest.raises(ExportError, match=r"no tokenizer: neither tokenizer\.json nor tokenizer/1/model\.xml"):
            export(classic_folder, own)


class TestOurOwn:
    def test_another_layout_of_it_is_the_same_vector_space(
        self, repository: ModelRepository, own: ModelRepository
    ) -> None:
        entry = repository.get("minilm")
        other = export(entry.folder, own, precision=None, ovms_version="2025.3", name="org/older")
        assert other.spec == entry.spec
        assert other.pooled
        assert cosine(embed(other, TEXTS), embed(entry, TEXTS)).min() > 0.999

    def test_it_is_held_against_its_own_source(self, repository: ModelRepository, own: ModelRepository) -> None:
        entry = repository.get("minilm")
        other = export(entry.folder, own, precision=None)
        assert np.array_equal(read_golden(other.folder).source, read_golden(entry.folder).source)
        assert other.fidelity.texts == len(probe_texts())
        assert other.fidelity.mean == pytest.approx(entry.fidelity.mean, abs=1e-4)
        assert other.efficiency.speedup is None

    @pytest.mark.parametrize("precision", ["fp32", "fp16", "full-int8", "auto"])
    def test_quantized_weights_cannot_be_made_others(
        self, precision: str, repository: ModelRepository, own: ModelRepository
    ) -> None:
        with pytest.raises(InputError, match=f"holds int8 weights; {precision} cannot be made of them"):
            export(repository.get("minilm").folder, own, precision=precision)
        assert own.names() == []

    def test_fp32_weights_can_be_quantized(self, repository: ModelRepository, own: ModelRepository) -> None:
        entry = export(repository.get("minilm-fp32").folder, own, precision="int8")
        assert entry.spec == repository.get("minilm").spec
        assert entry.fidelity.mean > 0.998
