"""What a model's own files say about making vectors of texts.

Formats: sentence-transformers' modules.json, sentence_bert_config.json, config_sentence_transformers.json and the
config.json of Pooling, Dense and Normalize, as versions 2 to 6 write them; transformers' config.json and
tokenizer_config.json.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast

from ovembed.errors import ExportError, ModelNotFound
from ovembed.hub.weights import weight_files, weights_sha256

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ovembed.spec import Pooling

T = TypeVar("T")
Activation = Literal["identity", "tanh", "relu", "gelu"]

# These count positions from pad_token_id + 1, so that many of max_position_embeddings are no places for tokens.
_OFFSET_POSITIONS = {
    "camembert",
    "data2vec-text",
    "longformer",
    "mpnet",
    "roberta",
    "xlm-roberta",
    "xlm-roberta-xl",
}

# The flags of sentence-transformers before version 6, and its words since.
_POOLING_MODES: dict[str, Pooling] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "last",
    "pooling_mode_cls": "cls",
    "pooling_mode_mean": "mean",
}

# Models that read from left to right: only their last token has seen the whole text.
_DECODERS = {"gemma", "gemma2", "llama", "mistral", "phi3", "qwen2", "qwen3"}

_MODULE_KINDS = ("Transformer", "Pooling", "Dense", "Normalize")
_MODULE_ORDER = re.compile(r"Transformer( Pooling( Dense)*)?( Normalize)?")

_ACTIVATIONS: dict[str, Activation] = {
    "torch.nn.modules.linear.Identity": "identity",
    "torch.nn.modules.activation.Tanh": "tanh",
    "torch.nn.modules.activation.ReLU": "relu",
    "torch.nn.modules.activation.GELU": "gelu",
}


@dataclass(frozen=True, slots=True)
class Found(Generic[T]):
    """A value, and the file (or default) that it comes from."""

    value: T
    origin: str


@dataclass(frozen=True, slots=True)
class Module:
    """One entry of modules.json: what it is, and the folder of its files."""

    kind: str
    folder: Path


@dataclass(frozen=True, slots=True)
class DenseLayer:
    """A linear layer after the pooling, with an activation; `folder` holds its weights (linear.weight, linear.bias)."""

    folder: Path
    in_features: int
    out_features: int
    bias: bool
    activation: Activation


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a source model's own files say about turning a text into a vector.

    `encoder_folder` holds the transformer, `dense` follows the pooling; `dimensions` are those of the last of them.
    `position_limit` is the longest input its positions allow. `pads_left`: the side of the source's tokenizer.
    """

    encoder_folder: Path
    model_type: str
    dense: tuple[DenseLayer, ...]
    dimensions: int
    position_limit: int | None
    pooling: Found[Pooling]
    normalize: Found[bool]
    max_tokens: Found[int]
    prompts: Found[Mapping[str, str]]
    default_prompt: str | None
    lowercase: bool
    pads_left: bool

    def weights_sha256(self) -> str:
        """Hash of the encoder's weights; with Dense layers, one over theirs and their activations too."""
        encoder = weights_sha256(self.encoder_folder)
        if not self.dense:
            return encoder
        parts = [encoder, *(f"{weights_sha256(layer.folder)} {layer.activation}" for layer in self.dense)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def read_recipe(folder: Path, *, pooling: Pooling | None = None, config: Mapping[str, Any] | None = None) -> Recipe:
    """What the files say; a `pooling` given here (the flag) is taken instead of theirs.

    A `config` stands for the config.json of a folder that holds no weights of transformers. Raises ModelNotFound for
    a folder without a model, ExportError for a recipe we cannot follow.
    """
    modules = _read_modules(folder)
    encoder_folder = modules[0].folder if modules else folder
    if config is None:
        config = _read_config(folder, encoder_folder)
    model_type = str(config.get("model_type") or "unknown")
    text_settings = _read_text_settings(encoder_folder)
    tokenizer = _read_json(encoder_folder / "tokenizer_config.json") or {}
    pooling_config = _read_pooling_config(modules, needed=pooling is None)
    position_limit = _position_limit(config)
    hidden_size = _hidden_size(config, folder)
    dense = _read_dense_layers(modules, hidden_size)
    prompts, default_prompt = _prompts(folder, pooling_config)
    return Recipe(
        encoder_folder=encoder_folder,
        model_type=model_type,
        dense=dense,
        dimensions=dense[-1].out_features if dense else hidden_size,
        position_limit=position_limit,
        pooling=Found(pooling, "--pooling") if pooling else _pooling(folder, modules, pooling_config, model_type),
        normalize=_normalize(modules),
        max_tokens=_max_tokens(text_settings.get("max_seq_length"), tokenizer.get("model_max_length"), position_limit),
        prompts=prompts,
        default_prompt=default_prompt,
        lowercase=bool(text_settings.get("do_lower_case", False)),
        pads_left=tokenizer.get("padding_side") == "left",
    )


def _read_json(path: Path) -> dict[str, Any] | None:
    """None where there is no such file. Raises ExportError, naming the file, when it cannot be read."""
    with contextlib.suppress(FileNotFoundError):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ExportError(f"{path} is not valid JSON ({error}). Mend it, or download the model again.") from error
        if not isinstance(content, dict):
            raise ExportError(f"{path} does not hold a JSON object.")
        return content
    return None


def _read_config(folder: Path, encoder_folder: Path) -> Mapping[str, Any]:
    """Raises ModelNotFound where it is missing, or without weights beside it."""
    config = _read_json(encoder_folder / "config.json")
    if config is None:
        raise ModelNotFound(f"{folder} holds no model: it has no config.json.")
    if not weight_files(encoder_folder):
        raise ModelNotFound(f"{folder} holds no weights: neither *.safetensors nor pytorch_model.bin.")
    return config


def _read_modules(folder: Path) -> list[Module]:
    """What modules.json lists, in its order; empty where there is none."""
    path = folder / "modules.json"
    if not path.exists():
        return []
    try:
        listed = [(str(module["type"]), folder / module["path"]) for module in json.loads(path.read_text("utf-8"))]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ExportError(f"{path} is not a list of sentence-transformers modules ({error!r}).") from error
    unknown = [kind for kind, _ in listed if not _is_known(kind)]
    if unknown:
        raise ExportError(f"{folder} has modules that cannot be exported yet: {', '.join(unknown)}.")
    modules = [Module(kind.rsplit(".", 1)[-1], place) for kind, place in listed]
    order = " ".join(module.kind for module in modules)
    if not _MODULE_ORDER.fullmatch(order):
        raise ExportError(
            f"{path} orders its modules {order or 'not at all'}; "
            "only Transformer Pooling Dense Normalize can be exported, in this order."
        )
    return modules


def _is_known(kind: str) -> bool:
    """A class of that name from elsewhere is code of the model's own, which may do anything."""
    return kind.startswith("sentence_transformers.") and kind.rsplit(".", 1)[-1] in _MODULE_KINDS


def _read_module_config(module: Module) -> dict[str, Any]:
    """Raises ExportError where it is missing, or where the module does not work on the pooled vector."""
    path = module.folder / "config.json"
    config = _read_json(path)
    if config is None:
        raise ExportError(f"{path} is missing, though modules.json names it.")
    for key in ("module_input_name", "module_output_name"):
        if config.get(key, "sentence_embedding") not in {"sentence_embedding", None}:
            raise ExportError(f"{path} asks for {key} '{config[key]}'; only 'sentence_embedding' can be exported.")
    return config


def _hidden_size(config: Mapping[str, Any], folder: Path) -> int:
    for key in ("hidden_size", "dim", "d_model", "n_embd"):
        if isinstance(config.get(key), int):
            return cast("int", config[key])
    raise ExportError(f"{folder / 'config.json'} does not tell the hidden size; is this a text encoder?")


def _position_limit(config: Mapping[str, Any]) -> int | None:
    limit = config.get("max_position_embeddings")
    if not isinstance(limit, int):
        return None
    if config.get("model_type") in _OFFSET_POSITIONS:
        padding = config.get("pad_token_id")
        return limit - (padding if isinstance(padding, int) else 1) - 1
    return limit


def _read_text_settings(encoder_folder: Path) -> dict[str, Any]:
    """sentence_bert_config.json, or what older versions called after other architectures."""
    for path in sorted(encoder_folder.glob("sentence_*_config.json")):
        settings = _read_json(path) or {}
        task = settings.get("transformer_task", "feature-extraction")
        if task != "feature-extraction":
            raise ExportError(f"{path} asks for the task '{task}'; only 'feature-extraction' can be exported.")
        return settings
    return {}


def _max_tokens(max_seq_length: object, model_max_length: object, position_limit: int | None) -> Found[int]:
    """The smaller of what the files state and what the positions allow."""
    stated = {"sentence_bert_config.json": max_seq_length, "tokenizer_config.json": model_max_length}
    for origin, limit in stated.items():
        # A tokenizer without a limit says so with a number of thirty digits.
        if isinstance(limit, int) and 0 < limit < 10**7 and (position_limit is None or limit <= position_limit):
            return Found(limit, origin)
    if position_limit is None:
        return Found(512, "default: the model's files give no limit")
    return Found(position_limit, "config.json max_position_embeddings")


def _only(modules: Sequence[Module], kind: str) -> Module | None:
    return next((module for module in modules if module.kind == kind), None)


def _read_pooling_config(modules: Sequence[Module], *, needed: bool) -> dict[str, Any]:
    """Empty where no file names a pooling, or none is needed."""
    module = _only(modules, "Pooling")
    if module is None or not (needed or (module.folder / "config.json").exists()):
        return {}
    return _read_module_config(module)


def _pooling(folder: Path, modules: Sequence[Module], config: Mapping[str, Any], model_type: str) -> Found[Pooling]:
    module = _only(modules, "Pooling")
    if module is None:
        if not modules and model_type in _DECODERS:
            return Found("last", f"default for {model_type}")
        return Found("mean", "default: the model's files name no pooling")
    path = module.folder / "config.json"
    modes = _pooling_modes(config)
    if len(modes) == 1 and modes[0] in _POOLING_MODES:
        return Found(_POOLING_MODES[modes[0]], path.relative_to(folder).as_posix())
    raise ExportError(
        f"{path} asks for pooling by {' and '.join(modes) or 'nothing'}; cls, mean and last can be exported. "
        "Override it with --pooling if you know better."
    )


def _pooling_modes(config: Mapping[str, Any]) -> list[str]:
    """In words of the older spelling: one flag for each mode; newer files hold one mode, or a list of them."""
    stated = config.get("pooling_mode")
    if isinstance(stated, str):
        stated = [stated]
    if isinstance(stated, list):
        return [f"pooling_mode_{mode}" for mode in stated]
    return [flag for flag, value in config.items() if flag.startswith("pooling_mode_") and value is True]


def _read_dense_layers(modules: Sequence[Module], hidden_size: int) -> tuple[DenseLayer, ...]:
    """Raises ExportError for a layer that does not fit the one before it, or that we cannot rebuild."""
    layers: list[DenseLayer] = []
    size = hidden_size
    for module in modules:
        if module.kind == "Dense":
            layers.append(_read_dense_layer(module, size))
            size = layers[-1].out_features
    return tuple(layers)


def _read_dense_layer(module: Module, size: int) -> DenseLayer:
    path = module.folder / "config.json"
    config = _read_module_config(module)
    in_features, out_features = config.get("in_features"), config.get("out_features")
    if in_features != size or not isinstance(out_features, int) or out_features < 1:
        raise ExportError(
            f"{path} says {in_features} features in and {out_features} out, but the layer before it gives {size}."
        )
    if config.get("use_residual"):
        raise ExportError(f"{path} asks for a residual connection, which cannot be exported.")
    name = config.get("activation_function", "torch.nn.modules.activation.Tanh")
    if name not in _ACTIVATIONS:
        raise ExportError(f"{path} asks for the activation {name}; Identity, Tanh, ReLU and GELU can be exported.")
    if not weight_files(module.folder):
        raise ExportError(f"{module.folder} holds no weights: neither *.safetensors nor pytorch_model.bin.")
    return DenseLayer(module.folder, size, out_features, bool(config.get("bias", True)), _ACTIVATIONS[name])


def _normalize(modules: Sequence[Module]) -> Found[bool]:
    if not modules:
        return Found(value=True, origin="default: the model's files do not say")
    module = _only(modules, "Normalize")
    if module is None:
        return Found(value=False, origin="modules.json has no Normalize module")
    if (module.folder / "config.json").exists():
        _read_module_config(module)
    return Found(value=True, origin="modules.json")


def _prompts(folder: Path, pooling_config: Mapping[str, Any]) -> tuple[Found[Mapping[str, str]], str | None]:
    """The prompts by name, and the name of the default one. None where the pooling leaves a prompt's tokens out."""
    settings = _read_json(folder / "config_sentence_transformers.json") or {}
    prompts = settings.get("prompts") or {}
    if not isinstance(prompts, dict):
        raise ExportError("The prompts in config_sentence_transformers.json are no names with texts. Mend the file.")
    if not prompts:
        return Found({}, "the model's files name none"), settings.get("default_prompt_name")
    if pooling_config.get("include_prompt") is False:
        return Found({}, "the model's pooling leaves prompts out (include_prompt), which cannot be served"), None
    found = {str(name): str(text) for name, text in prompts.items()}
    return Found(found, "config_sentence_transformers.json"), settings.get("default_prompt_name")
