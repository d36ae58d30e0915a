"""A transformers encoder with its tokenizer -> OpenVINO IR in fp32, through optimum-intel or directly."""

from __future__ import annotations

import json
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ovembed.errors import ExportError
from ovembed.export import direct
from ovembed.export.tokenizer import load_tokenizer, write_tokenizer
from ovembed.export.words import in_one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ovembed.hub import Recipe

_MODEL_NAME = "openvino_model.xml"
# OVMS takes a third input for token types, whatever it is called.
_INPUTS = {"input_ids", "attention_mask", "token_type_ids"}


def convert_tokenizer(recipe: Recipe, target: Path, *, max_tokens: int, trust_remote_code: bool) -> None:
    """The files of tokenizer.write_tokenizer. Raises ExportError for no usable tokenizer or an unknown architecture."""
    source = recipe.encoder_folder
    with _told_in_one_line(source):
        _load_config(recipe, trust_remote_code=trust_remote_code)
        tokenizer = load_tokenizer(source, lowercase=recipe.lowercase, trust_remote_code=trust_remote_code)
        write_tokenizer(tokenizer, target, max_tokens)


def convert_encoder(recipe: Recipe, target: Path, *, max_tokens: int, trust_remote_code: bool) -> None:
    """openvino_model.xml, whose first output of rank 3 are the hidden states, and config.json.

    Raises ExportError when the architecture is not known, the weights are damaged or files are missing.
    """
    source = recipe.encoder_folder
    _check_weights(source)
    with _told_in_one_line(source):
        config = _load_config(recipe, trust_remote_code=trust_remote_code)
        if _optimum_exports(config):
            _convert_through_optimum(source, target / _MODEL_NAME, trust_remote_code=trust_remote_code)
        else:
            _convert_directly(recipe, target / _MODEL_NAME, trust_remote_code=trust_remote_code)
    write_config(json.loads((source / "config.json").read_text(encoding="utf-8")), target, max_tokens)


def _check_weights(source: Path) -> None:
    """Damaged safetensors get a plain word here, before the libraries wrap their own around it."""
    from safetensors import SafetensorError, safe_open

    for path in sorted(source.glob("*.safetensors")):
        try:
            with safe_open(path, framework="numpy"):
                pass
        except SafetensorError as error:
            raise ExportError(f"{path} is damaged ({error}). Download the model again.") from error


@contextmanager
def _told_in_one_line(source: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ExportError):
        raise
    except Exception as error:
        raise ExportError(f"{source} could not be converted: {in_one_line(error)}") from error


def _load_config(recipe: Recipe, *, trust_remote_code: bool) -> Any:
    """transformers' own words for an architecture that it does not know are a page long."""
    from transformers import CONFIG_MAPPING, AutoConfig

    stated = json.loads((recipe.encoder_folder / "config.json").read_text(encoding="utf-8"))
    if recipe.model_type not in CONFIG_MAPPING and "auto_map" not in stated:
        raise _unsupported(recipe, f"transformers {metadata.version('transformers')} does not know it")
    config = AutoConfig.from_pretrained(recipe.encoder_folder, trust_remote_code=trust_remote_code)
    if config.is_encoder_decoder:
        raise _unsupported(recipe, "it has a decoder beside its encoder")
    return config


def _optimum_exports(config: Any) -> bool:
    """Whether optimum-intel makes an encoder of the inputs that servers feed; what it does not goes the direct way."""
    import optimum.exporters.openvino  # noqa: F401  (it registers what it can export)
    import transformers
    from optimum.exporters.tasks import TasksManager
    from packaging.version import Version

    try:
        make = TasksManager.get_exporter_config_constructor(
            "openvino", model_type=config.model_type, task="feature-extraction", library_name="transformers"
        )
    except (KeyError, ValueError):
        return False
    newest = getattr(make.func, "MAX_TRANSFORMERS_VERSION", None)
    if newest is not None and Version(transformers.__version__) > Version(str(newest)):
        return False
    return set(make(config).inputs) <= _INPUTS


def _convert_through_optimum(source: Path, path: Path, *, trust_remote_code: bool) -> None:
    """In a folder of its own, as it would write the source's tokenizer over ours."""
    from optimum.exporters.openvino import main_export
    from optimum.intel import OVConfig

    with TemporaryDirectory(dir=path.parent) as folder:
        main_export(
            str(source),
            output=folder,
            task="feature-extraction",
            library_name="transformers",
            ov_config=OVConfig(dtype="fp32"),
            convert_tokenizer=False,
            trust_remote_code=trust_remote_code,
        )
        for suffix in (".bin", ".xml"):
            (Path(folder) / path.name).with_suffix(suffix).replace(path.with_suffix(suffix))


def _convert_directly(recipe: Recipe, path: Path, *, trust_remote_code: bool) -> None:
    import openvino as ov

    encoder = direct.load_encoder(recipe.encoder_folder, trust_remote_code=trust_remote_code)
    try:
        model = direct.convert_encoder(encoder, position_limit=recipe.position_limit)
    except Exception as error:
        raise _unsupported(recipe, in_one_line(error)) from error
    ov.save_model(model, path, compress_to_fp16=False)


def _unsupported(recipe: Recipe, reason: str) -> ExportError:
    return ExportError(
        f"{recipe.encoder_folder} is a '{recipe.model_type}' model, which cannot be exported as a text encoder: "
        f"{reason}. Choose a model of another architecture: bert, roberta, mpnet and others work."
    )


def write_config(config: Mapping[str, Any], target: Path, max_tokens: int) -> None:
    """OVMS reads its input limit from config.json alone, so the limit that was decided is written there."""
    told = {**config, "max_position_embeddings": max_tokens}
    (target / "config.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
