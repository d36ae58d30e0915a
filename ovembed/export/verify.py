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
    from ovembed.spec import WeightFormat

# Below these mean cosines an export is broken, not just rounded.
DEFAULT_MIN_SIMILARITY: dict[WeightFormat, float] = {"fp32": 0.9999, "fp16": 0.9995, "int8": 0.98}


def probe_texts() -> list[str]:
    """Short and long texts in several languages and scripts, with code and numbers; order is stable."""
    text = resources.files("ovembed.export").joinpath("probes.txt").read_text(encoding="utf-8")
    return text.splitlines()


def compare(exported: Vectors, source: Vectors) -> Fidelity:
    """Raises ExportError when a vector of the exported model has the wrong length or is not finite."""
    if exported.shape != source.shape:
        raise ExportError(f"The exported model gives vectors of shape {exported.shape}, its source {source.shape}.")
    if not np.isfinite(exported).all():
        raise ExportError("The exported model gives vectors that are not finite. Try another --weight-format.")
    cosines = vectors.cosine(exported, source)
    return Fidelity(texts=len(cosines), mean=float(cosines.mean()), minimum=float(cosines.min()))


def require(fidelity: Fidelity, minimum_mean: float) -> None:
    """Raises ExportError when the mean cosine is below what was asked for."""
    if fidelity.mean < minimum_mean:
        raise ExportError(
            f"The exported model is too far from its source: mean cosine {fidelity.mean:.4f}, "
            f"wanted at least {minimum_mean}. Nothing was kept. Try a finer --weight-format, or lower --min-similarity."
        )
