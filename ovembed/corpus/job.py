"""The embed job: texts in chunks -> prompt -> vectors -> cut -> rows out, in the order they came.

Chunks are read, embedded and written at the same time, a few of them at once.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ovembed.corpus import precision
from ovembed.corpus.account import Account, Progress, Summary
from ovembed.corpus.ahead import ahead
from ovembed.corpus.chunks import Chunks, Sizes
from ovembed.corpus.embedding import Embedding
from ovembed.corpus.rows import Block, Pause, Refused, Standing
from ovembed.errors import EndpointError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ovembed.corpus.chunks import Chunk
    from ovembed.corpus.embedding import Options, Part
    from ovembed.corpus.rows import Item, Space, Writer
    from ovembed.corpus.update import Known
    from ovembed.protocols import Embedder

# Enough texts for batches of like length, few enough to stream and to lose little in a crash. The first chunks have
# fewer: the model has work at once, and soon there is something to show and to keep.
CHUNK_TEXTS = 4096
FIRST_CHUNK_TEXTS = 512
# Of many more characters a text, a chunk takes fewer texts.
_CHARACTERS_OF_A_TEXT = 500
# One chunk is tokenized while another runs.
_DEPTH = 2


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
    job = _Job(Embedding(embedder, options, known), writer)
    if not writer.standing.complete:
        sizes = Sizes(FIRST_CHUNK_TEXTS, CHUNK_TEXTS, _CHARACTERS_OF_A_TEXT)
        job.run(Chunks(iter(entries), writer.standing, sizes, share_read, strict=options.strict), on_progress)
    summary = job.summary()
    writer.finish()
    return summary


class _Job:
    def __init__(self, embedding: Embedding, writer: Writer) -> None:
        self._embedding = embedding
        self._writer = writer
        self._began = writer.standing
        self._account = Account(writer.standing)

    def run(self, chunks: Chunks, on_progress: Callable[[Progress], None]) -> None:
        for chunk, parts in ahead(self._embed, self._begun(chunks), _DEPTH):
            self._write(chunk, parts)
            on_progress(self._account.progress(self._writer.standing, chunks.share_of_work(chunk)))

    def summary(self) -> Summary:
        return self._account.summary(self._writer.standing)

    def _begun(self, chunks: Chunks) -> Iterator[tuple[Chunk, list[Part]] | Pause]:
        for chunk in chunks:
            yield chunk if isinstance(chunk, Pause) else (chunk, self._embedding.reuse(chunk.items))

    def _embed(self, begun: tuple[Chunk, list[Part]]) -> tuple[Chunk, list[Part]]:
        """The parts in any order; what cannot be embedded is added to the chunk's `refused`."""
        chunk, parts = begun
        fresh = sorted(set(range(len(chunk.items))).difference(*(part.positions for part in parts)))
        embedded, faults = self._embedding.embed(chunk.items, fresh)
        for position, problem in sorted(faults.items()):
            item = chunk.items[position]
            chunk.refused.append(Refused(item.source, item.line, problem, item.id))
        return chunk, parts + embedded

    def _write(self, chunk: Chunk, parts: Sequence[Part]) -> None:
        block = _in_order(parts, chunk.refused)
        before = self._writer.standing
        self._account.note(parts, block)
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

    def _space(self, known: Space | None, parts: Sequence[Part], block: Block) -> Space | None:
        """The job's, with the limit that its first vectors give it. Raises InputError for vectors of another one."""
        for part in parts:
            if known is None:
                limit = self._embedding.limit or precision.limit_for(block.vectors, part.space.precision)
                known = replace(part.space, limit=limit)
            if not part.space.is_same(known):
                if self._began.rows:
                    raise InputError(
                        "The job that broke off had another model, prompt, precision or number of dimensions. "
                        "Continue with the same, or start over with --force."
                    )
                raise EndpointError("The endpoint changed its model between two requests.")
        return known


def _in_order(parts: Sequence[Part], refused: Sequence[Refused]) -> Block:
    """The rows of all parts as their items came."""
    if not parts:
        return Block([], np.empty((0, 0), dtype=np.float32), refused)
    order = np.argsort(np.concatenate([np.asarray(part.positions) for part in parts]))
    rows = [row for part in parts for row in part.rows]
    return Block([rows[place] for place in order], np.concatenate([part.vectors for part in parts])[order], refused)
