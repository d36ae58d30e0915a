"""export_model: source -> recipe -> convert -> quantize -> try and compare -> publish. Nothing shows before the end."""

from __future__ import annotations

import contextlib
import errno
import shutil
from dataclasses import dataclass, replace
from importlib import metadata
from typing import TYPE_CHECKING

from ovembed import hub
from ovembed.errors import EngineError, ExportError, InputError, MissingExtra, OvembedError
from ovembed.export import convert, quantize, verify
from ovembed.export.quiet import quiet
from ovembed.repository import Decision, Fidelity, ModelEntry, ModelRepository, write_graph, write_model
from ovembed.repository.model import MODEL_NAME
from ovembed.spec import ModelSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ovembed.hub import Recipe, SourceModel
    from ovembed.repository import StagedModel
    from ovembed.spec import Pooling, WeightFormat

_PACKAGES = ("openvino", "optimum-intel", "nncf", "torch", "transformers", "ovembed")
_FEWEST_TOKENS = 3  # one, between the two that begin and end a text
_SPACE_LEFT_WHEN_FULL = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What to export, and what of the source's own recipe to override (None keeps it).

    `name` defaults to the Hub id or the folder's name. `min_similarity` is a floor for the mean cosine to the
    source over the probe texts; None takes the default of the precision.
    """

    source: str
    name: str | None = None
    revision: str | None = None
    weight_format: WeightFormat = "int8"
    pooling: Pooling | None = None
    normalize: bool | None = None
    max_tokens: int | None = None
    target_device: str = "CPU"
    num_streams: int = 1
    min_similarity: float | None = None
    trust_remote_code: bool = False
    allow_pickle: bool = False
    overwrite: bool = False


def export_model(
    request: ExportRequest,
    repository: ModelRepository,
    *,
    on_step: Callable[[str], None] = lambda _: None,
    on_download: Callable[[int, int], None] | None = None,
) -> ModelEntry:
    """Export one model into the repository and return its entry.

    `on_step` hears of each step as it begins, `on_download` of the bytes that are here and the bytes in all.

    Until the last step, which renames a hidden folder and then replaces the config file, the repository is as
    it was, whatever happens. Raises ModelNotFound, InputError, ExportError, EngineError or RepositoryError;
    MissingExtra without the packages of the `export` extra.
    """
    _require_packages()
    on_step("Looking for the model")
    source = hub.find_source(
        request.source,
        revision=request.revision,
        allow_pickle=request.allow_pickle,
        trust_remote_code=request.trust_remote_code,
        on_progress=on_download,
    )
    name = request.name or source.name
    repository.clean_up()
    repository.check_name(name, overwrite=request.overwrite)
    recipe = hub.read_recipe(source.folder, pooling=request.pooling)
    spec, decisions = _decide(request, source, recipe)
    with repository.stage() as staged, _full_disk_told(staged.folder):
        on_step("Converting to OpenVINO")
        with quiet():
            convert.convert(
                recipe.encoder_folder,
                staged.scratch,
                model_type=recipe.model_type,
                max_tokens=spec.max_tokens,
                trust_remote_code=request.trust_remote_code,
            )
        _keep_companions(staged)
        on_step(f"Writing {spec.weight_format} weights")
        with quiet():
            quantize.quantize(staged.scratch / MODEL_NAME, staged.folder / MODEL_NAME, spec.weight_format)
        write_graph(staged.folder, spec, target_device=request.target_device, num_streams=request.num_streams)
        entry = ModelEntry(name, staged.folder, spec, decisions, Fidelity(0, 0.0, 0.0), _versions())
        on_step("Comparing with the source model")
        fidelity = _measure(entry, recipe, trust=request.trust_remote_code)
        floor = request.min_similarity
        verify.require(fidelity, verify.DEFAULT_MIN_SIMILARITY[spec.weight_format] if floor is None else floor)
        write_model(replace(entry, fidelity=fidelity))
        on_step("Publishing")
        return repository.publish(staged, name, overwrite=request.overwrite)


def _require_packages() -> None:
    from importlib.util import find_spec

    if any(find_spec(package) is None for package in ("optimum", "nncf", "torch", "openvino_tokenizers")):
        raise MissingExtra("Exporting a model", "export")


def _decide(request: ExportRequest, source: SourceModel, recipe: Recipe) -> tuple[ModelSpec, tuple[Decision, ...]]:
    """The flag, else what the files say; and for each setting where it came from."""
    normalize, normalize_origin = recipe.normalize.value, recipe.normalize.origin
    if request.normalize is not None:
        normalize, normalize_origin = (
            request.normalize,
            "--normalize" if request.normalize else "--no-normalize",
        )
    max_tokens, max_tokens_origin = recipe.max_tokens.value, recipe.max_tokens.origin
    if request.max_tokens is not None:
        if request.max_tokens < _FEWEST_TOKENS:
            raise InputError(f"--max-length must be {_FEWEST_TOKENS} or more: the tokens that frame a text count.")
        if recipe.position_limit is not None and request.max_tokens > recipe.position_limit:
            raise InputError(
                f"--max-length {request.max_tokens} is more than the model's {recipe.position_limit} positions."
            )
        max_tokens, max_tokens_origin = request.max_tokens, "--max-length"
    spec = ModelSpec(
        source=source.name,
        revision=source.revision,
        weights_sha256=hub.weights_sha256(recipe.encoder_folder),
        weight_format=request.weight_format,
        pooling=recipe.pooling.value,
        normalize=normalize,
        max_tokens=max_tokens,
        dimensions=recipe.dimensions,
        prompts=recipe.prompts.value,
        default_prompt=recipe.default_prompt,
    )
    prompts = ", ".join(f"{name}: {text!r}" for name, text in spec.prompts.items()) or "none"
    return spec, (
        Decision("source", source.name, source.origin),
        Decision("architecture", recipe.model_type, "config.json"),
        Decision("pooling", spec.pooling, recipe.pooling.origin),
        Decision("normalize", "yes" if spec.normalize else "no", normalize_origin),
        Decision("max tokens", str(spec.max_tokens), max_tokens_origin),
        Decision("prompts", prompts, recipe.prompts.origin),
        Decision("dimensions", str(spec.dimensions), "config.json"),
    )


def _keep_companions(staged: StagedModel) -> None:
    for name in convert.COMPANION_FILES:
        shutil.move(staged.scratch / name, staged.folder / name)


def _measure(entry: ModelEntry, recipe: Recipe, *, trust: bool) -> Fidelity:
    """Load the staged model as a server would, and hold its vectors against the source's."""
    from ovembed.engine import EngineSettings, OpenVINOEngine
    from ovembed.local import LocalEmbedder

    texts = verify.probe_texts()
    with LocalEmbedder(OpenVINOEngine.load(entry, EngineSettings()), entry.name) as embedder:
        exported = embedder.embed(texts, truncate=True).vectors
    with quiet():
        try:
            source = verify.source_vectors(
                recipe.encoder_folder, entry.spec, texts, lowercase=recipe.lowercase, trust=trust
            )
        except (OSError, OvembedError):
            raise
        except Exception as error:
            raise ExportError(f"{recipe.encoder_folder} cannot be run: {convert.in_one_line(error)}") from error
    return verify.compare(exported, source)


def _versions() -> dict[str, str]:
    return {package: metadata.version(package) for package in _PACKAGES}


@contextlib.contextmanager
def _full_disk_told(folder: Path) -> Iterator[None]:
    """OpenVINO does not say when a disk is full, it leaves a short file: look at the disk when a step failed."""
    try:
        yield
    except (OSError, RuntimeError, ExportError, EngineError) as error:
        full = isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}
        if full or shutil.disk_usage(folder).free < _SPACE_LEFT_WHEN_FULL:
            raise ExportError(
                f"No space left while exporting into {folder.parents[2]}. "
                "Free some, or choose another place with --repository. Nothing was kept."
            ) from error
        if isinstance(error, OvembedError):
            raise
        raise ExportError(f"The export failed: {convert.in_one_line(error)}") from error
