"""The embed job: texts in chunks -> prompt -> vectors -> cut -> rows out, in the order they came.

Chunks are read, embedded and written at the same time, a few of them at once.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

import numpy as np

from ovembed import vectors
from ovembed.corpus import precision
from ovembed.corpus.ahead import ahead
from ovembed.corpus.rows import Block, Item, Pause, Refused, Row, Space, Standing
from ovembed.errors import EndpointError, InputError, TextError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ovembed.corpus.precision import VectorPrecision
    from ovembed.corpus.rows import Writer
    from ovembed.corpus.update import Known
    from ovembed.protocols import Embedder, Vectors

# Enough texts for batches of like length, few enough to stream and to lose little in a crash. The first chunks have
# fewer: the model has work at once, and soon there is something to show and to keep.
CHUNK_TEXTS = 4096
FIRST_CHUNK_TEXTS = 512
# Of many more characters a text, a chunk takes fewer texts.
_CHARACTERS_OF_A_TEXT = 500
# One chunk is tokenized while another runs.
_DEPTH = 2
_DIGEST_BYTES = 16
# Places of cut texts that a summary names.
EXAMPLES = 3


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
class Progress:
    """What the job has done since it began or went on.

    computed_tokens: with padding, None if not told. share: of what there was to do, from 0 to 1; None where nobody
    knows its end.
    """

    texts: int
    tokens: int
    computed_tokens: int | None
    truncated: int
    share: float | None


@dataclass(frozen=True, slots=True)
class Summary:
    """What there is now: `resumed` of the texts by a job before, `reused` from an earlier output.

    tokens: of the texts that were run. repeated: texts that were not, since one beside them is the same.
    `truncated_places` names a few of the texts that were cut.
    """

    texts: int
    tokens: int
    truncated: int
    refused: int
    resumed: int
    reused: int
    repeated: int
    truncated_places: tuple[str, ...]


def nothing_embedded(first: Refused | None, refused: int) -> InputError:
    """What to raise of a job without rows; `first` of those `refused`."""
    if first is None:
        return InputError("There are no texts to embed.")
    all_of_them = f" None of all {refused} texts can be embedded." if refused > 1 else ""
    return InputError(f"{first.place}: {first.reason}{all_of_them}")


def embed_corpus(
    entries: Iterable[Item | Refused | Pause],
    embedder: Embedder,
    writer: Writer,
    options: Options,
    *,
    known: Known | None = None,
    share_read: Callable[[], float | None] = lambda: None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Summary:
    """Embed every item and write its row; memory holds a few chunks at a time, and at a Pause none is kept back.

    A writer that stands somewhere has that many entries left out. Texts of `known` that are in the same space keep
    their vectors. `share_read` tells how much of the input has been read. Raises InputError when the entries are not
    the ones of the writer's job, when there is not one text to embed, for a text that cannot be embedded if `strict`
    (naming file and line), and what the embedder raises.
    """
    return _Job(embedder, writer, options, known, share_read).run(entries, on_progress)


@dataclass(slots=True)
class _Chunk:
    """Consecutive entries, at most `size`; `seen`, `digest` (as in Standing) and the share of the input after them."""

    seen: int
    digest: str
    size: int
    items: list[Item] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    characters: int = 0
    share: float | None = None

    @classmethod
    def after(cls, seen: int, digest: str) -> Self:
        """As large as all before it: a job that goes on has the chunks, and so the rows, of one that never stopped."""
        return cls(seen, digest, min(CHUNK_TEXTS, max(FIRST_CHUNK_TEXTS, seen)))

    @property
    def count(self) -> int:
        return len(self.items) + len(self.refused)

    @property
    def is_full(self) -> bool:
        return self.count >= self.size or self.characters >= self.size * _CHARACTERS_OF_A_TEXT

    def add(self, entry: Item | Refused) -> None:
        self.seen += 1
        self.digest = _chained(self.digest, entry)
        if isinstance(entry, Item):
            self.items.append(entry)
            self.characters += len(entry.text)
        else:
            self.refused.append(entry)


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows of the items at `positions` of a chunk, with their vectors, cut already; `repeated` of them were not run."""

    positions: Sequence[int]
    rows: Sequence[Row]
    vectors: Vectors
    space: Space
    tokens: int
    computed_tokens: int | None
    repeated: int = 0


class _Job:
    def __init__(
        self,
        embedder: Embedder,
        writer: Writer,
        options: Options,
        known: Known | None,
        share_read: Callable[[], float | None],
    ) -> None:
        self._embedder = embedder
        self._writer = writer
        self._options = options
        self._began = writer.standing
        self._known = known if known is not None and self._is_usable(known) else None
        self._computed: int | None = 0
        self._reused = 0
        self._repeated = 0
        self._share_read = share_read
        self._share_began = 0.0
        self._cut_places: list[str] = []
        self._first_refused: Refused | None = None

    def run(self, entries: Iterable[Item | Refused | Pause], on_progress: Callable[[Progress], None]) -> Summary:
        if not self._began.complete:
            for chunk, parts in ahead(self._embed_chunk, self._begun(iter(entries)), _DEPTH):
                self._write(chunk, parts)
                on_progress(self._progress(chunk.share))
        now = self._writer.standing
        if not now.rows:
            raise nothing_embedded(self._first_refused, now.refused)
        self._writer.finish()
        return Summary(
            now.rows,
            now.tokens,
            now.truncated,
            now.refused,
            self._began.rows,
            self._reused,
            self._repeated,
            tuple(self._cut_places),
        )

    def _progress(self, read: float | None) -> Progress:
        began, now = self._began, self._writer.standing
        whole = 1 - self._share_began
        share = None if read is None or not whole else (read - self._share_began) / whole
        return Progress(now.rows - began.rows, now.tokens - began.tokens, self._computed, now.truncated, share)

    def _begun(self, entries: Iterator[Item | Refused | Pause]) -> Iterator[tuple[_Chunk, list[_Part]] | Pause]:
        for chunk in self._chunks(entries):
            if isinstance(chunk, Pause):
                yield chunk
            else:
                chunk.share = self._share_read()
                yield chunk, self._reuse(chunk.items)

    def _chunks(self, entries: Iterator[Item | Refused | Pause]) -> Iterator[_Chunk | Pause]:
        """Full ones, and at a pause and at the end what there is."""
        chunk = _Chunk.after(self._began.seen, self._pass_over(entries))
        self._share_began = self._share_read() or 0.0 if self._began.seen else 0.0
        for entry in entries:
            if isinstance(entry, Pause):
                yield from (chunk, entry) if chunk.count else (entry,)
            elif self._options.strict and isinstance(entry, Refused):
                raise InputError(f"{entry.place}: {entry.reason}")
            else:
                chunk.add(entry)
                if not chunk.is_full:
                    continue
                yield chunk
            chunk = _Chunk.after(chunk.seen, chunk.digest)
        if chunk.count:
            yield chunk

    def _pass_over(self, entries: Iterator[Item | Refused | Pause]) -> str:
        """The digest after the entries that are done. Raises InputError when they are others."""
        seen, digest = 0, ""
        while seen < self._began.seen and (entry := next(entries, None)) is not None:
            if not isinstance(entry, Pause):
                seen, digest = seen + 1, _chained(digest, entry)
        if digest != self._began.digest:
            raise InputError("The input is not the one of the job that broke off. Start over with --force.")
        return digest

    def _embed_chunk(self, begun: tuple[_Chunk, list[_Part]]) -> tuple[_Chunk, list[_Part]]:
        """The parts in any order; what cannot be embedded is added to the chunk's `refused`."""
        chunk, parts = begun
        faults: dict[int, str] = {}
        fresh = sorted(set(range(len(chunk.items))).difference(*(part.positions for part in parts)))
        self._embed(chunk.items, _alike(chunk.items, fresh), parts, faults)
        for position, problem in sorted(faults.items()):
            item = chunk.items[position]
            chunk.refused.append(Refused(item.source, item.line, problem, item.id))
        return chunk, parts

    def _reuse(self, items: Sequence[Item]) -> list[_Part]:
        """What an earlier output knows of a chunk. Not for several threads at once: it reads a file."""
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
        tokens = sum(row.tokens or 0 for row in rows)
        return [_Part(positions, rows, known.vectors(places), known.space, tokens, tokens)]

    def _embed(
        self, items: Sequence[Item], alike: Sequence[Sequence[int]], parts: list[_Part], faults: dict[int, str]
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

    def _part(self, items: Sequence[Item], alike: Sequence[Sequence[int]]) -> _Part:
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
        return _Part(positions, rows, cut[places], space, result.total_tokens, result.computed_tokens, repeated)

    def _write(self, chunk: _Chunk, parts: Sequence[_Part]) -> None:
        parts = [part for part in parts if part.rows]
        block = _in_order(parts, chunk.refused)
        before = self._writer.standing
        self._note(parts, block)
        standing = Standing(
            seen=chunk.seen,
            digest=chunk.digest,
            rows=before.rows + len(block.rows),
            refused=before.refused + len(block.refused),
            tokens=before.tokens + sum(part.tokens for part in parts),
            truncated=before.truncated + sum(row.truncated for row in block.rows),
            space=self._space(before.space, parts, block),
        )
        self._writer.write(block, standing)

    def _note(self, parts: Sequence[_Part], block: Block) -> None:
        """What the summary and the progress tell beside the standing."""
        computed = [part.computed_tokens for part in parts]
        known = [count for count in computed if count is not None]
        self._computed = None if self._computed is None or len(known) < len(computed) else self._computed + sum(known)
        self._repeated += sum(part.repeated for part in parts)
        if self._known is not None:
            self._reused += sum(len(part.rows) for part in parts if part.space is self._known.space)
        self._first_refused = self._first_refused or next(iter(block.refused), None)
        cut = (row.item.place for row in block.rows if row.truncated)
        self._cut_places.extend(place for place, _ in zip(cut, range(EXAMPLES - len(self._cut_places)), strict=False))

    def _space(self, known: Space | None, parts: Sequence[_Part], block: Block) -> Space | None:
        """The job's, with the limit that its first vectors give it. Raises InputError for vectors of another one."""
        for part in parts:
            if known is None:
                earlier = None if self._known is None else self._known.space.limit
                limit = earlier or precision.limit_for(block.vectors, part.space.precision)
                known = replace(part.space, limit=limit)
            if not part.space.is_same(known):
                if self._began.rows:
                    raise InputError(
                        "The job that broke off had another model, prompt, precision or number of dimensions. "
                        "Continue with the same, or start over with --force."
                    )
                raise EndpointError("The endpoint changed its model between two requests.")
        return known

    def _is_usable(self, known: Known) -> bool:
        """Are its vectors those that this job would make?"""
        probe = self._part([Item("a", "", 0)], [[0]])
        return probe.space.is_same(known.space)


def _alike(items: Sequence[Item], positions: Sequence[int]) -> list[list[int]]:
    """The positions in groups, each with one text: corpora repeat headers, footers and whole pages."""
    found: dict[str, list[int]] = {}
    for position in positions:
        found.setdefault(items[position].text, []).append(position)
    return list(found.values())


def _in_order(parts: Sequence[_Part], refused: Sequence[Refused]) -> Block:
    """The rows of all parts as their items came."""
    if not parts:
        return Block([], np.empty((0, 0), dtype=np.float32), refused)
    order = np.argsort(np.concatenate([np.asarray(part.positions) for part in parts]))
    rows = [row for part in parts for row in part.rows]
    return Block([rows[place] for place in order], np.concatenate([part.vectors for part in parts])[order], refused)


def _chained(digest: str, entry: Item | Refused) -> str:
    text = entry.text if isinstance(entry, Item) else entry.reason
    return hashlib.blake2b(f"{digest}{text}".encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).hexdigest()
