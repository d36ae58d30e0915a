from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from ovembed import hub
from ovembed.errors import ExportError, ModelNotFound
from ovembed.hub import DenseLayer, Found, read_recipe
from tests.models import Dense, bare_model, save_dense, save_modules, save_sentence_transformers_files, write_json

if TYPE_CHECKING:
    from pathlib import Path

    from ovembed.spec import Pooling


def full_model(folder: Path, *, pooling: str = "mean", normalize: bool = True, **config: Any) -> Path:
    """The same with the files of sentence-transformers: 32 tokens, two prompts."""
    bare_model(folder, **config)
    save_sentence_transformers_files(folder, pooling=pooling, normalize=normalize, max_seq_length=32)
    return folder


def test_everything_a_full_model_says(tmp_path: Path) -> None:
    recipe = read_recipe(full_model(tmp_path, pooling="cls"))
    assert recipe.encoder_folder == tmp_path
    assert (recipe.model_type, recipe.dimensions, recipe.position_limit) == ("bert", 32, 64)
    assert recipe.pooling == Found("cls", "1_Pooling/config.json")
    assert recipe.normalize == Found(value=True, origin="modules.json")
    assert recipe.max_tokens == Found(32, "sentence_bert_config.json")
    assert recipe.prompts == Found({"query": "find: ", "document": ""}, "config_sentence_transformers.json")
    assert recipe.default_prompt is None
    assert not recipe.lowercase


def test_defaults_of_a_bare_model_are_told_as_such(tmp_path: Path) -> None:
    recipe = read_recipe(bare_model(tmp_path))
    assert recipe.pooling.value == "mean"
    assert recipe.pooling.origin.startswith("default")
    assert recipe.normalize.value is True
    assert recipe.normalize.origin.startswith("default")
    assert recipe.max_tokens == Found(64, "config.json max_position_embeddings")
    assert recipe.prompts == Found({}, "the model's files name none")


@pytest.mark.parametrize(
    ("content", "pooling"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, "mean"),
        ({"pooling_mode_lasttoken": True}, "last"),
        ({"pooling_mode": "cls"}, "cls"),
        ({"pooling_mode": "mean"}, "mean"),
        ({"pooling_mode": "lasttoken"}, "last"),
        ({"pooling_mode": ["mean"]}, "mean"),
    ],
    ids=str,
)
def test_pooling_in_both_spellings(content: dict[str, Any], pooling: Pooling, tmp_path: Path) -> None:
    full_model(tmp_path)
    write_json(tmp_path / "1_Pooling" / "config.json", content | {"word_embedding_dimension": 32})
    assert read_recipe(tmp_path).pooling == Found(pooling, "1_Pooling/config.json")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
            "pooling_mode_cls_token and pooling_mode_mean_tokens",
        ),
        ({"pooling_mode_max_tokens": True}, "pooling_mode_max_tokens"),
        ({"pooling_mode": "weightedmean"}, "pooling_mode_weightedmean"),
        ({"pooling_mode": ["cls", "mean"]}, "pooling_mode_cls and pooling_mode_mean"),
        ({"pooling_mode_mean_tokens": False}, "nothing"),
    ],
    ids=str,
)
def test_pooling_that_cannot_be_exported_can_be_overridden(content: dict[str, Any], told: str, tmp_path: Path) -> None:
    full_model(tmp_path)
    path = tmp_path / "1_Pooling" / "config.json"
    write_json(path, content)
    with pytest.raises(ExportError, match=f"by {told};.*--pooling") as caught:
        read_recipe(tmp_path)
    assert str(path) in str(caught.value)
    assert read_recipe(tmp_path, pooling="last").pooling == Found("last", "--pooling")


def test_pooling_file_that_is_named_but_missing(tmp_path: Path) -> None:
    full_model(tmp_path)
    (tmp_path / "1_Pooling" / "config.json").unlink()
    with pytest.raises(ExportError, match=r"1_Pooling/config\.json is missing"):
        read_recipe(tmp_path)


def test_a_model_without_a_normalize_module_is_not_normalized(tmp_path: Path) -> None:
    recipe = read_recipe(full_model(tmp_path, normalize=False))
    assert recipe.normalize == Found(value=False, origin="modules.json has no Normalize module")


def test_the_encoder_may_lie_in_a_folder_of_its_own(tmp_path: Path) -> None:
    encoder = bare_model(tmp_path / "0_Transformer")
    write_json(encoder / "sentence_bert_config.json", {"max_seq_length": 20, "do_lower_case": True})
    write_json(
        tmp_path / "modules.json", [{"path": "0_Transformer", "type": "sentence_transformers.models.Transformer"}]
    )
    recipe = read_recipe(tmp_path)
    assert recipe.encoder_folder == encoder
    assert recipe.max_tokens.value == 20
    assert recipe.lowercase


@pytest.mark.parametrize(
    ("max_seq_length", "model_max_length", "positions", "expected"),
    [
        (32, 48, 64, Found(32, "sentence_bert_config.json")),
        (None, 48, 64, Found(48, "tokenizer_config.json")),
        (None, None, 64, Found(64, "config.json max_position_embeddings")),
        (None, int(1e30), 64, Found(64, "config.json max_position_embeddings")),
        (None, 1e30, 64, Found(64, "config.json max_position_embeddings")),
        (100, 48, 64, Found(48, "tokenizer_config.json")),
        (100, 100, 64, Found(64, "config.json max_position_embeddings")),
        (8192, None, None, Found(8192, "sentence_bert_config.json")),
        (None, 131072, 40960, Found(40960, "config.json max_position_embeddings")),
        (None, 32768, 40960, Found(32768, "tokenizer_config.json")),
        (None, int(1e30), None, Found(512, "default: the model's files give no limit")),
    ],
)
def test_max_tokens_and_where_they_come_from(
    max_seq_length: int | None,
    model_max_length: float | None,
    positions: int | None,
    expected: Found[int],
    tmp_path: Path,
) -> None:
    bare_model(tmp_path, max_position_embeddings=positions)
    write_json(tmp_path / "sentence_bert_config.json", {"max_seq_length": max_seq_length})
    write_json(tmp_path / "tokenizer_config.json", {"model_max_length": model_max_length})
    assert read_recipe(tmp_path).max_tokens == expected


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "xlm-roberta", "max_position_embeddings": 8194, "pad_token_id": 1}, 8192),
        ({"model_type": "roberta", "max_position_embeddings": 514}, 512),
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": None}, 512),
        ({"model_type": "camembert", "max_position_embeddings": 514, "pad_token_id": 0}, 513),
        ({"model_type": "bert", "max_position_embeddings": 514, "pad_token_id": 1}, 514),
    ],
    ids=str,
)
def test_positions_that_padding_takes_are_no_places_for_tokens(
    config: dict[str, Any], limit: int, tmp_path: Path
) -> None:
    recipe = read_recipe(bare_model(tmp_path, **config))
    assert (recipe.position_limit, recipe.max_tokens.value) == (limit, limit)


def test_a_tokenizer_that_counts_the_padding_positions_too_is_not_believed(tmp_path: Path) -> None:
    bare_model(tmp_path, model_type="roberta", max_position_embeddings=514, pad_token_id=1)
    write_json(tmp_path / "tokenizer_config.json", {"model_max_length": 514})
    assert read_recipe(tmp_path).max_tokens == Found(512, "config.json max_position_embeddings")


@pytest.mark.parametrize("key", ["hidden_size", "dim", "d_model", "n_embd"])
def test_dimensions_under_every_name(key: str, tmp_path: Path) -> None:
    bare_model(tmp_path, **({"hidden_size": None} | {key: 48}))
    assert read_recipe(tmp_path).dimensions == 48


def test_a_model_without_dimensions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="does not tell the hidden size"):
        read_recipe(bare_model(tmp_path, hidden_size=None))


def test_prompts_and_the_default_one(tmp_path: Path) -> None:
    full_model(tmp_path)
    prompts = {"query": "query: ", "passage": "passage: "}
    content = {"prompts": prompts, "default_prompt_name": "query"}
    write_json(tmp_path / "config_sentence_transformers.json", content)
    recipe = read_recipe(tmp_path)
    assert recipe.prompts == Found(prompts, "config_sentence_transformers.json")
    assert recipe.default_prompt == "query"


@pytest.mark.parametrize(("content", "default"), [({}, "query"), ({"include_prompt": True}, "query")], ids=str)
def test_prompts_that_are_pooled_are_offered(content: dict[str, Any], default: str, tmp_path: Path) -> None:
    save_prompts(full_model(tmp_path), **content)
    recipe = read_recipe(tmp_path)
    assert (recipe.prompts.value, recipe.default_prompt) == ({"query": "query: "}, default)


@pytest.mark.parametrize("pooling", [None, "last"])
def test_prompts_that_the_pooling_leaves_out_are_not_offered(pooling: Pooling | None, tmp_path: Path) -> None:
    save_prompts(full_model(tmp_path), include_prompt=False)
    recipe = read_recipe(tmp_path, pooling=pooling)
    assert (recipe.prompts.value, recipe.default_prompt) == ({}, None)
    assert "include_prompt" in recipe.prompts.origin


def save_prompts(folder: Path, **pooling: Any) -> None:
    content = {"prompts": {"query": "query: "}, "default_prompt_name": "query"}
    write_json(folder / "config_sentence_transformers.json", content)
    write_json(folder / "1_Pooling" / "config.json", {"pooling_mode": "mean"} | pooling)


class TestModules:
    def test_one_we_cannot_export_is_named(self, tmp_path: Path) -> None:
        save_modules(bare_model(tmp_path), ["Transformer", "LSTM", "Pooling", "WordWeights"])
        with pytest.raises(ExportError, match=r"cannot be exported yet: \S+\.LSTM, \S+\.WordWeights\."):
            read_recipe(tmp_path)

    def test_one_of_the_models_own_is_not_taken_for_ours(self, tmp_path: Path) -> None:
        write_json(bare_model(tmp_path) / "modules.json", [{"path": "", "type": "custom_st.Transformer"}])
        with pytest.raises(ExportError, match=r"cannot be exported yet: custom_st\.Transformer"):
            read_recipe(tmp_path)

    @pytest.mark.parametrize(
        "kinds",
        [
            ["Transformer", "Normalize", "Pooling"],
            ["Transformer", "Dense", "Pooling"],
            ["Transformer", "Pooling", "Normalize", "Dense"],
            ["Transformer", "Dense"],
            ["Transformer", "Pooling", "Pooling"],
            ["Pooling"],
            [],
        ],
        ids=" ".join,
    )
    def test_another_order_is_told(self, kinds: list[str], tmp_path: Path) -> None:
        save_modules(bare_model(tmp_path), kinds)
        with pytest.raises(ExportError, match=f"orders its modules {' '.join(kinds) or 'not at all'}; only"):
            read_recipe(tmp_path)

    def test_newer_versions_call_them_otherwise(self, tmp_path: Path) -> None:
        full_model(tmp_path, pooling="cls")
        homes = {
            "": "base.modules.transformer.Transformer",
            "1_Pooling": "sentence_transformer.modules.pooling.Pooling",
        }
        modules = [{"path": path, "type": f"sentence_transformers.{home}"} for path, home in homes.items()]
        write_json(tmp_path / "modules.json", modules)
        recipe = read_recipe(tmp_path)
        assert (recipe.pooling.value, recipe.normalize.value) == ("cls", False)

    @pytest.mark.parametrize("kind", ["1_Pooling", "2_Normalize"])
    def test_one_that_works_on_tokens_is_refused(self, kind: str, tmp_path: Path) -> None:
        (full_model(tmp_path) / "2_Normalize").mkdir()
        write_json(tmp_path / kind / "config.json", {"pooling_mode": "mean", "module_input_name": "token_embeddings"})
        with pytest.raises(ExportError, match=f"{kind}/config.json asks for module_input_name 'token_embeddings'"):
            read_recipe(tmp_path)

    def test_an_encoder_made_for_another_task_is_refused(self, tmp_path: Path) -> None:
        write_json(full_model(tmp_path) / "sentence_bert_config.json", {"transformer_task": "fill-mask"})
        with pytest.raises(ExportError, match="asks for the task 'fill-mask'"):
            read_recipe(tmp_path)


class TestDense:
    """Two layers after the pooling: 32 to 48 to 16."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        save_modules(full_model(tmp_path), ["Transformer", "Pooling", "Dense", "Dense", "Normalize"])
        save_dense(tmp_path / "2_Dense", Dense(32, 48))
        save_dense(tmp_path / "3_Dense", Dense(48, 16, "Identity", bias=False))
        return tmp_path

    def test_layers_in_their_order(self, folder: Path) -> None:
        recipe = read_recipe(folder)
        assert recipe.dense == (
            DenseLayer(folder / "2_Dense", 32, 48, bias=True, activation="tanh"),
            DenseLayer(folder / "3_Dense", 48, 16, bias=False, activation="identity"),
        )
        assert recipe.dimensions == 16
        assert recipe.normalize.value is True

    @pytest.mark.parametrize("activation", ["Identity", "Tanh", "ReLU", "GELU"])
    def test_activations(self, activation: str, folder: Path) -> None:
        save_dense(folder / "3_Dense", Dense(48, 16, activation))
        assert read_recipe(folder).dense[1].activation == activation.lower()

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"activation_function": "torch.nn.modules.activation.SELU"}, "the activation torch.*SELU; Identity, Tanh"),
            ({"activation_function": None}, "the activation None"),
            ({"use_residual": True}, "residual connection"),
            ({"in_features": 32}, "32 features in and 16 out, but the layer before it gives 48"),
            ({"out_features": "many"}, "48 features in and many out"),
            ({"module_input_name": "token_embeddings"}, "module_input_name 'token_embeddings'"),
            ({"module_output_name": "other"}, "module_output_name 'other'"),
        ],
        ids=str,
    )
    def test_what_cannot_be_rebuilt_is_named(self, changes: dict[str, Any], words: str, folder: Path) -> None:
        path = folder / "3_Dense" / "config.json"
        write_json(path, json.loads(path.read_text(encoding="utf-8")) | changes)
        with pytest.raises(ExportError, match=words) as caught:
            read_recipe(folder)
        assert str(path) in str(caught.value)

    def test_missing_files_are_named(self, folder: Path) -> None:
        (folder / "3_Dense" / "model.safetensors").unlink()
        with pytest.raises(ExportError, match="3_Dense holds no weights"):
            read_recipe(folder)
        (folder / "3_Dense" / "config.json").unlink()
        with pytest.raises(ExportError, match=r"3_Dense/config\.json is missing"):
            read_recipe(folder)

    def test_the_hash_of_the_weights_covers_them_and_their_activations(self, folder: Path) -> None:
        hashes = {read_recipe(folder).weights_sha256(), hub.weights_sha256(folder)}
        save_dense(folder / "2_Dense", Dense(32, 48, "ReLU"))
        hashes.add(read_recipe(folder).weights_sha256())
        with (folder / "3_Dense" / "model.safetensors").open("ab") as file:
            file.write(b" ")
        hashes.add(read_recipe(folder).weights_sha256())
        assert len(hashes) == 4

    def test_without_them_the_hash_is_the_encoders(self, tmp_path: Path) -> None:
        assert read_recipe(full_model(tmp_path)).weights_sha256() == hub.weights_sha256(tmp_path)


@pytest.mark.parametrize("model_type", ["qwen3", "mistral"])
def test_a_bare_decoder_is_pooled_at_its_last_token(model_type: str, tmp_path: Path) -> None:
    assert read_recipe(bare_model(tmp_path, model_type=model_type)).pooling == Found(
        "last", f"default for {model_type}"
    )


@pytest.mark.parametrize(("content", "left"), [({"padding_side": "left"}, True), ({"padding_side": "right"}, False)])
def test_the_side_that_the_tokenizer_pads(content: dict[str, str], left: bool, tmp_path: Path) -> None:
    write_json(bare_model(tmp_path) / "tokenizer_config.json", content)
    assert read_recipe(tmp_path).pads_left == left


@pytest.mark.parametrize("content", ["{", "[]", '"text"', "\x00"])
@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "tokenizer_config.json",
        "sentence_bert_config.json",
        "config_sentence_transformers.json",
        "1_Pooling/config.json",
    ],
)
def test_a_broken_file_is_named(name: str, content: str, tmp_path: Path) -> None:
    full_model(tmp_path)
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(ExportError) as caught:
        read_recipe(tmp_path)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["{", '{"a": 1}', "[1]", '[{"path": ""}]', "null"])
def test_a_broken_list_of_modules_is_named(content: str, tmp_path: Path) -> None:
    full_model(tmp_path)
    (tmp_path / "modules.json").write_text(content, encoding="utf-8")
    with pytest.raises(ExportError, match=r"modules\.json is not a list of sentence-transformers modules"):
        read_recipe(tmp_path)


def test_a_folder_without_a_config_holds_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"holds no model: it has no config\.json"):
        read_recipe(tmp_path)


def test_a_folder_without_weights_is_told(tmp_path: Path) -> None:
    (bare_model(tmp_path) / "model.safetensors").unlink()
    with pytest.raises(ModelNotFound, match="holds no weights"):
        read_recipe(tmp_path)


def test_safetensors_are_preferred_to_pytorch_weights(tmp_path: Path) -> None:
    for name in ("pytorch_model.bin", "model-2.safetensors", "model-1.safetensors", "training_args.bin"):
        (tmp_path / name).touch()
    assert [path.name for path in hub.weight_files(tmp_path)] == ["model-1.safetensors", "model-2.safetensors"]
    for path in tmp_path.glob("*.safetensors"):
        path.unlink()
    assert [path.name for path in hub.weight_files(tmp_path)] == ["pytorch_model.bin"]


def test_hash_of_one_weight_file_is_its_own_and_of_several_depends_on_each(tmp_path: Path) -> None:
    (tmp_path / "model-1.safetensors").write_bytes(b"abc")
    assert hub.weights_sha256(tmp_path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    hashes = set()
    for second in (b"", b"abc", b"abd"):
        (tmp_path / "model-2.safetensors").write_bytes(second)
        hashes.add(hub.weights_sha256(tmp_path))
    assert len(hashes) == 3
