from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from ovembed.hub.files import missing_file, modules_of, needed_files
from tests.models import bare_model, write_json

ROOT = PurePosixPath()


@pytest.mark.parametrize(
    "modules",
    [
        None,
        {"path": ""},
        ["Transformer"],
        [{"path": ""}],
        [{"path": 3, "type": "x.Transformer"}],
        [{"path": "/etc", "type": "x.Transformer"}, {"path": "../other", "type": "x.Dense"}],
    ],
)
def test_a_list_that_says_nothing_leaves_the_models_own_folder(modules: Any, tmp_path: Path) -> None:
    if modules is not None:
        write_json(tmp_path / "modules.json", modules)
    assert modules_of(tmp_path) == {ROOT: "Transformer"}


def test_modules_have_folders_and_kinds(tmp_path: Path) -> None:
    kinds = {"": "Transformer", "./1_Pooling/": "Pooling", "2_Normalize": "Normalize"}
    write_json(tmp_path / "modules.json", [{"path": path, "type": f"a.b.{kind}"} for path, kind in kinds.items()])
    assert modules_of(tmp_path) == {
        ROOT: "Transformer",
        PurePosixPath("1_Pooling"): "Pooling",
        PurePosixPath("2_Normalize"): "Normalize",
    }


@pytest.mark.parametrize(
    ("names", "needed"),
    [
        ("model.safetensors model-00001-of-00001.safetensors", "model.safetensors"),
        ("pytorch_model.bin tf_model.h5 training_args.bin", "pytorch_model.bin"),
        ("pytorch_model-00001-of-00001.bin flax_model.msgpack", "pytorch_model-00001-of-00001.bin"),
        (
            "pytorch_model.bin.index.json pytorch_model-1.bin model.safetensors.index.json model-1.safetensors",
            "model.safetensors.index.json model-1.safetensors",
        ),
        ("model.safetensors model.safetensors.index.json", "model.safetensors"),
        (
            "sentencepiece.bpe.model merges.txt bpe.codes qwen.tiktoken",
            "bpe.codes merges.txt qwen.tiktoken sentencepiece.bpe.model",
        ),
        ("README.md LICENSE .gitattributes logo.svg eval_results.json requirements.txt", ""),
        ("a/model.safetensors a/config.json onnx/model.onnx", ""),
    ],
)
def test_each_weight_comes_in_one_format(names: str, needed: str) -> None:
    assert needed_files(names.split(), [ROOT], trust_remote_code=False) == needed.split()


@pytest.mark.parametrize("index", ["", "{}", "[]", '{"weight_map": 3}'])
def test_shards_without_a_list_of_them_are_not_whole(index: str, tmp_path: Path) -> None:
    folder = bare_model(tmp_path)
    assert missing_file(folder) is None
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    if index:
        (folder / "model.safetensors.index.json").write_text(index, encoding="utf-8")
    assert missing_file(folder) == "model.safetensors.index.json"
