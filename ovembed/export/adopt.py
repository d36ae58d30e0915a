"""OpenVINO models that were made before: by optimum, for OVMS in either layout, or by ovembed. They are only read."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ovembed import hub
from ovembed.errors import ExportError, InputError
from ovembed.export.quiet import quiet
from ovembed.hub import Found, Recipe, SourceModel
from ovembed.repository import find_layout, is_model, read_golden, read_model, read_serving
from ovembed.repository.layout import encoder, tokenizer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ovembed.export.request import ExportRequest
    from ovembed.protocols import Vectors
    from ovembed.repository import ModelEntry
    from ovembed.spec import ModelSpec, Precision


@dataclass(frozen=True, slots=True)
class OpenVINOModel:
    """An encoder in OpenVINO IR with its tokenizer (see original.Original); `entry` where it is one of ours."""

    source: SourceModel
    recipe: Recipe
    weights_sha256: str
    precision: Precision
    pooled: bool
    encoder: Path
    tokenizer: Path
    config: Mapping[str, Any]
    entry: ModelEntry | None = None

    def write_tokenizer(self, target: Path, *, max_tokens: int) -> None:
        from ovembed.export.tokenizer import load_tokenizer, write_tokenizer

        if self.tokenizer.suffix != ".json":
            _copy_model(self.tokenizer, tokenizer(target, "ov"))
            return
        with quiet():
            loaded = load_tokenizer(self.tokenizer.parent, lowercase=self.recipe.lowercase, trust_remote_code=False)
            write_tokenizer(loaded, target, max_tokens)

    def write_encoder(self, target: Path, *, max_tokens: int) -> None:
        from ovembed.export import convert

        _copy_model(self.encoder, encoder(target, "ov"))
        convert.write_config(self.config, target, max_tokens)

    def vectors(self, spec: ModelSpec, texts: Sequence[str]) -> Vectors:
        """One of ours remembers what its own source made of them; another is run as it is."""
        from ovembed.export import ir

        if self.entry is not None and _makes_like(self.entry.spec, spec):
            golden = read_golden(self.entry.folder)
            if golden.texts == tuple(texts):
                return golden.source
        return ir.vectors(self.encoder, self.tokenizer, spec, texts, pooled=self.pooled)


def find(source: SourceModel, request: ExportRequest) -> OpenVINOModel | None:
    """The OpenVINO model in the source's folder; None where it has weights of transformers, or no such model."""
    folder = source.folder
    if is_model(folder):
        return _ours(read_model(folder), request)
    if hub.weight_files(folder) or not (find_layout(folder) or encoder(folder, "ov").exists()):
        return None
    return _foreign(source, request)


def _ours(entry: ModelEntry, request: ExportRequest) -> OpenVINOModel:
    """ovembed.json says it all, but what OVMS and transformers keep in config.json."""
    spec, origin = entry.spec, "ovembed.json"
    if entry.pooled and request.pooling not in {None, spec.pooling}:
        raise InputError(f"{entry.folder} does {spec.pooling} pooling inside the model. Leave --pooling out.")
    architecture = next((each.value for each in entry.decisions if each.setting == "architecture"), "unknown")
    return OpenVINOModel(
        source=SourceModel(spec.source, entry.folder, spec.revision, f"exported before, to {entry.folder}"),
        recipe=Recipe(
            encoder_folder=entry.folder,
            model_type=architecture,
            dense=(),
            dimensions=spec.dimensions,
            position_limit=spec.max_tokens,
            pooling=Found(request.pooling, "--pooling") if request.pooling else Found(spec.pooling, origin),
            normalize=Found(spec.normalize, origin),
            max_tokens=Found(spec.max_tokens, origin),
            prompts=Found(spec.prompts, origin),
            default_prompt=spec.default_prompt,
            lowercase=False,
            pads_left=False,
        ),
        weights_sha256=spec.weights_sha256,
        precision=spec.precision,
        pooled=entry.pooled,
        encoder=entry.model_path,
        tokenizer=entry.tokenizer_path,
        config=_read_config(entry.folder) or {},
        entry=entry,
    )


def _foreign(source: SourceModel, request: ExportRequest) -> OpenVINOModel:
    from ovembed.export import ir

    folder = source.folder
    layout = find_layout(folder)
    path = encoder(folder, layout or "ov")
    facts = ir.read_facts(path)
    config = _read_config(folder) or facts.config
    recipe = hub.read_recipe(folder, pooling=request.pooling, config=config)
    return OpenVINOModel(
        source=source,
        recipe=_as_served(recipe, folder, request) if layout else recipe,
        weights_sha256=ir.weights_sha256(path),
        precision=facts.precision,
        pooled=facts.pooled,
        encoder=path,
        tokenizer=_find_tokenizer(folder, tokenizer(folder, layout or "ov")),
        config=config,
    )


def _as_served(recipe: Recipe, folder: Path, request: ExportRequest) -> Recipe:
    """What graph.pbtxt makes OVMS do goes before what other files say."""
    graph = read_serving(folder)
    pooling = recipe.pooling
    if request.pooling is None and graph.layout == "classic":
        pooling = Found("cls", "graph.pbtxt: its calculator takes the first token")
    elif request.pooling is None and graph.pooling is not None:
        pooling = Found(graph.pooling, "graph.pbtxt")
    return replace(recipe, pooling=pooling, normalize=Found(graph.normalize, "graph.pbtxt"))


def _find_tokenizer(folder: Path, converted: Path) -> Path:
    for path in (folder / "tokenizer.json", converted):
        if path.exists():
            return path
    raise ExportError(f"{folder} holds no tokenizer: neither tokenizer.json nor {converted.relative_to(folder)}.")


def _read_config(folder: Path) -> Mapping[str, Any] | None:
    path = folder / "config.json"
    try:
        config: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ExportError(f"{path} is not valid JSON ({error}). Mend it, or make the model again.") from error
    return config


def _makes_like(one: ModelSpec, other: ModelSpec) -> bool:
    """The same source would make the same vectors by both, whatever the precision."""
    return replace(one, precision=other.precision, calibration_sha256=other.calibration_sha256) == other


def _copy_model(source: Path, target: Path) -> None:
    for suffix in (".xml", ".bin"):
        shutil.copyfile(source.with_suffix(suffix), target.with_suffix(suffix))
