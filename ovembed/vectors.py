"""Arithmetic on rows of vectors: numpy only, float32 in and out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ovembed.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ovembed.protocols import Vectors

_TINY = np.float32(1e-12)


def normalize(vectors: Vectors) -> Vectors:
    """Rows scaled to unit L2 length; a zero row stays zero."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, _TINY), dtype=np.float32)


def cut(vectors: Vectors, dimensions: int | None) -> Vectors:
    """The first `dimensions` columns, normalized again (Matryoshka); the vectors themselves for None.

    Raises InputError when there are fewer columns than asked for.
    """
    check_dimensions(dimensions, vectors.shape[1])
    return vectors if dimensions is None else normalize(vectors[:, :dimensions])


def check_dimensions(dimensions: int | None, available: int) -> None:
    """Raises InputError when that many cannot be cut from vectors of `available` dimensions."""
    if dimensions is not None and not 1 <= dimensions <= available:
        raise InputError(f"The vectors have {available} dimensions; {dimensions} cannot be cut from them.")


def cosine(left: Vectors, right: Vectors) -> Vectors:
    """Cosine of each row of `left` with the same row of `right`: shape (n,)."""
    return np.asarray((normalize(left) * normalize(right)).sum(axis=-1), dtype=np.float32)


def all_near(left: Vectors, right: Vectors, least_cosine: float) -> bool:
    """Whether both have one shape, and each row of `left` at least that cosine to the same row of `right`."""
    return left.shape == right.shape and bool(cosine(left, right).min() >= least_cosine)


def top_k(query: Vectors, vectors: Vectors, k: int) -> tuple[NDArray[np.intp], Vectors]:
    """The k rows nearest to `query` (shape (dimensions,)) by cosine: (positions, cosines).

    Nearest first; of equal rows the earlier one; all rows where there are fewer than k.
    """
    scores = normalize(vectors) @ normalize(query)
    nearest = highest(scores, k)
    return nearest, scores[nearest]


def highest(scores: Vectors, k: int) -> NDArray[np.intp]:
    """Positions of the k highest of scores of shape (n,): highest first, of equal ones the earlier."""
    if not 0 < k < len(scores):
        return np.argsort(-scores, kind="stable")[:k]
    least = np.partition(scores, len(scores) - k)[len(scores) - k]
    among = np.flatnonzero(scores >= least)
    return among[np.argsort(-scores[among], kind="stable")[:k]]
