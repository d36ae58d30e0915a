"""A model in the making: one precision of it, tried as a server would run it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ovembed.engine import EngineSettings, OpenVINOEngine
from ovembed.export import speed, verify
from ovembed.local import LocalEmbedder
from ovembed.repository import Efficiency, Fidelity, Golden

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ovembed.protocols import Vectors
    from ovembed.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class Candidate:
    """An encoder that is written, and its tokenizer: what an engine loads (see engine.ModelFiles)."""

    spec: ModelSpec
    model_path: Path
    tokenizer_path: Path
    pooled: bool

    @property
    def size_bytes(self) -> int:
        return sum(path.stat().st_size for path in (self.model_path, self.model_path.with_suffix(".bin")))


@dataclass(frozen=True, slots=True)
class Trial:
    """A candidate, and what was measured of it."""

    candidate: Candidate
    golden: Golden
    fidelity: Fidelity
    efficiency: Efficiency


def try_out(candidate: Candidate, exact: Candidate, texts: Sequence[str], source: Vectors) -> Trial:
    """Embed the texts, alone and in batches, and hold them against the source's vectors (n, dimensions).

    `exact` is the same model in its source's precision; where that is fp32, the candidate's speed and size are
    compared with it. Raises ExportError or
    EngineError when the candidate gives no usable vectors.
    """
    engine = OpenVINOEngine.load(candidate, EngineSettings())
    with (
        LocalEmbedder(engine, candidate.spec.source) as batches,
        LocalEmbedder(engine, candidate.spec.source, max_batch_tokens=1) as one_by_one,
    ):
        batched = batches.embed(texts, truncate=True).vectors
        alone = one_by_one.embed(texts, truncate=True).vectors
    fidelity = verify.compare(source, alone, batched)
    return Trial(candidate, Golden(tuple(texts), source, alone), fidelity, _efficiency(engine, candidate, exact))


def _efficiency(engine: OpenVINOEngine, candidate: Candidate, exact: Candidate) -> Efficiency:
    if exact.spec.precision != "fp32":
        return Efficiency(speed.tokens_per_s([engine])[0], None, None)
    if candidate.model_path == exact.model_path:
        return Efficiency(speed.tokens_per_s([engine])[0], 1.0, 1.0)
    ours, theirs = speed.tokens_per_s([engine, OpenVINOEngine.load(exact, EngineSettings())])
    return Efficiency(ours, ours / theirs, candidate.size_bytes / exact.size_bytes)


def fastest(trials: Sequence[Trial], min_similarity: float | None) -> Trial | None:
    """The fastest of those that come near enough to the source; None when none does."""
    near = [
        trial for trial in trials if verify.near_enough(trial.fidelity, trial.candidate.spec.precision, min_similarity)
    ]
    return max(near, key=lambda trial: trial.efficiency.tokens_per_s, default=None)
