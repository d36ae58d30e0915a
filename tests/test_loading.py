"""Texts share rows where the model then still gives its vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ovembed.engine import EngineSettings, openvino_engine, packing
from ovembed.packed import load_engine
from ovembed.vectors import cosine

if TYPE_CHECKING:
    import pytest

    from ovembed import ModelRepository
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


def test_a_model_that_does_not_compile_packed_pads_them(
    repository: ModelRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("no such operation")

    monkeypatch.setattr(openvino_engine, "with_packing", fail)
    engine = load(repository, "tiny")
    assert not engine.packs
    assert_texts_are_themselves(engine)
