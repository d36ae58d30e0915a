"""A transformers encoder -> OpenVINO IR in fp32, with its tokenizer, through optimum-intel."""

from __future__ import annotations

import json
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


def convert(source: Path, target: Path, *, max_tokens: int, trust_remote_code: bool) -> None:
    """Write openvino_model.xml (one rank-3 output) and the companion files into `target`.

    Raises ExportError when the architecture is not known, the weights are damaged or files are missing.
    """
    _check_weights(source)
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
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ExportError(f"{source} could not be converted: {lines[0] if lines else type(error).__name__}") from error
    missing = [name for name in COMPANION_FILES if not (target / name).exists()]
    if missing:
        raise ExportError(f"{source} gave no {', '.join(missing)}; its tokenizer has no fast version.")
    _write_max_tokens(target / "config.json", max_tokens)


def _check_weights(source: Path) -> None:
    """Damaged safetensors get a plain word here, before the libraries wrap their own around it."""
    from safetensors import SafetensorError, safe_open

    for path in sorted(source.glob("*.safetensors")):
        try:
            with safe_open(path, framework="numpy"):
                pass
        except SafetensorError as error:
            raise ExportError(f"{path} is damaged ({error}). Download the model again.") from error


def _write_max_tokens(config_path: Path, max_tokens: int) -> None:
    """OVMS reads its input limit from config.json alone, so the limit that was decided is written there."""
    config = json.loads(config_path.read_text(encoding="utf-8"))
    config["max_position_embeddings"] = max_tokens
    config_path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
