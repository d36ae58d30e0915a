"""export_model: source -> recipe -> convert -> quantize -> try and compare -> publish. Nothing shows before the end."""

from __future__ import annotations

import contextlib
import errno
import shutil
from dataclasses import replace
from importlib import metadata
from typing import TYPE_CHECKING

from ovembed import hub
from ovembed.errors import EngineError, ExportError, InputError, MissingExtra, OvembedError
from ovembed.export import backport, calibration, heads, ir, verify
from ovembed.export.decide import decide
from ovembed.export.original import open_original
from ovembed.export.quiet import quiet
from ovembed.export.words import in_one_line
from ovembed.repository import NEWEST, Decision, ModelEntry, ServingOptions, Tried, check_options, ovms_version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import openvino as ov

    from ovembed.export.calibration import Calibration
    from ovembed.export.decide import Plan
    from ovembed.export.original import Original
    from ovembed.export.request import ExportRequest
    from ovembed.export.trial import Candidate, Trial
    from ovembed.protocols import Vectors
    from ovembed.repository import ModelRepository, OvmsVersion
    from ovembed.spec import Precision

_PACKAGES = ("openvino", "optimum-intel", "nncf", "torch", "transformers", "ovembed")
# Weights that can still be quantized.
_FINE: tuple[Precision, ...] = ("fp32", "fp16")
# What `auto` tries, before the source's own precision, which always comes near enough.
_AUTO: tuple[Precision, ...] = ("full-int8", "int8")
_SPACE_LEFT_WHEN_FULL = 8 * 1024 * 1024


def export_model(
    request: ExportRequest,
    repository: ModelRepository,
    *,
    on_step: Callable[[str], None] = lambda _: None,
    on_download: Callable[[int, int], None] | None = None,
) -> ModelEntry:
    """Export one model into the repository and return its entry.

    `on_step` hears of each step as it begins, `on_download` of a download's bytes: those here, and those in all.
    Until the last step, which renames a hidden folder and then replaces the config file, the repository is as
    it was, whatever happens. Raises ModelNotFound, InputError, ExportError, EngineError or RepositoryError;
    MissingExtra without the packages of the `export` extra.
    """
    _require_packages()
    version = ovms_version(request.ovms_version) if request.ovms_version else NEWEST
    options = ServingOptions(request.target_device, request.num_streams, request.truncate)
    check_options(version, options)
    watched = calibration.read(request.calibration) if request.calibration else calibration.bundled()
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
    original = open_original(source, request)
    precisions = _precisions(request, original)
    plan = decide(request, original)
    with repository.stage() as staged, _full_disk_told(staged.folder):
        on_step("Converting to OpenVINO")
        exact = _write_exact(request, original, plan, version, staged.scratch)
        on_step("Running the source model")
        vectors = original.vectors(plan.spec, verify.probe_texts())
        trials, tried = _try_precisions(precisions, exact, watched, vectors, on_step)
        best = _choose(trials, tried, request)
        entry = ModelEntry(
            name=name,
            folder=staged.folder,
            spec=best.candidate.spec,
            pooled=exact.pooled,
            fast_tokenizer=exact.tokenizer_path.suffix == ".json",
            ovms_version=version.name,
            decisions=(*plan.decisions, *_more_decisions(request, original, best, watched, version)),
            fidelity=best.fidelity,
            efficiency=best.efficiency,
            tried=tried if len(tried) > 1 else (),
            versions={package: metadata.version(package) for package in _PACKAGES},
        )
        _assemble(entry, best, exact, version, options)
        on_step("Publishing")
        return repository.publish(staged, name, overwrite=request.overwrite)


def _require_packages() -> None:
    from importlib.util import find_spec

    if any(find_spec(package) is None for package in ("optimum", "nncf", "torch", "openvino_tokenizers")):
        raise MissingExtra("Exporting a model", "export")


def _precisions(request: ExportRequest, original: Original) -> Sequence[Precision]:
    """Which to try. Raises InputError for one that cannot be made of what the original is quantized to."""
    own = original.precision
    if own in _FINE and request.precision == "auto":
        return (*_AUTO, own)
    wanted = request.precision or ("int8" if own in _FINE else own)
    if wanted == "auto" or (wanted != own and (own not in _FINE or wanted == "fp32")):
        raise InputError(
            f"'{request.source}' holds {own} weights; {wanted} cannot be made of them. "
            "Leave --weight-format and --quant-mode out, or export its own source."
        )
    return (wanted,)


def _write_exact(
    request: ExportRequest, original: Original, plan: Plan, version: OvmsVersion, scratch: Path
) -> Candidate:
    """The model in its own precision, pooling its tokens itself where the server could not do it rightly.

    The tokenizer comes first: what the server cannot run is refused before the long part.
    """
    from ovembed.export.trial import Candidate

    tokenizer = _write_tokenizer(request, original, plan.spec.max_tokens, version, scratch)
    original.write_encoder(scratch, max_tokens=plan.spec.max_tokens)
    path = scratch / "openvino_model.xml"
    inside = heads.needs_pooling_inside(original.recipe) or not version.pools(plan.spec.pooling)

    def change(encoder: ov.Model) -> ov.Model:
        backport.keep_finite(encoder)
        backport.leave_out_token_types(encoder)
        if inside and not original.pooled:
            return heads.with_head(encoder, plan.spec.pooling, original.recipe.dense)
        return encoder

    ir.rewrite(path, change)
    return Candidate(plan.spec, path, tokenizer, pooled=inside or original.pooled)


def _write_tokenizer(
    request: ExportRequest, original: Original, max_tokens: int, version: OvmsVersion, scratch: Path
) -> Path:
    """The server's and ours, which are one where the original has no tokenizer.json; returns ours."""
    original.write_tokenizer(scratch, max_tokens=max_tokens)
    ours, served = scratch / "tokenizer.json", scratch / "openvino_tokenizer.xml"
    if request.truncate and version.truncation == "tokenizer" and not ours.exists():
        raise InputError(f"'{request.source}' has no tokenizer.json to make one of that cuts. Leave out --truncate.")
    backport.rewrite_tokenizer(served, version, truncate=request.truncate)
    return ours if ours.exists() else served


def _try_precisions(
    precisions: Sequence[Precision],
    exact: Candidate,
    watched: Calibration,
    vectors: Vectors,
    on_step: Callable[[str], None],
) -> tuple[list[Trial], tuple[Tried, ...]]:
    """Every precision that is asked for. Among several, one that fails is told of and does not count."""
    from ovembed.export.trial import try_out

    trials: list[Trial] = []
    tried: list[Tried] = []
    for precision in precisions:
        on_step(_WRITING[precision])
        try:
            candidate = _quantize(exact, precision, watched)
            on_step("Comparing with the source model")
            trial = try_out(candidate, exact, verify.probe_texts(), vectors)
        except (ExportError, EngineError) as error:
            if len(precisions) == 1:
                raise
            tried.append(Tried(precision, problem=str(error)))
        else:
            trials.append(trial)
            tried.append(Tried(precision, trial.fidelity, trial.efficiency))
    return trials, tuple(tried)


_WRITING: dict[Precision, str] = {
    "fp32": "Writing fp32 weights",
    "fp16": "Writing fp16 weights",
    "int8": "Writing int8 weights",
    "int4": "Writing int4 weights",
    "full-int8": "Calibrating and writing full int8",
}


def _quantize(exact: Candidate, precision: Precision, watched: Calibration) -> Candidate:
    """A copy of the model in another precision, beside it. Raises ExportError when NNCF cannot make it."""
    from ovembed.engine.tokenizer import load_tokenizer
    from ovembed.export.quantize import quantize

    if precision == exact.spec.precision:
        return exact
    target = exact.model_path.parent / precision / exact.model_path.name
    target.parent.mkdir()
    full = precision == "full-int8"
    tokens = []
    if full:
        encoded = load_tokenizer(exact.tokenizer_path).encode(watched.texts)
        tokens = [ids[: exact.spec.max_tokens] for ids in encoded]
    try:
        with quiet():
            quantize(exact.model_path, target, precision, tokens)
    except OSError:
        raise
    except Exception as error:
        raise ExportError(f"{precision} weights could not be made: {in_one_line(error)}") from error
    spec = replace(exact.spec, precision=precision, calibration_sha256=watched.sha256 if full else None)
    return replace(exact, spec=spec, model_path=target)


def _choose(trials: Sequence[Trial], tried: Sequence[Tried], request: ExportRequest) -> Trial:
    """Raises ExportError when no trial comes near enough to the source."""
    from ovembed.export.trial import fastest

    best = fastest(trials, request.min_similarity)
    if best is not None:
        return best
    if not trials:
        raise ExportError(f"No precision gave a usable model. {tried[-1].problem}")
    closest = max(trials, key=lambda trial: trial.fidelity.mean)
    raise verify.too_far(closest.fidelity, closest.candidate.spec.precision, request.min_similarity)


def _more_decisions(
    request: ExportRequest, original: Original, best: Trial, watched: Calibration, version: OvmsVersion
) -> Iterator[Decision]:
    """What was settled by the trials and by the server that is aimed at."""
    spec = best.candidate.spec
    yield Decision("precision", spec.precision, _precision_origin(request, original))
    if spec.calibration_sha256:
        yield Decision("calibration", f"{len(watched.texts)} texts", watched.origin)
    yield Decision(
        "layout",
        f"{version.layout}, for OVMS {version.name}",
        "--ovms-version" if request.ovms_version else "default: the newest",
    )
    if best.candidate.pooled:
        reason = "Dense layers or left padding" if version.pools(spec.pooling) else f"OVMS {version.name} cannot"
        yield Decision("pooled by", "the model itself", reason)


def _precision_origin(request: ExportRequest, original: Original) -> str:
    match request.precision:
        case None:
            return "default" if original.precision in _FINE else "the source's own"
        case "auto":
            return "--quant-mode auto: the fastest that is near enough"
        case "full-int8":
            return "--quant-mode int8"
        case _:
            return "--weight-format"


def _assemble(entry: ModelEntry, best: Trial, exact: Candidate, version: OvmsVersion, options: ServingOptions) -> None:
    from ovembed.export.assemble import assemble

    assemble(entry, best, exact.model_path.parent, version, options)


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
        raise ExportError(f"The export failed: {in_one_line(error)}") from error
