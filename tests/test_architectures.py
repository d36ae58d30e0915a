"""A tiny random model of every architecture and recipe: its export against sentence-transformers on the source."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ovembed import ExportRequest, ModelRepository, export_model
from ovembed.admission import admit_texts
from ovembed.batches import layout
from ovembed.engine import EngineSettings, OpenVINOEngine
from ovembed.errors import ExportError
from ovembed.export.heads import needs_pooling_inside, read_weights
from ovembed.export.quantize import quantize
from ovembed.hub import read_recipe
from ovembed.vectors import cosine
from tests import models
from tests.models import WORDS, Dense
from tests.test_fidelity import embed, ovms_tokenizer, reference, reference_ids, sentence_transformer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ovembed.protocols import Vectors
    from ovembed.repository import ModelEntry

# One word to more than any of the limits, and what tokenizers treat in ways of their own.
TEXTS = [
    *(" ".join((WORDS * 2)[count : 2 * count + 1]) for count in range(0, 44, 4)),
    "MiXeD CaSe, UPPER CASE and lower case",
    "caf\u00e9 na\u00efve \u6771\u4eac \u041c\u043e\u0441\u043a\u0432\u0430 \U0001f600",
    "x" * 900,
]

# Every tiny vocabulary is larger.
KNOWN_IDS = 50


@dataclass(frozen=True)
class Case:
    """A tiny model, and whether its export has to pool by itself."""

    architecture: str
    pooled: bool = False
    settings: dict[str, Any] = field(default_factory=dict)


CASES = {
    "bert": Case("bert"),
    "distilbert": Case("distilbert"),
    "roberta": Case("roberta", settings={"max_seq_length": 512}),
    "xlm-roberta": Case("xlm-roberta", settings={"max_seq_length": None}),
    "mpnet": Case("mpnet", settings={"max_seq_length": None}),
    "modernbert": Case("modernbert", settings={"pooling": "cls"}),
    "nomic_bert": Case("nomic_bert"),
    "qwen3-left": Case("qwen3", pooled=True, settings={"pooling": "last", "padding_side": "left"}),
    "qwen3-right": Case("qwen3", settings={"pooling": "last"}),
    "gemma3_text-dense": Case(
        "gemma3_text",
        pooled=True,
        settings={"dense": [Dense(32, 48, "Identity", bias=False), Dense(48, 24, "Identity", bias=False)]},
    ),
    "bert-dense": Case("bert", pooled=True, settings={"dense": [Dense(32, 16)], "pooling": "cls", "normalize": False}),
    "bert-lowercase": Case("bert", settings={"lowercase": True}),
}


@dataclass(frozen=True)
class Exported:
    case: Case
    source: Path
    entry: ModelEntry
    model: Any


@pytest.fixture(scope="module", params=CASES, ids=str)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    case = CASES[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    source = models.save_tiny(folder / "tiny", case.architecture, **case.settings)
    entry = export_model(ExportRequest(str(source), precision="fp32"), ModelRepository(folder / "models"))
    return Exported(case, source, entry, sentence_transformer(source))


class TestVectors:
    def test_alone_and_in_company_they_are_the_sources(self, exported: Exported) -> None:
        """sentence-transformers pads mixed lengths on the side that the source names, we always on the right."""
        together = reference(exported.model, TEXTS)
        alone = np.stack([reference(exported.model, [text])[0] for text in TEXTS])
        assert cosine(embed(exported.entry, TEXTS), together).min() >= 0.9999
        assert cosine(embed(exported.entry, TEXTS, max_batch_tokens=1), alone).min() >= 0.9999
        assert np.median(off_diagonal(cosine_matrix(together))) < 0.97

    def test_lengths_are_the_sources(self, exported: Exported) -> None:
        ours = np.linalg.norm(embed(exported.entry, TEXTS), axis=1)
        np.testing.assert_allclose(ours, np.linalg.norm(reference(exported.model, TEXTS), axis=1), rtol=1e-4)

    def test_every_number_of_texts_and_tokens_runs(self, exported: Exported) -> None:
        """Nothing in the graph holds for the lengths of the example only, nor does the padding tell on a text."""
        engine = OpenVINOEngine.load(exported.entry, EngineSettings(streams=1))
        limit = exported.entry.spec.max_tokens
        random = np.random.default_rng(5)
        for longest in [*range(1, min(limit, 40) + 1), limit]:
            count = longest % 5 + 1
            batch = [random.integers(5, KNOWN_IDS, max(1, longest - 9 * row)).tolist() for row in range(count)]
            alone = np.concatenate([engine.run([tokens]) for tokens in batch])
            assert cosine(engine.run(batch), alone).min() >= 0.9999

    def test_texts_that_share_rows_get_the_same_vectors(self, exported: Exported) -> None:
        """All but encoders that pool by themselves, where texts are padded as ever."""
        alone = OpenVINOEngine.load(exported.entry, EngineSettings(streams=1))
        engine = OpenVINOEngine.load(exported.entry, EngineSettings(streams=1, packing=True))
        random = np.random.default_rng(7)
        longest = min(exported.entry.spec.max_tokens, 60)
        lengths = [*random.integers(1, longest // 2, 12).tolist(), longest]
        batch = [random.integers(5, KNOWN_IDS, length).tolist() for length in lengths]
        rows = engine.run(batch)
        assert engine.packs is not exported.case.pooled
        assert layout(lengths, exported.entry.spec.max_tokens, packs=True).rows < len(batch)
        assert cosine(rows, np.concatenate([alone.run([tokens]) for tokens in batch])).min() >= 0.9999


def cosine_matrix(rows: Vectors) -> Vectors:
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(unit @ unit.T)


def off_diagonal(matrix: Vectors) -> Vectors:
    return matrix[~np.eye(len(matrix), dtype=bool)]


class TestInt8:
    """Compressed weights; random ones round badly, so the exact model is no measure here."""

    @pytest.fixture
    def compressed(self, exported: Exported, tmp_path: Path) -> Path:
        quantize(exported.entry.model_path, tmp_path / "int8.xml", "int8", [])
        return tmp_path / "int8.xml"

    def test_only_weights_are_compressed(self, compressed: Path) -> None:
        """Of what else is multiplied, rotary frequencies would pass for weights too: of rank 3."""
        constants = [op for op in read_ir(compressed).get_ops() if op.get_type_name() == "Constant"]
        ranks = {len(op.shape) for op in constants if op.get_element_type().to_string() == "u8"}
        assert ranks == {2}

    def test_streams_make_no_difference(self, compressed: Path) -> None:
        import openvino as ov

        ids = np.random.default_rng(3).integers(5, KNOWN_IDS, (2, 9))
        feed = {port.any_name: ids for port in read_ir(compressed).inputs}
        feed |= {name: np.full_like(ids, name == "attention_mask") for name in feed if name != "input_ids"}
        rows = []
        for streams in (1, 2, 2):
            settings = {"NUM_STREAMS": streams, "INFERENCE_NUM_THREADS": 2, "INFERENCE_PRECISION_HINT": "f32"}
            rows.append(ov.Core().compile_model(compressed, "CPU", settings)(feed)[0])
        for row in rows[1:]:
            np.testing.assert_allclose(row, rows[0], atol=1e-3)


class TestTokens:
    def test_ids_are_the_sources(self, exported: Exported) -> None:
        ours = OpenVINOEngine.load(exported.entry).tokenize(TEXTS)
        for tokens, wanted in zip(ours, reference_ids(exported.model, TEXTS), strict=True):
            assert tokens == wanted or len(tokens) > len(wanted) == exported.entry.spec.max_tokens

    def test_the_tokenizer_for_ovms_gives_the_same_ids_and_pads_on_the_right(self, exported: Exported) -> None:
        """By itself it cuts to the model's length; servers switch that off."""
        ours = admit_texts(OpenVINOEngine.load(exported.entry), TEXTS, truncate=True).tokens
        ovms = ovms_tokenizer(exported.entry.folder)(TEXTS)
        for row, tokens in enumerate(ours):
            assert ovms["attention_mask"][row].tolist() == [
                int(place < len(tokens)) for place in range(max(map(len, ours)))
            ]
            assert ovms["input_ids"][row][: len(tokens)].tolist() == tokens
        config = json.loads((exported.entry.folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        assert config["padding_side"] == "right"


class TestGraph:
    def test_inputs_are_those_that_servers_feed(self, exported: Exported) -> None:
        inputs = {port.any_name for port in read_ir(exported.entry.model_path).inputs}
        assert {"input_ids", "attention_mask"} <= inputs <= {"input_ids", "attention_mask", "token_type_ids"}

    def test_the_first_output_of_rank_three_are_hidden_states_or_a_pooled_one(self, exported: Exported) -> None:
        shapes = [port.partial_shape for port in read_ir(exported.entry.model_path).outputs]
        shape = next(shape for shape in shapes if len(shape) == 3)
        assert exported.entry.pooled == exported.case.pooled
        assert shape[0].is_dynamic
        if exported.case.pooled:
            assert [shape[1].get_length(), shape[2].get_length()] == [1, exported.entry.spec.dimensions]
            assert len(shapes) == 1
        else:
            assert shape[1].is_dynamic


def read_ir(path: Path) -> Any:
    import openvino as ov

    return ov.Core().read_model(path)


def test_a_limit_of_514_positions_leaves_512_tokens(tmp_path: Path) -> None:
    source = models.save_tiny(tmp_path / "tiny", "roberta", max_seq_length=514)
    edit_json(source / "tokenizer_config.json", model_max_length=514)
    recipe = read_recipe(source)
    assert (recipe.position_limit, recipe.max_tokens.value) == (512, 512)


def test_what_sentence_transformers_writes_today_reads_the_same(tmp_path: Path) -> None:
    settings = CASES["bert-dense"].settings
    older = models.save_tiny(tmp_path / "older", "bert", **(settings | {"normalize": True}))
    sentence_transformer(older).save(str(tmp_path / "newer"))
    modules = (tmp_path / "newer" / "modules.json").read_text(encoding="utf-8")
    assert "sentence_transformers.models." not in modules
    before, after = read_recipe(older), read_recipe(tmp_path / "newer")
    assert [layer.activation for layer in after.dense] == ["tanh"]
    for name in ("pooling", "normalize", "prompts", "default_prompt", "dimensions", "position_limit", "model_type"):
        assert getattr(before, name) == getattr(after, name)
    assert before.max_tokens.value == after.max_tokens.value


def test_last_token_pooling_moves_inside_only_where_the_source_pads_left(tmp_path: Path) -> None:
    for side, pooling, inside in [("left", "last", True), ("left", "mean", False), ("right", "last", False)]:
        folder = models.save_tiny(tmp_path / f"{side}-{pooling}", "qwen3", pooling=pooling, padding_side=side)
        assert needs_pooling_inside(read_recipe(folder)) == inside


class TestDenseWeights:
    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        return models.save_tiny(tmp_path / "tiny", "bert", dense=[Dense(32, 16)])

    def test_files_of_pytorch_are_read_too(self, source: Path) -> None:
        import torch

        wanted = read_weights(read_recipe(source).dense[0])
        path = source / "2_Dense" / "pytorch_model.bin"
        path.with_name("model.safetensors").unlink()
        torch.save({f"linear.{name}": weight for name, weight in wanted.items()}, path)
        found = read_weights(read_recipe(source).dense[0])
        assert all(torch.equal(found[name], weight) for name, weight in wanted.items())

    @pytest.mark.parametrize("content", [b"", b"\x00" * 64])
    @pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
    def test_damaged_ones_are_named(self, name: str, content: bytes, source: Path) -> None:
        (source / "2_Dense" / "model.safetensors").unlink()
        (source / "2_Dense" / name).write_bytes(content)
        with pytest.raises(ExportError, match=f"2_Dense/{name} is damaged"):
            read_weights(read_recipe(source).dense[0])

    def test_those_of_another_shape_are_named(self, source: Path) -> None:
        edit_json(source / "2_Dense" / "config.json", out_features=17)
        with pytest.raises(ExportError, match=r"holds no linear\.weight of shape \(17, 32\)"):
            read_weights(read_recipe(source).dense[0])


def edit_json(path: Path, **changes: Any) -> None:
    models.write_json(path, json.loads(path.read_text(encoding="utf-8")) | changes)


def only_a_slow_tokenizer(source: Path) -> None:
    (source / "tokenizer.json").unlink()
    (source / "vocab.txt").write_text("[PAD]\n", encoding="utf-8")
    models.write_json(source / "tokenizer_config.json", {"tokenizer_class": "ByT5Tokenizer"})


def an_encoder_with_a_decoder(source: Path) -> None:
    from transformers import T5Config

    T5Config(vocab_size=200, d_model=32, num_layers=1, num_heads=2, d_ff=32, d_kv=16).save_pretrained(source)


def a_model_that_takes_no_text(source: Path) -> None:
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    ViTModel(config).save_pretrained(source)


def code_of_its_own(source: Path) -> None:
    """It would leave a file behind if it were run."""
    (source / "own.py").write_text("open(__file__ + '.ran', 'w').close()\n", encoding="utf-8")
    edit_json(source / "config.json", model_type="own", auto_map={"AutoConfig": "own.Config", "AutoModel": "own.Model"})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (only_a_slow_tokenizer, "its tokenizer has no fast version. Choose a model"),
        (an_encoder_with_a_decoder, "is a 't5' model, which cannot be exported.*decoder.*another architecture"),
        (a_model_that_takes_no_text, "is a 'vit' model, which cannot be exported.*another architecture"),
        (code_of_its_own, "brings code of its own.*--trust-remote-code"),
    ],
)
def test_what_cannot_be_exported_is_told_in_one_line(
    change: Callable[[Path], None], words: str, tiny_bert: Path, tmp_path: Path
) -> None:
    source = shutil.copytree(tiny_bert, tmp_path / "source")
    change(source)
    with pytest.raises(ExportError, match=words) as caught:
        export_model(ExportRequest(str(source)), ModelRepository(tmp_path / "models"))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.rglob("*.ran")) == []
