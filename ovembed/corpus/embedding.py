"""Items to rows with their vectors: by the embedder, or from an earlier output that has the same texts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

from ovembed import vectors
from ovembed.corpus.rows import Item, Row, Space
from ovembed.errors import TextError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ovembed.corpus.chunks import Chunk
    from ovembed.corpus.precision import VectorPrecision
    from ovembed.corpus.update import Known
    from ovembed.protocols import Embedder, Embeddings, Portion, Vectors


@dataclass(frozen=True, slots=True)
class Options:
    """How texts become rows.

    prompt: put before every text. dimensions: cut to so many (see vectors.cut). precision: the numbers written.
    truncate: cut texts that are too long, instead of refusing them. strict: end at the first text that gives no
    row, instead of going on without it.
    """

    prompt: str = ""
    dimensions: int | None = None
    precision: VectorPrecision = "float32"
    truncate: bool = False
    strict: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of the entries at `positions` of a chunk, with their vectors, cut already.

    tokens: those that count for each row, none for the `repeated` ones, which were not run since one beside them is the
    same. reused: the rows are of an earlier output.
    """

    positions: Sequence[int]
    rows: Sequence[Row]
    vectors: Vectors
    space: Space
    tokens: Sequence[int]
    computed_tokens: int | None
    repeated: int = 0
    reused: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """Why the entries at `positions` of a chunk, which have one text, get no rows."""

    positions: Sequence[int]
    problem: str


class Embedding:
    """By one embedder for one job. `known` is used where its vectors are those that this job would make."""

    def __init__(self, embedder: Embedder, options: Options, known: Known | None) -> None:
        self.options = options
        self._embedder = embedder
        self._known = known if known is not None and self._is_usable(known) else None

    @property
    def limit(self) -> float | None:
        """Of int8 vectors, where those of an earlier output are used."""
        return None if self._known is None else self._known.space.limit

    def begin(self, chunk: Chunk) -> Iterator[Part | Fault]:
        """All that is to be done of a chunk, as it comes and in any order; if strict, as `Embedder.embed_each` says.

        Chunks are to be begun in order, by one thread. Others may wait for what comes.
        """
        reused = self._reuse(chunk)
        spared = {position for part in reused for position in part.positions}
        alike: dict[str, list[int]] = {}  # corpora repeat headers, footers and whole pages
        for position, item in _open_items(chunk):
            if position not in spared:
                alike.setdefault(item.text, []).append(position)
        options = self.options
        texts = [options.prompt + text for text in alike]
        arriving = self._embedder.embed_each(texts, truncate=options.truncate, strict=options.strict)
        return chain(reused, self._parts(chunk, list(alike.values()), arriving))

    def _reuse(self, chunk: Chunk) -> Sequence[Part]:
        """What an earlier output knows of it."""
        known = self._known
        if known is None:
            return ()
        positions, rows, places = [], [], []
        for position, item in _open_items(chunk):
            found = known.find(item.text)
            if found is not None and (self.options.truncate or not found[1].truncated):
                place, row = found
                positions.append(position)
                rows.append(replace(row, item=item))
                places.append(place)
        if not rows:
            return ()
        tokens = [row.tokens or 0 for row in rows]
        return (Part(positions, rows, known.vectors(places), known.space, tokens, sum(tokens), reused=True),)

    def _parts(
        self, chunk: Chunk, groups: Sequence[Sequence[int]], arriving: Iterator[Portion | TextError]
    ) -> Iterator[Part | Fault]:
        """Of groups of positions with one text, of which these are the vectors."""
        for arrived in arriving:
            if isinstance(arrived, TextError):
                yield Fault(groups[arrived.position], arrived.problem)
            else:
                yield self._part(chunk, [groups[place] for place in arrived.positions], arrived.embeddings)

    def _part(self, chunk: Chunk, groups: Sequence[Sequence[int]], result: Embeddings) -> Part:
        counted = {entry.text for entry in chunk.entries[: chunk.done] if isinstance(entry, Item)}
        cut = vectors.cut(result.vectors, self.options.dimensions)
        truncated = set(result.truncated)
        costs = result.tokens or _spread(result.total_tokens, len(groups))
        positions: list[int] = []
        places: list[int] = []
        rows: list[Row] = []
        tokens: list[int] = []
        for place, same in enumerate(groups):
            items = [item for position in same if isinstance(item := chunk.entries[position], Item)]
            count = result.tokens[place] if result.tokens else None
            positions.extend(same)
            places.extend([place] * len(same))
            rows.extend(Row(item, count, place in truncated) for item in items)
            tokens.extend([0 if items[0].text in counted else costs[place], *[0] * (len(same) - 1)])
        repeated = len(positions) - len(groups)
        return Part(
            positions, rows, cut[places], self._space(result, cut), tokens, result.computed_tokens, repeated=repeated
        )

    def _space(self, result: Embeddings, cut: Vectors) -> Space:
        options = self.options
        return Space(result.model, result.fingerprint, cut.shape[1], options.precision, None, options.prompt)

    def _is_usable(self, known: Known) -> bool:
        probe = self._embedder.embed([self.options.prompt + "a"], truncate=self.options.truncate)
        return self._space(probe, vectors.cut(probe.vectors, self.options.dimensions)).is_same(known.space)


def _open_items(chunk: Chunk) -> Iterator[tuple[int, Item]]:
    """Those that are not done, with their positions."""
    for position in range(chunk.done, len(chunk.entries)):
        entry = chunk.entries[position]
        if isinstance(entry, Item):
            yield position, entry


def _spread(total: int, texts: int) -> list[int]:
    """As many for each, for an endpoint that tells only how many there are of all."""
    return [total * (place + 1) // texts - total * place // texts for place in range(texts)]
