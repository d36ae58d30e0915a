"""The embed job: texts in chunks -> prompt -> vectors -> cut -> rows out, in the order they came.

Chunks are read, embedded and written at the same time, a few of them at once. Of the oldest, every row is written as
soon as it and all before it are there.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from ovembed.corpus import precision
from ovembed.corpus.account import Account, Progress, Summary
from ovembed.corpus.ahead import parts_ahead
from ovembed.corpus.chunks import Chunks, Sizes, chained
from ovembed.corpus.embedding import Embedding, Part
from ovembed.corpus.gathered import Gathered
from ovembed.corpus.partial import had
from ovembed.corpus.rows import Pause, Standing
from ovembed.errors import EndpointError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ovembed.corpus.embedding import Fault, Options
    from ovembed.corpus.rows import Item, Refused, Space, Writer
    from ovembed.corpus.update import Known
    from ovembed.protocols import Embedder

    # A chunk, and its parts as they come.
    Begun: TypeAlias = tuple[Gathered, Iterator[Part | Fault]]
    # A chunk, and a part of it; None at its end.
    Arrived: TypeAlias = tuple[Gathered, Part | Fault | None]

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
    (naming file and line, with all rows before it written), and what the embedder raises.
    """
    job = _Job(Embedding(embedder, options, known), writer)
    if not writer.standing.complete:
        sizes = Sizes(FIRST_CHUNK_TEXTS, CHUNK_TEXTS, _CHARACTERS_OF_A_TEXT)
        job.run(Chunks(entries, writer.standing, sizes, share_read, strict=options.strict), on_progress)
    summary = job.summary()
    writer.finish()
    return summary


class _Job:
    def __init__(self, embedding: Embedding, writer: Writer) -> None:
        self._embedding = embedding
        self._strict = embedding.options.strict
        self._writer = writer
        self._began = writer.standing
        self._space = writer.standing.space
        self._account = Account(writer.standing)

    def run(self, chunks: Chunks, on_progress: Callable[[Progress], None]) -> None:
        for events in parts_ahead(_arriving, self._begun(chunks), _DEPTH):
            gathered, _ = events[0]
            parts = [arrived for _, arrived in events if arrived is not None]
            for part in parts:
                self._add(gathered, part)
            if self._write(gathered) or parts:
                on_progress(self._account.progress(gathered.share))
            if gathered.refusal is not None:
                raise InputError(f"{gathered.refusal.place}: {gathered.refusal.reason}")

    def summary(self) -> Summary:
        return self._account.summary(self._writer.standing)

    def _begun(self, chunks: Chunks) -> Iterator[Begun | Pause]:
        for chunk in chunks:
            if isinstance(chunk, Pause):
                yield chunk
            else:
                yield Gathered(chunk, strict=self._strict), self._embedding.begin(chunk)

    def _add(self, gathered: Gathered, arrived: Part | Fault) -> None:
        if isinstance(arrived, Part):
            self._check_space(arrived.space)
            self._account.add(arrived)
        gathered.add(arrived)

    def _check_space(self, space: Space) -> None:
        """Raises InputError for vectors of another one than the job's, which is that of the first."""
        if self._space is None:
            self._space = replace(space, limit=self._embedding.limit)
        if space.is_same(self._space):
            return
        if self._began.rows:
            raise had("another model, prompt, precision or number of dimensions")
        raise EndpointError("The endpoint changed its model between two requests.")

    def _write(self, gathered: Gathered) -> bool:
        """Whether there was something in order. The first int8 vectors wait for all of their chunk, for their limit."""
        if self._lacks_limit and not gathered.is_whole:
            return False
        run = gathered.take()
        if not run.entries:
            return False
        before, block = self._writer.standing, run.block
        if self._space is not None and self._lacks_limit and block.rows:
            self._space = replace(self._space, limit=precision.limit_for(block.vectors, self._space.precision))
        standing = Standing(
            seen=before.seen + len(run.entries),
            digest=chained(before.digest, *run.entries),
            rows=before.rows + len(block.rows),
            refused=before.refused + len(block.refused),
            tokens=before.tokens + run.tokens,
            truncated=before.truncated + sum(row.truncated for row in block.rows),
            space=self._space if block.rows else before.space,
        )
        self._writer.write(block, standing)
        self._account.note(block)
        return True

    @property
    def _lacks_limit(self) -> bool:
        return self._space is not None and self._space.precision == "int8" and self._space.limit is None


def _arriving(begun: Begun) -> Iterator[Arrived]:
    gathered, parts = begun
    for part in parts:
        yield gathered, part
    yield gathered, None
