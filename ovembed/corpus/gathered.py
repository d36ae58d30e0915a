"""A chunk while its rows come, in any order: they are taken from it in the order of its entries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ovembed.corpus.embedding import Part
from ovembed.corpus.rows import Block, Item, Refused, Row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ovembed.corpus.chunks import Chunk
    from ovembed.corpus.embedding import Fault
    from ovembed.protocols import Vectors


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive entries and what became of them; `tokens` of those that have rows."""

    entries: Sequence[Item | Refused]
    block: Block
    tokens: int


class Gathered:
    """What became of each entry so far. If `strict`, none is taken from the first on that is refused."""

    def __init__(self, chunk: Chunk, *, strict: bool) -> None:
        self.chunk = chunk
        self._strict = strict
        self._outcomes: list[Row | Refused | None] = [
            entry if isinstance(entry, Refused) else None for entry in chunk.entries
        ]
        self._open = sum(outcome is None for outcome in self._outcomes[chunk.done :])
        self._to_do = self._open
        self._tokens = [0] * len(chunk.entries)
        self._vectors: Vectors | None = None
        self._taken = chunk.done

    def add(self, arrived: Part | Fault) -> None:
        if isinstance(arrived, Part):
            if self._vectors is None:
                self._vectors = np.empty((len(self._outcomes), arrived.space.dimensions), dtype=np.float32)
            self._vectors[arrived.positions] = arrived.vectors
            for position, row, tokens in zip(arrived.positions, arrived.rows, arrived.tokens, strict=True):
                self._outcomes[position] = row
                self._tokens[position] = tokens
        else:
            for position in arrived.positions:
                entry = self.chunk.entries[position]
                self._outcomes[position] = Refused(entry.source, entry.line, arrived.problem, entry.id)
        self._open -= len(arrived.positions)

    @property
    def is_whole(self) -> bool:
        """Nothing more comes."""
        return not self._open or self.refusal is not None

    @property
    def share(self) -> float | None:
        """Of the work of the job, up to here."""
        before, after = self.chunk.share_before, self.chunk.share
        if before is None or after is None:
            return None
        return after if not self._open else after - (after - before) * self._open / self._to_do

    @property
    def refusal(self) -> Refused | None:
        """What ends a strict job: no entry before it has still to come."""
        reached = self._reached()
        outcome = self._outcomes[reached] if reached < len(self._outcomes) else None
        return outcome if isinstance(outcome, Refused) else None

    def take(self) -> Run:
        """All that follow those that were taken, without a gap; perhaps none."""
        start, self._taken = self._taken, self._reached()
        outcomes = self._outcomes[start : self._taken]
        rows = [outcome for outcome in outcomes if isinstance(outcome, Row)]
        refused = [outcome for outcome in outcomes if isinstance(outcome, Refused)]
        if self._vectors is None:
            vectors = np.empty((0, 0), dtype=np.float32)
        else:
            vectors = self._vectors[[start + place for place, each in enumerate(outcomes) if isinstance(each, Row)]]
        tokens = sum(self._tokens[start : self._taken])
        return Run(self.chunk.entries[start : self._taken], Block(rows, vectors, refused), tokens)

    def _reached(self) -> int:
        """The first entry that cannot be taken."""
        ends: tuple[type, ...] = (type(None), Refused) if self._strict else (type(None),)
        places = range(self._taken, len(self._outcomes))
        return next((place for place in places if isinstance(self._outcomes[place], ends)), len(self._outcomes))
