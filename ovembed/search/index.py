"""VectorIndex, for many queries to the vectors of an output file, and nearest_once, for one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ovembed import cores
from ovembed.corpus.ahead import ahead
from ovembed.errors import InputError
from ovembed.search.asked import Asked, Block, Nearest, lengths_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType

    from numpy.typing import NDArray

    from ovembed.corpus import Row, StoredVectors
    from ovembed.corpus.precision import Codes
    from ovembed.protocols import Embeddings, Vectors

_BLOCK_BYTES = 6 * 1024 * 1024
_FLOAT_BYTES = 4


@dataclass(frozen=True, slots=True)
class Hit:
    """A row that was found: its place in the file, counted from 0, and the cosine to the query."""

    position: int
    score: float
    row: Row


class VectorIndex:
    """Vectors to be asked for the nearest, by cosine. Mapped ones are not copied: 4 bytes a row are kept of them."""

    def __init__(self, stored: StoredVectors, name: str, *, threads: int | None = None) -> None:
        """`name` is for messages. Raises InputError when there are no vectors, or one that is not finite."""
        _refuse_none(stored, name)
        self._stored = stored
        self._codes: NDArray[Any] = np.asarray(stored.codes)
        self._block_rows = max(1, _BLOCK_BYTES // (stored.space.dimensions * _FLOAT_BYTES))
        self._workers = ThreadPoolExecutor(threads or cores.find().usable, thread_name_prefix="search")
        measured = self._workers.map(
            lambda rows: lengths_of(rows.start, self._codes[rows], stored.space, name), self._blocks()
        )
        self._lengths: Vectors = np.concatenate(list(measured))

    def __len__(self) -> int:
        return len(self._codes)

    def nearest(self, query: Vectors, k: int) -> list[Hit]:
        """The k rows nearest to `query` (float32, as the model gives it, cut here as the rows were), nearest first.

        Of equal rows the earlier one comes first; all rows where there are fewer than k. Raises InputError when the
        query has fewer dimensions than the rows.
        """
        asked = Asked(query, self._stored.space, k)

        def among(rows: slice) -> Nearest:
            return asked.among(Block(rows.start, self._codes[rows], self._lengths[rows]))

        return _hits(self._stored, asked, self._workers.map(among, self._blocks()))

    def close(self) -> None:
        self._workers.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        self.close()

    def _blocks(self) -> Iterator[slice]:
        for start in range(0, len(self), self._block_rows):
            yield slice(start, min(start + self._block_rows, len(self)))


def nearest_once(stored: StoredVectors, name: str, query: Vectors, k: int) -> list[Hit]:
    """What a VectorIndex finds, by a single pass over the file: nothing of its vectors is kept.

    Raises InputError as the index does, and when the file is damaged.
    """
    _refuse_none(stored, name)
    asked = Asked(query, stored.space, k)

    def among(rows: tuple[int, Codes]) -> Nearest:
        start, codes = rows
        return asked.among(Block(start, codes, lengths_of(start, codes, stored.space, name)))

    return _hits(stored, asked, ahead(among, _numbered(stored), cores.find().usable))


def space_warning(stored: StoredVectors, name: str, result: Embeddings) -> str | None:
    """Whether these vectors may be compared with those of the file: a warning where nobody can tell.

    Raises InputError when they are of another space.
    """
    space = stored.space
    if result.fingerprint is None or space.fingerprint is None:
        return f"Nobody tells whether '{result.model}' made {name} (by '{space.model}'): no fingerprint."
    if result.fingerprint != space.fingerprint:
        raise InputError(
            f"{name} holds vectors of '{space.model}' ({space.fingerprint}); those of '{result.model}' "
            f"({result.fingerprint}) cannot be compared with them. Choose its model, or embed the texts again."
        )
    return None


def _refuse_none(stored: StoredVectors, name: str) -> None:
    if not len(stored):
        raise InputError(f"{name} holds no vectors.")


def _numbered(stored: StoredVectors) -> Iterator[tuple[int, Codes]]:
    start = 0
    for codes in stored.code_blocks():
        yield start, codes
        start += len(codes)


def _hits(stored: StoredVectors, asked: Asked, blocks: Iterable[Nearest]) -> list[Hit]:
    return [Hit(position, score, stored.rows[position]) for position, score in asked.of_all(blocks)]
