"""The folder of a model, as the chosen OVMS wants it: encoder, tokenizer, and the files that tell how to serve them."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

from ovembed.export import backport, ir
from ovembed.repository import write_golden, write_model, write_serving_files
from ovembed.repository.layout import encoder, tokenizer

if TYPE_CHECKING:
    from pathlib import Path

    import openvino as ov

    from ovembed.export.trial import Trial
    from ovembed.repository import ModelEntry, OvmsVersion, ServingOptions

# Of use to us, to OVMS, or to both; they lie at the top of the folder in either layout.
_COMPANION_FILES = ("tokenizer.json", "tokenizer_config.json", "config.json")
_PADDING = "pad_token_id"
_POSITIONS = "max_position_embeddings"


def assemble(entry: ModelEntry, trial: Trial, converted: Path, version: OvmsVersion, options: ServingOptions) -> None:
    """Fill the entry's folder: the tried encoder, and from the folder `converted` its tokenizer."""
    files = trial.candidate
    _move_model(files.model_path, encoder(entry.folder, version.layout))
    _move_model(converted / "openvino_tokenizer.xml", tokenizer(entry.folder, version.layout))
    for name in _COMPANION_FILES:
        if (converted / name).exists():
            shutil.move(converted / name, entry.folder / name)
    if version.layout == "classic":
        _finish_classic(entry)
    write_serving_files(entry.folder, entry.name, entry.spec, version, options, pooled=entry.pooled)
    write_golden(entry.folder, trial.golden)
    write_model(entry)


def _move_model(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    for suffix in (".xml", ".bin"):
        shutil.move(source.with_suffix(suffix), target.with_suffix(suffix))


def _finish_classic(entry: ModelEntry) -> None:
    """The classic calculator knows the model's config only from the IR's rt_info, section model_info."""
    config = json.loads((entry.folder / "config.json").read_text(encoding="utf-8"))

    def change(model: ov.Model) -> ov.Model:
        changed = backport.repeat_at_every_token(model) if entry.pooled else model
        for key in (_POSITIONS, _PADDING):
            changed.set_rt_info(str(config.get(key) or 0), ["model_info", key])
        return changed

    ir.rewrite(entry.model_path, change)
