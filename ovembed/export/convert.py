"""A transformers encoder -> OpenVINO IR in fp32, with its tokenizer, through optimum-intel."""

from __future__ import annotations

import json
import pickle
from importlib import metadata
from typing import TYPE_CHECKING

from ovembed.errors import ExportError

if TYPE_CHECKING:
    from pathlib import Path

# What the repository keeps of optimum's output, beside the encoder itself.
COMPANION_FILES = (
    "openvino_tokenizer.xml",
    "openvino_tokenizer.bin",
    "tokenizer.json",
    "tokenizer_config.json",
    "config.json",
)
_VOCABULARIES = ("vocab.*", "*.model", "*vocab*.json", "tokenizer*.py")


def convert(source: Path, target: Path, *, model_type: str, max_tokens: int, trust_remote_code: bool) -> None:
    """Write openvino_model.xml (one rank-3 output) and the companion files into `target`.

    Raises ExportError when the architecture is not known, the weights are damaged or files are missing.
    """
    _check_weights(source)
    _check_tokenizer(source)
    _check_architecture(source, model_type)
    try:
        from optimum.exporters.openvino import main_export
        from optimum.intel import OVConfig

        main_export(
            str(source),
            output=target,
            task="feature-extraction",
            library_name="transformers",
            ov_config=OVConfig(dtype="fp32"),
            convert_tokenizer=True,
            trust_remote_code=trust_remote_code,
        )
    except OSError:
        raise
    except Exception as error:
        raise ExportError(f"{source} could not be converted: {in_one_line(error)}") from error
    missing = [name for name in COMPANION_FILES if not (target / name).exists()]
    if missing:
        raise ExportError(
            f"{source} gave no {', '.join(missing)}: its tokenizer has no fast version. "
            "Choose a model that comes with a tokenizer.json."
        )
    _write_max_tokens(target / "config.json", max_tokens)


def in_one_line(error: Exception) -> str:
    """What a library's error says first, or plain words for what it says at length."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, pickle.UnpicklingError):
        return "pytorch_model.bin is damaged, or holds more than weights. Download the model again."
    if "ignore_mismatched_sizes" in str(error):
        return "its weights have other shapes than its config.json says. Download the model again."
    if not lines:
        return type(error).__name__
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]


def _check_weights(source: Path) -> None:
    """Damaged safetensors get a plain word here, before the libraries wrap their own around it."""
    from safetensors import SafetensorError, safe_open

    for path in sorted(source.glob("*.safetensors")):
        try:
            with safe_open(path, framework="numpy"):
                pass
        except SafetensorError as error:
            raise ExportError(f"{path} is damaged ({error}). Download the model again.") from error


def _check_tokenizer(source: Path) -> None:
    """Without its files transformers makes up a tokenizer that knows no word, and says nothing."""
    from tokenizers import Tokenizer

    path = source / "tokenizer.json"
    if path.exists():
        try:
            Tokenizer.from_file(str(path))
        except Exception as error:
            raise ExportError(f"{path} is damaged ({in_one_line(error)}). Download the model again.") from error
    elif not any(list(source.glob(pattern)) for pattern in _VOCABULARIES):
        raise ExportError(f"{source} holds no tokenizer: neither tokenizer.json nor a vocabulary.")


def _check_architecture(source: Path, model_type: str) -> None:
    """optimum's own words for this are a page long."""
    import optimum.exporters.openvino  # noqa: F401  (it registers what it can export)
    from optimum.exporters.tasks import TasksManager

    try:
        tasks = TasksManager.get_supported_tasks_for_model_type(
            model_type, exporter="openvino", library_name="transformers"
        )
    except KeyError:
        tasks = {}
    if "feature-extraction" not in tasks:
        raise ExportError(
            f"{source} is a '{model_type}' model, which optimum-intel {metadata.version('optimum-intel')} cannot "
            "export as an encoder. Choose a model of another architecture: bert, roberta, mpnet and others work."
        )


def _write_max_tokens(config_path: Path, max_tokens: int) -> None:
    """OVMS reads its input limit from config.json alone, so the limit that was decided is written there."""
    config = json.loads(config_path.read_text(encoding="utf-8"))
    config["max_position_embeddings"] = max_tokens
    config_path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
