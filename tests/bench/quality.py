"""Vectors of both exports against those that sentence-transformers makes from the source."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import spearmanr

from ovembed.targets import load_embedder
from tests.bench.material import sentence_transformer
from tests.bench.report import Figure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ovembed.protocols import Vectors
    from ovembed.spec import Precision
    from tests.bench.material import Material

COSINE_GOALS: dict[Precision, tuple[float, float]] = {"fp32": (0.9999, 0.9999), "int8": (0.999, 0.99)}


def measure(material: Material) -> Iterator[Figure]:
    """Cosines over all sentences; Spearman x100 of the pairs' cosines with the scores that people gave."""
    sentences, scores = material.sentences, material.scores
    source = _unit(sentence_transformer(material.source).encode(sentences))
    expected = _spearman(source, scores)
    yield Figure("source: Spearman on STS dev", expected, unit="points")
    for precision, (mean, minimum) in COSINE_GOALS.items():
        with load_embedder(material.model(precision)) as embedder:
            together = _unit(embedder.embed(sentences).vectors)
            alone = _unit(np.concatenate([embedder.embed([sentence]).vectors for sentence in sentences]))
        cosines = _cosines(together, source)
        difference = abs(_spearman(together, scores) - expected)
        yield Figure(f"{precision}: mean cosine to the source", cosines.mean(), ".5f", at_least=mean)
        yield Figure(f"{precision}: lowest cosine to the source", cosines.min(), ".5f", at_least=minimum)
        yield Figure(f"{precision}: Spearman, distance to the source's", difference, unit="points", at_most=0.2)
        yield Figure(
            f"{precision}: lowest cosine of a text alone to itself in a batch",
            _cosines(together, alone).min(),
            ".5f",
            at_least=0.9999 if precision == "fp32" else None,
        )


def _unit(vectors: Vectors) -> Vectors:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _cosines(left: Vectors, right: Vectors) -> Vectors:
    return np.einsum("ij,ij->i", left, right)


def _spearman(vectors: Vectors, scores: Vectors) -> float:
    return 100 * spearmanr(_cosines(vectors[::2], vectors[1::2]), scores).statistic
