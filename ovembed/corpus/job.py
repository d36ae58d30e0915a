"""The embed job: texts in chunks -> prompt -> vectors -> cut -> rows out, in the order they came.

Chunks are read, embedded and written at the same time, a few of them at once.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from ovembed import vectors
from ovembed.corpus import precision
from ovembed.corpus.ahead import ahead
from ovembed.corpus.rows import Block, Item, Refused, Row, Space, Standing
from ovembed.errors import EndpointError, InputError, TextError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ovembed.corpus.precision import VectorPrecision
    from ovembed.corpus.rows import Writer
    from ovembed.protocols import Embedder, Embeddings

# Enough texts for batches of like length, few enough to stream and to lose little in a crash.
CHUNK_TEXTS = 4096
CHUNK_CHARACTERS = 2_000_000
# One chunk is tokenized while another runs.
_DEPTH = 2
_DIGEST_BYTES = 16
_EXAMPLES = 3


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
    """How far the job has come since it began or went on.

    `computed_tokens` counts padding too, None where the endpoint does not tell.
    """

    texts: int
    tokens: int
    computed_tokens: int | None
    truncated: int


@dataclass(frozen=True, slots=True)
class Summary:
    """What there is now; `resumed` of the texts were there before. `truncated_places` names a few that were cut."""

    texts: int
    tokens: int
    truncated: int
    refused: int
    resumed: int
    truncated_places: tuple[str, ...]


def embed_corpus(
    entries: Iterable[Item | Refused],
    embedder: Embedder,
    writer: Writer,
    options: Options,
    *,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Summary:
    """Embed every item and write its row; memory holds a few chunks at a time.

    A writer that stands somewhere has that many entries left out. Raises InputError when these are not the ones of
    its job, when there is not one text to embed, for a text that cannot be embedded if `strict` (naming file and
    line), and what the embedder raises.
    """
    return _Job(embedder, writer, options, on_progress).run(entries)


@dataclass(slots=True)
class _Chunk:
    """Entries, and where the job stands when they are done, as far as reading them tells."""

    items: list[Item]
    refused: list[Refused]
    seen: int
    digest: str


@dataclass(slots=True)
class _Embedded:
    """A chunk with its vectors: `parts` of consecutive items."""

    chunk: _Chunk
    parts: list[tuple[Sequence[Item], Embeddings]] = field(default_factory=list)


class _Job:
    def __init__(
        self, embedder: Embedder, writer: Writer, options: Options, on_progress: Callable[[Progress], None]
    ) -> None:
        self._embedder = embedder
        self._writer = writer
        self._options = options
        self._on_progress = on_progress
        self._began = writer.standing
        self._computed: int | None = 0
        self._places: list[str] = []
        self._first_refused: Refused | None = None

    def run(self, entries: Iterable[Item | Refused]) -> Summary:
        if not self._began.complete:
            for embedded in ahead(self._embed_chunk, self._chunks(iter(entries)), _DEPTH):
                self._write(embedded)
                now = self._writer.standing
                self._on_progress(
                    Progress(
                        now.rows - self._began.rows,
                        now.tokens - self._began.tokens,
                        self._computed,
                        now.truncated,
                    )
                )
        now = self._writer.standing
        if not now.rows:
            raise InputError(self._nothing())
        self._writer.finish()
        return Summary(now.rows, now.tokens, now.truncated, now.refused, self._began.rows, tuple(self._places))

    def _nothing(self) -> str:
        if self._first_refused is None:
            return "There are no texts to embed."
        first = self._first_refused
        count = self._writer.standing.refused
        return f"None of {count} texts can be embedded. The first, {first.place}: {first.reason}"

    def _chunks(self, entries: Iterator[Item | Refused]) -> Iterator[_Chunk]:
        digest = self._pass_over(entries)
        chunk = _Chunk([], [], self._began.seen, digest)
        characters = 0
        for entry in entries:
            chunk.seen += 1
            chunk.digest = _chained(chunk.digest, entry)
            if isinstance(entry, Refused):
                if self._options.strict:
                    raise InputError(f"{entry.place}: {entry.reason}")
                chunk.refused.append(entry)
            else:
                chunk.items.append(entry)
                characters += len(entry.text)
            if len(chunk.items) + len(chunk.refused) >= CHUNK_TEXTS or characters >= CHUNK_CHARACTERS:
                yield chunk
                chunk = _Chunk([], [], chunk.seen, chunk.digest)
                characters = 0
        if chunk.items or chunk.refused:
            yield chunk

    def _pass_over(self, entries: Iterator[Item | Refused]) -> str:
        """The digest after the entries that are done. Raises InputError when they are others."""
        digest = ""
        for _ in range(self._began.seen):
            entry = next(entries, None)
            if entry is None:
                break
            digest = _chained(digest, entry)
        if digest != self._began.digest:
            raise InputError("The input is not the one of the job that broke off. Start over with --force.")
        return digest

    def _embed_chunk(self, chunk: _Chunk) -> _Embedded:
        embedded = _Embedded(chunk)
        if chunk.items:
            self._embed(chunk.items, embedded)
        return embedded

    def _embed(self, items: Sequence[Item], embedded: _Embedded) -> None:
        """Halves of what cannot be embedded whole, down to the texts at fault: most of the others stay together."""
        texts = [self._options.prompt + item.text for item in items]
        try:
            embedded.parts.append((items, self._embedder.embed(texts, truncate=self._options.truncate)))
        except TextError as error:
            fault = items[error.position]
            if self._options.strict:
                raise InputError(f"{fault.place}: {error.problem}") from error
            if len(items) == 1:
                embedded.chunk.refused.append(Refused(fault.source, fault.line, error.problem, fault.id))
                return
            middle = len(items) // 2
            self._embed(items[:middle], embedded)
            self._embed(items[middle:], embedded)

    def _write(self, embedded: _Embedded) -> None:
        rows = [row for items, result in embedded.parts for row in self._rows(items, result)]
        results = [result for _, result in embedded.parts]
        cut = [vectors.cut(result.vectors, self._options.dimensions) for result in results]
        block = Block(rows, np.concatenate(cut or [_NO_VECTORS]), embedded.chunk.refused)
        self._first_refused = self._first_refused or next(iter(block.refused), None)
        self._count_computed(results)
        before = self._writer.standing
        standing = Standing(
            seen=embedded.chunk.seen,
            digest=embedded.chunk.digest,
            rows=before.rows + len(rows),
            refused=before.refused + len(block.refused),
            tokens=before.tokens + sum(result.total_tokens for result in results),
            truncated=before.truncated + sum(row.truncated for row in rows),
            space=self._space(before.space, results, block),
        )
        self._writer.write(block, standing)

    def _rows(self, items: Sequence[Item], result: Embeddings) -> Iterator[Row]:
        cut = set(result.truncated)
        for position, item in enumerate(items):
            if position in cut and len(self._places) < _EXAMPLES:
                self._places.append(item.place)
            yield Row(item, result.tokens[position] if result.tokens else None, position in cut)

    def _space(self, known: Space | None, results: Sequence[Embeddings], block: Block) -> Space | None:
        """The job's, checked against these results. Raises InputError when the job was begun in another one."""
        for result in results:
            found = Space(
                result.model,
                result.fingerprint,
                block.vectors.shape[1],
                self._options.precision,
                precision.limit_for(block.vectors, self._options.precision),
                self._options.prompt,
            )
            known = known or found
            if replace(found, limit=known.limit) != known:
                if self._began.rows:
                    raise InputError(
                        "The job that broke off had another model, prompt, precision or number of dimensions. "
                        "Continue with the same, or start over with --force."
                    )
                raise EndpointError("The endpoint changed its model between two requests.")
        return known

    def _count_computed(self, results: Sequence[Embeddings]) -> None:
        for result in results:
            told = self._computed is not None and result.computed_tokens is not None
            self._computed = self._computed + result.computed_tokens if told else None  # type: ignore[operator]


_NO_VECTORS = np.empty((0, 0), dtype=np.float32)


def _chained(digest: str, entry: Item | Refused) -> str:
    text = entry.text if isinstance(entry, Item) else entry.reason
    return hashlib.blake2b(f"{digest}{text}".encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).hexdigest()
