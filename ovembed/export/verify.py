"""Fidelity: the exported model's vectors of the probe texts, held against its source's."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

import numpy as np

from ovembed import vectors
from ovembed.errors import ExportError
from ovembed.repository import Fidelity

if TYPE_CHECKING:
    from ovembed.protocols import Vectors
    from ovembed.spec import Precision

# Below these mean cosines an export is broken, not just rounded.
DEFAULT_MIN_SIMILARITY: dict[Precision, float] = {
    "fp32": 0.9999,
    "fp16": 0.9995,
    "int8": 0.98,
    "full-int8": 0.97,
    "int4": 0.95,
}

_NEXT_STEP: dict[Precision, str] = {
    "fp32": "The conversion itself went wrong: check the package versions (pip install -U 'ovembed[export]')",
    "fp16": "Try --weight-format fp32",
    "int8": "Try --weight-format fp16",
    "full-int8": "Try --weight-format int8, or --calibration with texts like yours",
    "int4": "Try --weight-format int8",
}

_NEIGHBOURS = 10
_ROUNDING = 1e-6  # of float32, in the cosine of equal vectors


def probe_texts() -> list[str]:
    """Short and long texts in several languages and scripts, with code and numbers; order is stable."""
    text = resources.files("ovembed.export").joinpath("probes.txt").read_text(encoding="utf-8")
    return text.splitlines()


def compare(source: Vectors, alone: Vectors, batched: Vectors) -> Fidelity:
    """Rows of the same texts in the same order, float32 (n, dimensions): by the source, and by the exported model
    with each text alone and in batches.

    Raises ExportError when a vector of the exported model has the wrong length or is not finite.
    """
    if alone.shape != source.shape:
        raise ExportError(f"The exported model gives vectors of shape {alone.shape}, its source {source.shape}.")
    if not (np.isfinite(alone).all() and np.isfinite(batched).all()):
        raise ExportError("The exported model gives vectors that are not finite. Try another --weight-format.")
    cosines = vectors.cosine(alone, source)
    return Fidelity(
        texts=len(cosines),
        mean=float(cosines.mean()),
        first_percentile=float(np.percentile(cosines, 1)),
        minimum=float(cosines.min()),
        neighbours=_shared_neighbours(source, alone),
        batch_minimum=float(vectors.cosine(alone, batched).min()),
    )


def too_far(fidelity: Fidelity, precision: Precision, min_similarity: float | None) -> ExportError:
    """What to say of a model that does not reach the floor."""
    return ExportError(
        f"The exported model is too far from its source: mean cosine {fidelity.mean:.5f}, "
        f"wanted at least {min_similarity_of(precision, min_similarity)}. "
        f"Nothing was kept. {_NEXT_STEP[precision]}, or lower --min-similarity."
    )


def near_enough(fidelity: Fidelity, precision: Precision, min_similarity: float | None) -> bool:
    """Whether the mean cosine reaches the floor; 1.0 asks for vectors that are equal but for float32's rounding."""
    return fidelity.mean >= min_similarity_of(precision, min_similarity) - _ROUNDING


def min_similarity_of(precision: Precision, asked: float | None) -> float:
    """The floor for the mean cosine: as asked, else the precision's default."""
    return DEFAULT_MIN_SIMILARITY[precision] if asked is None else asked


def _shared_neighbours(left: Vectors, right: Vectors) -> float:
    """The mean share of each row's nearest other rows that both sides have in common; 1.0 for a single row."""
    count = min(_NEIGHBOURS, len(left) - 1)
    if count < 1:
        return 1.0
    nearest = [_nearest_others(rows, count) for rows in (left, right)]
    shared = [len(set(ours) & set(theirs)) for ours, theirs in zip(*nearest, strict=True)]
    return float(np.mean(shared)) / count


def _nearest_others(rows: Vectors, count: int) -> list[list[int]]:
    unit = vectors.normalize(rows)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    nearest: list[list[int]] = np.argsort(-cosines, axis=1, kind="stable")[:, :count].tolist()
    return nearest
