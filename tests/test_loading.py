"""Texts share rows where the model then still gives its vectors."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ovembed.engine import EngineSettings, openvino_engine, packing
from ovembed.errors import EngineError
from ovembed.packed import load_engine
from ovembed.repository import ModelRepository
from ovembed.serving.loading import load_model
from ovembed.vectors import cosine

if TYPE_CHECKING:
    from pathlib import Path

    from ovembed.engine import OpenVINOEngine

TEXTS = ["the cat", "a dog in the old house by the river", "music", "green water and a red stone"]


def load(repository: ModelRepository, name: str) -> OpenVINOEngine:
    return load_engine(repository.get(name), EngineSettings())


def assert_texts_are_themselves(engine: OpenVINOEngine) -> None:
    tokens = engine.tokenize(TEXTS)
    alone = np.concatenate([engine.run([each]) for each in tokens])
    assert cosine(engine.run(tokens), alone).min() > 0.9999


def test_a_server_packs_texts(repository: ModelRepository) -> None:
    engine = load(repository, "tiny")
    assert engine.packs
    assert_texts_are_themselves(engine)


def test_a_model_whose_positions_are_hidden_pads_them(
    repository: ModelRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "_count_positions", lambda *_: None)
    assert openvino_engine.OpenVINOEngine.load(repository.get("minilm-fp32"), EngineSettings(packing=True)).packs
    engine = load(repository, "minilm-fp32")
    assert not engine.packs
    assert_texts_are_themselves(engine)


def test_a_model_whose_weights_are_damaged_is_not_served(repository: ModelRepository, tmp_path: Path) -> None:
    folder = shutil.copytree(repository.folder, tmp_path / "models") / "minilm-fp32"
    content = bytearray((folder / "openvino_model.bin").read_bytes())
    numbers = np.frombuffer(content, dtype=np.float32, count=len(content) // 4)[len(content) // 8 :]
    weights = (np.abs(numbers) > 1e-6) & (np.abs(numbers) < 1)  # the others are shapes and axes
    numbers[weights] *= -1
    (folder / "openvino_model.bin").write_bytes(content)
    with pytest.raises(EngineError, match="minilm-fp32 gives other vectors"):
        load_model(ModelRepository(folder.parent).get("minilm-fp32"), EngineSettings())


def test_a_model_that_does_not_compile_packed_pads_them(
    repository: ModelRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("no such operation")

    monkeypatch.setattr(openvino_engine, "with_packing", fail)
    engine = load(repository, "tiny")
    assert not engine.packs
    assert_texts_are_themselves(engine)
