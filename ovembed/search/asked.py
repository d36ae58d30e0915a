"""Asked: one query put to blocks of rows. The nearest of each block first, then the nearest of those.

The cosines are one einsum over a block that stays in the cache: a million vectors of 384 dimensions take 60 ms on two
cores as float32, 55 as int8, 85 as float16. BLAS (a matrix times a vector) takes 130 to 250 ms for the first, usearch's
exact search 107, faiss 288.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ovembed import vectors
from ovembed.corpus import decode_vectors, dot_vectors, encode_vectors
from ovembed.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from ovembed.corpus import Space
    from ovembed.corpus.precision import Codes
    from ovembed.protocols import Vectors

# Rows that bits find near, for each one wanted, whose cosines are then taken: sentence-transformers' factor is 4.
_CANDIDATES = 10


@dataclass(frozen=True, slots=True)
class Block:
    """Rows that follow each other; `start` is the first one's place in the file, `lengths` are those of the vectors."""

    start: int
    codes: Codes
    lengths: Vectors


@dataclass(frozen=True, slots=True)
class Nearest:
    """Rows in the order of the file: their places, their cosines, and what they were chosen by."""

    positions: NDArray[np.intp]
    scores: Vectors
    sieve: Vectors


class Asked:
    """A query. Binary vectors are sifted by the bits that they share with the query's, and the nearest ranked by the
    cosine of the query's numbers to their bits.
    """

    def __init__(self, query: Vectors, space: Space, k: int) -> None:
        """`query` is float32, as the model gives it, and cut here as the rows were. Raises InputError when it has
        fewer dimensions than they.
        """
        self._query = vectors.normalize(vectors.cut(query[None], space.dimensions))[0]
        self._space = space
        self._k = k
        self._binary = space.precision == "binary"
        self._kept = k * _CANDIDATES if self._binary else k
        self._bits = _words(encode_vectors(self._query[None], space)) if self._binary else None

    def among(self, block: Block) -> Nearest:
        """Those of a block that may be among the k nearest of all."""
        sieve = self._shared(block.codes) if self._binary else self._cosines(block.codes, block.lengths)
        kept = np.sort(vectors.highest(sieve, self._kept))
        scores = self._cosines(block.codes[kept], block.lengths[kept]) if self._binary else sieve[kept]
        return Nearest(kept + block.start, scores, sieve[kept])

    def of_all(self, blocks: Iterable[Nearest]) -> list[tuple[int, float]]:
        """Position and cosine of the k nearest, nearest first; of equal ones the earlier in the file."""
        every = list(blocks)
        sieve = np.concatenate([nearest.sieve for nearest in every])
        kept = np.sort(vectors.highest(sieve, self._kept))
        positions = np.concatenate([nearest.positions for nearest in every])[kept]
        scores = np.concatenate([nearest.scores for nearest in every])[kept]
        best = vectors.highest(scores, self._k)
        return list(zip(positions[best].tolist(), scores[best].tolist(), strict=True))

    def _cosines(self, codes: Codes, lengths: Vectors) -> Vectors:
        return dot_vectors(codes, self._query, self._space) / lengths

    def _shared(self, codes: Codes) -> Vectors:
        """How many bits are the query's, but for a constant."""
        differing = np.bitwise_count(_words(codes) ^ self._bits).sum(axis=1, dtype=np.float32)
        return np.asarray(-differing)


def lengths_of(start: int, codes: Codes, space: Space, name: str) -> Vectors:
    """The length of every row; a zero row's is 1, so that its cosines are 0.

    Raises InputError, naming the file by `name`, for a vector that is not finite.
    """
    if space.precision == "binary":  # every bit is -1 or 1
        return np.full(len(codes), np.sqrt(space.dimensions), dtype=np.float32)
    rows = decode_vectors(codes, space)
    measured: Vectors = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    if not np.isfinite(measured).all():
        row = start + int(np.argmin(np.isfinite(measured)))
        raise InputError(f"{name}: the vector of row {row}, counted from 0, is not finite. Embed the texts again.")
    measured[measured == 0] = 1
    return measured


def _words(codes: NDArray[Any]) -> NDArray[Any]:
    """Bits in the largest words that rows are made of."""
    return codes.view(np.uint64 if codes.shape[1] % 8 == 0 else np.uint8)
