"""Vectors of an earlier output, found by their texts: what has not changed is not embedded again."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from ovembed.corpus import precision

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ovembed.corpus.rows import Row, Space
    from ovembed.corpus.stored import StoredVectors
    from ovembed.protocols import Vectors

_HASH_BYTES = 8


class Known:
    """Memory holds 16 bytes for each row; a text found by its hash is compared itself."""

    def __init__(self, stored: StoredVectors) -> None:
        self._stored = stored
        self._codes = stored.codes  # a damaged file is told before the work, not in the middle of it
        hashes = np.fromiter(
            (_hash(row.item.text) for rows in stored.row_blocks() for row in rows), dtype=np.uint64, count=len(stored)
        )
        self._order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[self._order]

    @property
    def space(self) -> Space:
        return self._stored.space

    def find(self, text: str) -> tuple[int, Row] | None:
        """The first row with that text, and its position."""
        wanted = np.uint64(_hash(text))
        place = int(np.searchsorted(self._hashes, wanted))
        while place < len(self._hashes) and self._hashes[place] == wanted:
            position = int(self._order[place])
            row = self._stored.row(position)
            if row.item.text == text:
                return position, row
            place += 1
        return None

    def vectors(self, positions: Sequence[int]) -> Vectors:
        """float32, shape (n, dimensions), in the order of the positions."""
        return precision.decode(np.asarray(self._codes[list(positions)]), self.space)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_HASH_BYTES).digest())
