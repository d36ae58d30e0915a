"""What the exported model will be: the flag, else what the source's files say; and for each where it came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ovembed.errors import InputError
from ovembed.hub import Found
from ovembed.repository import Decision
from ovembed.spec import ModelSpec

if TYPE_CHECKING:
    from ovembed.export.original import Original
    from ovembed.export.request import ExportRequest
    from ovembed.hub import Recipe

_FEWEST_TOKENS = 3  # one, between the two that begin and end a text


@dataclass(frozen=True, slots=True)
class Plan:
    """The spec of the model in its source's own precision, and how each setting was decided."""

    spec: ModelSpec
    decisions: tuple[Decision, ...]


def decide(request: ExportRequest, original: Original) -> Plan:
    """Raises InputError for a limit of tokens that the model cannot have."""
    source, recipe = original.source, original.recipe
    normalize, max_tokens = _normalize(request, recipe), _max_tokens(request, recipe)
    spec = ModelSpec(
        source=source.name,
        revision=source.revision,
        weights_sha256=original.weights_sha256,
        precision=original.precision,
        calibration_sha256=None,
        pooling=recipe.pooling.value,
        normalize=normalize.value,
        max_tokens=max_tokens.value,
        dimensions=recipe.dimensions,
        prompts=recipe.prompts.value,
        default_prompt=recipe.default_prompt,
    )
    prompts = ", ".join(f"{name}: {text!r}" for name, text in spec.prompts.items()) or "none"
    dimensions_origin = recipe.dense[-1].folder.name if recipe.dense else "config.json"
    return Plan(
        spec,
        (
            Decision("source", source.name, source.origin),
            Decision("architecture", recipe.model_type, "config.json"),
            Decision("pooling", spec.pooling, recipe.pooling.origin),
            Decision("normalize", "yes" if spec.normalize else "no", normalize.origin),
            Decision("max tokens", str(spec.max_tokens), max_tokens.origin),
            Decision("prompts", prompts, recipe.prompts.origin),
            Decision("dimensions", str(spec.dimensions), dimensions_origin),
        ),
    )


def _normalize(request: ExportRequest, recipe: Recipe) -> Found[bool]:
    if request.normalize is None:
        return recipe.normalize
    return Found(request.normalize, "--normalize" if request.normalize else "--no-normalize")


def _max_tokens(request: ExportRequest, recipe: Recipe) -> Found[int]:
    if request.max_tokens is None:
        return recipe.max_tokens
    if request.max_tokens < _FEWEST_TOKENS:
        raise InputError(f"--max-length must be {_FEWEST_TOKENS} or more: the tokens that frame a text count.")
    if recipe.position_limit is not None and request.max_tokens > recipe.position_limit:
        raise InputError(
            f"--max-length {request.max_tokens} is more than the model's {recipe.position_limit} positions."
        )
    return Found(request.max_tokens, "--max-length")
