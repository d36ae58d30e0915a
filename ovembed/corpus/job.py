"""The embed job: texts in chunks -> prompt -> vectors -> cut -> rows out, in the order they came."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from ovembed import vectors
from ovembed.corpus.writers import Batch, Space
from ovembed.errors import InputError, TextError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ovembed.corpus.readers import Item
    from ovembed.corpus.writers import Writer
    from ovembed.protocols import Embedder

# Enough texts for batches of like length, few enough to stream and to show progress.
CHUNK_TEXTS = 1024


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the job has come."""

    texts: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Summary:
    """What the job did; `truncated` names the places of the texts that were cut."""

    texts: int
    tokens: int
    truncated: tuple[str, ...]


def embed_corpus(
    items: Iterable[Item],
    embedder: Embedder,
    writer: Writer,
    *,
    prompt: str = "",
    dimensions: int | None = None,
    truncate: bool = False,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Summary:
    """Embed every item and write its row; memory holds one chunk at a time.

    Raises InputError, naming file and line, for a text that cannot be embedded, and what the embedder raises.
    """
    texts = tokens = 0
    truncated: list[str] = []
    for chunk in _chunks(items):
        try:
            result = embedder.embed([prompt + item.text for item in chunk], truncate=truncate)
        except TextError as error:
            raise InputError(f"{chunk[error.position].place}: {error.problem}") from error
        rows = vectors.cut(result.vectors, dimensions)
        writer.write(Batch(texts, chunk, rows), Space(result.model, result.fingerprint, rows.shape[1]))
        truncated.extend(chunk[position].place for position in result.truncated)
        texts += len(chunk)
        tokens += result.total_tokens
        on_progress(Progress(texts, tokens))
    if not texts:
        raise InputError("There are no texts to embed.")
    writer.finish(tokens)
    return Summary(texts, tokens, tuple(truncated))


def _chunks(items: Iterable[Item]) -> Iterator[list[Item]]:
    remaining = iter(items)
    while chunk := list(islice(remaining, CHUNK_TEXTS)):
        yield chunk
