"""Items to rows with their vectors: by the embedder, or from an earlier output that has the same texts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ovembed import vectors
from ovembed.corpus.rows import Item, Row, Space
from ovembed.errors import InputError, TextError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ovembed.corpus.precision import VectorPrecision
    from ovembed.corpus.update import Known
    from ovembed.protocols import Embedder, Vectors


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
    """Rows of the items at `positions` of a chunk, with their vectors, cut already.

    `reused` tells that they are of an earlier output, `repeated` how many of them were not run, since one beside them
    is the same.
    """

    positions: Sequence[int]
    rows: Sequence[Row]
    vectors: Vectors
    space: Space
    tokens: int
    computed_tokens: int | None
    repeated: int = 0
    reused: bool = False


class Embedding:
    """By one embedder for one job. `known` is used where its vectors are those that this job would make."""

    def __init__(self, embedder: Embedder, options: Options, known: Known | None) -> None:
        self._embedder = embedder
        self._options = options
        self._known = known if known is not None and self._is_usable(known) else None

    @property
    def limit(self) -> float | None:
        """Of int8 vectors, where those of an earlier output are used."""
        return None if self._known is None else self._known.space.limit

    def reuse(self, items: Sequence[Item]) -> list[Part]:
        """What an earlier output knows of them. Not for several threads at once: it reads a file."""
        known = self._known
        if known is None:
            return []
        positions, rows, places = [], [], []
        for position, item in enumerate(items):
            found = known.find(item.text)
            if found is not None and (self._options.truncate or not found[1].truncated):
                place, row = found
                positions.append(position)
                rows.append(replace(row, item=item))
                places.append(place)
        if not rows:
            return []
        tokens = sum(row.tokens or 0 for row in rows)
        return [Part(positions, rows, known.vectors(places), known.space, tokens, tokens, reused=True)]

    def embed(self, items: Sequence[Item], positions: Sequence[int]) -> tuple[list[Part], dict[int, str]]:
        """The items at those positions in parts, in any order, and why others of them have none.

        Raises InputError for these if the job is strict.
        """
        parts: list[Part] = []
        faults: dict[int, str] = {}
        self._embed(items, _alike(items, positions), parts, faults)
        return parts, faults

    def _embed(
        self, items: Sequence[Item], alike: Sequence[Sequence[int]], parts: list[Part], faults: dict[int, str]
    ) -> None:
        """Without what is at fault; where not all of that is told at once, in halves, so that most stay together."""
        if not alike:
            return
        try:
            parts.append(self._part(items, alike))
        except TextError as error:
            if self._options.strict:
                raise InputError(f"{items[alike[error.position][0]].place}: {error.problem}") from error
            problems = {fault.position: fault.problem for fault in (error, *error.others)}
            faults.update({position: problem for place, problem in problems.items() for position in alike[place]})
            rest = [same for place, same in enumerate(alike) if place not in problems]
            middle = 0 if error.others else len(rest) // 2
            self._embed(items, rest[:middle], parts, faults)
            self._embed(items, rest[middle:], parts, faults)

    def _part(self, items: Sequence[Item], alike: Sequence[Sequence[int]]) -> Part:
        """Of positions in groups, as `_alike` makes them: a text of each is run."""
        options = self._options
        texts = [options.prompt + items[first].text for first, *_ in alike]
        result = self._embedder.embed(texts, truncate=options.truncate)
        cut = vectors.cut(result.vectors, options.dimensions)
        truncated = set(result.truncated)
        positions: list[int] = []
        places: list[int] = []
        rows: list[Row] = []
        for place, same in enumerate(alike):
            tokens = result.tokens[place] if result.tokens else None
            positions.extend(same)
            rows.extend(Row(items[position], tokens, place in truncated) for position in same)
            places.extend([place] * len(same))
        space = Space(result.model, result.fingerprint, cut.shape[1], options.precision, None, options.prompt)
        repeated = len(positions) - len(alike)
        return Part(positions, rows, cut[places], space, result.total_tokens, result.computed_tokens, repeated)

    def _is_usable(self, known: Known) -> bool:
        probe = self._part([Item("a", "", 0)], [[0]])
        return probe.space.is_same(known.space)


def _alike(items: Sequence[Item], positions: Sequence[int]) -> list[list[int]]:
    """The positions in groups, each with one text: corpora repeat headers, footers and whole pages."""
    found: dict[str, list[int]] = {}
    for position in positions:
        found.setdefault(items[position].text, []).append(position)
    return list(found.values())
