"""What a model's own files say about making vectors of texts.

Formats: sentence-transformers' modules.json, sentence_bert_config.json, config_sentence_transformers.json and
1_Pooling/config.json; transformers' config.json and tokenizer_config.json.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from ovembed.errors import ExportError, ModelNotFound
from ovembed.hub.weights import weight_files

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ovembed.spec import Pooling

T = TypeVar("T")

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

_POOLING_FLAGS: dict[str, Pooling] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "last",
}


@dataclass(frozen=True, slots=True)
class Found(Generic[T]):
    """A value, and the file (or default) that it comes from."""

    value: T
    origin: str


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a source model's own files say about turning a text into a vector.

    `encoder_folder` holds the transformer; `position_limit` is the longest input its positions allow.
    """

    encoder_folder: Path
    model_type: str
    dimensions: int
    position_limit: int | None
    pooling: Found[Pooling]
    normalize: Found[bool]
    max_tokens: Found[int]
    prompts: Found[Mapping[str, str]]
    default_prompt: str | None
    lowercase: bool


def read_recipe(folder: Path, *, pooling: Pooling | None = None) -> Recipe:
    """What the files say; a `pooling` given here (the flag) is taken instead of theirs.

    Raises ModelNotFound for a folder without a model, ExportError for a recipe we cannot follow.
    """
    modules = _read_modules(folder)
    encoder_folder = folder / modules.get("Transformer", "")
    config = _read_json(encoder_folder / "config.json")
    if config is None:
        raise ModelNotFound(f"{folder} holds no model: it has no config.json.")
    if not weight_files(encoder_folder):
        raise ModelNotFound(f"{folder} holds no weights: neither *.safetensors nor pytorch_model.bin.")
    unknown = set(modules) - {"Transformer", "Pooling", "Normalize"}
    if unknown:
        raise ExportError(f"{folder} has modules that cannot be exported yet: {', '.join(sorted(unknown))}.")
    text_settings = _read_text_settings(encoder_folder)
    settings = _read_json(folder / "config_sentence_transformers.json") or {}
    position_limit = _position_limit(config)
    return Recipe(
        encoder_folder=encoder_folder,
        model_type=str(config.get("model_type") or "unknown"),
        dimensions=_dimensions(config, folder),
        position_limit=position_limit,
        pooling=Found(pooling, "--pooling") if pooling else _pooling(folder, modules),
        normalize=_normalize(modules),
        max_tokens=_max_tokens(encoder_folder, text_settings.get("max_seq_length"), position_limit),
        prompts=_prompts(settings),
        default_prompt=settings.get("default_prompt_name"),
        lowercase=bool(text_settings.get("do_lower_case", False)),
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


def _read_modules(folder: Path) -> dict[str, str]:
    """Module kind -> its folder, as modules.json lists them; empty where there is none."""
    path = folder / "modules.json"
    if not path.exists():
        return {}
    try:
        modules = json.loads(path.read_text(encoding="utf-8"))
        return {module["type"].rsplit(".", 1)[-1]: module["path"] for module in modules}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ExportError(f"{path} is not a list of sentence-transformers modules ({error!r}).") from error


def _dimensions(config: Mapping[str, Any], folder: Path) -> int:
    for key in ("hidden_size", "dim", "d_model"):
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
        return _read_json(path) or {}
    return {}


def _max_tokens(encoder_folder: Path, max_seq_length: object, position_limit: int | None) -> Found[int]:
    """The smaller of what the files state and what the positions allow."""
    tokenizer = _read_json(encoder_folder / "tokenizer_config.json") or {}
    stated = {
        "sentence_bert_config.json": max_seq_length,
        "tokenizer_config.json": tokenizer.get("model_max_length"),
    }
    for origin, limit in stated.items():
        # A tokenizer without a limit says so with a number of thirty digits.
        if isinstance(limit, int) and 0 < limit < 10**7 and (position_limit is None or limit <= position_limit):
            return Found(limit, origin)
    if position_limit is None:
        return Found(512, "default: the model's files give no limit")
    return Found(position_limit, "config.json max_position_embeddings")


def _pooling(folder: Path, modules: Mapping[str, str]) -> Found[Pooling]:
    if "Pooling" not in modules:
        return Found("mean", "default: the model's files name no pooling")
    path = folder / modules["Pooling"] / "config.json"
    origin = path.relative_to(folder).as_posix()
    config = _read_json(path)
    if config is None:
        raise ExportError(f"{path} is missing, though modules.json names it.")
    modes = [flag for flag, value in config.items() if flag.startswith("pooling_mode_") and value is True]
    if isinstance(config.get("pooling_mode"), str):
        modes = [f"pooling_mode_{config['pooling_mode']}"]
    if len(modes) == 1:
        for flag, pooling in _POOLING_FLAGS.items():
            if modes[0] in {flag, f"pooling_mode_{pooling}"}:
                return Found(pooling, origin)
    raise ExportError(
        f"{path} asks for pooling by {' and '.join(modes) or 'nothing'}; cls, mean and last can be exported. "
        "Override it with --pooling if you know better."
    )


def _normalize(modules: Mapping[str, str]) -> Found[bool]:
    if not modules:
        return Found(value=True, origin="default: the model's files do not say")
    if "Normalize" in modules:
        return Found(value=True, origin="modules.json")
    return Found(value=False, origin="modules.json has no Normalize module")


def _prompts(settings: Mapping[str, Any]) -> Found[Mapping[str, str]]:
    prompts = settings.get("prompts") or {}
    if not isinstance(prompts, dict):
        raise ExportError("The prompts in config_sentence_transformers.json are no names with texts. Mend the file.")
    if not prompts:
        return Found({}, "the model's files name none")
    return Found({str(name): str(text) for name, text in prompts.items()}, "config_sentence_transformers.json")
