"""VectorIndex: exact search among the vectors of an output file, block by block, where they are.

One einsum over blocks that stay in the cache, a thread for each core: a million vectors of 384 dimensions take 60 ms on
two cores as float32, 55 as int8, 85 as float16. BLAS (a matrix times a vector) takes 130 to 250 ms for the first,
usearch's exact search 107, faiss 288.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ovembed import cores, vectors
from ovembed.corpus import decode_vectors, dot_vectors, encode_vectors
from ovembed.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from numpy.typing import NDArray

    from ovembed.corpus import Row, StoredVectors
    from ovembed.protocols import Embeddings, Vectors

_BLOCK_BYTES = 6 * 1024 * 1024
_FLOAT_BYTES = 4
# Rows that bits find near, for each one wanted, whose cosines are then taken: sentence-transformers' factor is 4.
_CANDIDATES = 10


@dataclass(frozen=True, slots=True)
class Hit:
    """A row that was found: its place in the file, counted from 0, and the cosine to the query."""

    position: int
    score: float
    row: Row


class VectorIndex:
    """Vectors to be asked for the nearest, by cosine. Float32 ones are not copied: 4 bytes a row are kept of them.

    Binary vectors are sifted by the bits that they share with the query's, and the nearest ranked by the cosine of the
    query's numbers to their bits.
    """

    def __init__(self, stored: StoredVectors, name: str, *, threads: int | None = None) -> None:
        """`name` is for messages. Raises InputError when there are no vectors, or one that is not finite."""
        if not len(stored):
            raise InputError(f"{name} holds no vectors.")
        self._stored = stored
        self._name = name
        self._codes: NDArray[Any] = np.asarray(stored.codes).view(np.ndarray)
        self._block_rows = max(1, _BLOCK_BYTES // (stored.space.dimensions * _FLOAT_BYTES))
        self._workers = ThreadPoolExecutor(threads or cores.find().usable, thread_name_prefix="search")
        self._lengths = self._measure()

    def __len__(self) -> int:
        return len(self._codes)

    def check(self, result: Embeddings) -> str | None:
        """Whether these vectors may be compared with those of the file: a warning where nobody can tell.

        Raises InputError when they are of another space.
        """
        space = self._stored.space
        if result.fingerprint is None or space.fingerprint is None:
            return f"Nobody tells whether '{result.model}' made {self._name} (by '{space.model}'): no fingerprint."
        if result.fingerprint != space.fingerprint:
            raise InputError(
                f"{self._name} holds vectors of '{space.model}' ({space.fingerprint}); those of '{result.model}' "
                f"({result.fingerprint}) cannot be compared with them. Choose its model, or embed the texts again."
            )
        return None

    def nearest(self, query: Vectors, k: int) -> list[Hit]:
        """The k rows nearest to `query` (float32, as the model gives it, cut here as the rows were), nearest first.

        Of equal rows the earlier one comes first; all rows where there are fewer than k. Raises InputError when the
        query has fewer dimensions than the rows.
        """
        query = vectors.normalize(vectors.cut(query[None], self._stored.space.dimensions))[0]
        if self._stored.space.precision == "binary":
            return self._ranked(query, self._sifted(query, k * _CANDIDATES), k)
        space = self._stored.space
        scores = self._by_blocks(lambda block: dot_vectors(self._codes[block], query, space)) / self._lengths
        return [self._hit(position, scores[position]) for position in vectors.highest(scores, k)]

    def close(self) -> None:
        self._workers.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        self.close()

    def _measure(self) -> Vectors:
        """The length of every row; a zero row's is 1, so that its cosines are 0."""

        def lengths(block: slice) -> Vectors:
            rows = self._decoded(block)
            squares: Vectors = np.einsum("ij,ij->i", rows, rows)
            return np.sqrt(squares)

        if self._stored.space.precision == "binary":  # every bit is -1 or 1
            return np.full(len(self), np.sqrt(self._stored.space.dimensions), dtype=np.float32)
        measured = self._by_blocks(lengths)
        if not np.isfinite(measured).all():
            row = int(np.argmin(np.isfinite(measured)))
            raise InputError(f"{self._name}: the vector of row {row} is not finite. Embed the texts again.")
        measured[measured == 0] = 1
        return measured

    def _sifted(self, query: Vectors, count: int) -> NDArray[np.intp]:
        """The rows that share most bits with the query, in the order of the file."""
        bits = _words(encode_vectors(query[None], self._stored.space))
        differing = self._by_blocks(
            lambda block: np.bitwise_count(_words(self._codes[block]) ^ bits).sum(axis=1, dtype=np.float32)
        )
        return np.sort(vectors.highest(-differing, count))

    def _ranked(self, query: Vectors, candidates: NDArray[np.intp], k: int) -> list[Hit]:
        rows = decode_vectors(self._codes[candidates], self._stored.space)
        scores = rows @ query / self._lengths[candidates]
        return [self._hit(candidates[position], scores[position]) for position in vectors.highest(scores, k)]

    def _hit(self, position: np.intp, score: np.float32) -> Hit:
        return Hit(int(position), float(score), self._stored.rows[int(position)])

    def _decoded(self, block: slice) -> Vectors:
        return decode_vectors(self._codes[block], self._stored.space)

    def _by_blocks(self, compute: Callable[[slice], Vectors]) -> Vectors:
        """What `compute` makes of every block of rows, joined."""
        result = np.empty(len(self), dtype=np.float32)

        def run(start: int) -> None:
            block = slice(start, min(start + self._block_rows, len(self)))
            result[block] = compute(block)

        for _ in self._workers.map(run, range(0, len(self), self._block_rows)):
            pass
        return result


def _words(codes: NDArray[Any]) -> NDArray[Any]:
    """Bits in the largest words that rows are made of."""
    return codes.view(np.uint64 if codes.shape[1] % 8 == 0 else np.uint8)
