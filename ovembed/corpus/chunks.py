"""The entries of a job in chunks: what is embedded together."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ovembed.corpus.partial import had
from ovembed.corpus.rows import Item, Pause, Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ovembed.corpus.rows import Standing

_DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class Sizes:
    """Texts of the first chunk and of the largest ones; of many more `characters` a text, a chunk takes fewer."""

    first: int
    most: int
    characters: int


@dataclass(slots=True)
class Chunk:
    """Consecutive entries, at most `size`, of which the first `done` were written by a job before.

    `share_before` and `share` tell how much of the work there is up to its beginning and to its end, from 0 to 1; None
    where nobody knows.
    """

    size: int
    entries: list[Item | Refused] = field(default_factory=list)
    characters: int = 0
    done: int = 0
    share_before: float | None = None
    share: float | None = None

    def add(self, entry: Item | Refused) -> None:
        self.entries.append(entry)
        if isinstance(entry, Item):
            self.characters += len(entry.text)

    @property
    def is_done(self) -> bool:
        return self.done == len(self.entries)


class Chunks:
    """Those of a job with something left to do; `share_read` tells how much of the input is read.

    A chunk is as large as all before it, within bounds. A job that goes on has the chunks, and so the rows, of one that
    never stopped.
    """

    def __init__(
        self,
        entries: Iterable[Item | Refused | Pause],
        done: Standing,
        sizes: Sizes,
        share_read: Callable[[], float | None],
        *,
        strict: bool,
    ) -> None:
        self._entries = entries
        self._done = done
        self._sizes = sizes
        self._share_read = share_read
        self._share_done = 0.0
        self._share_before: float | None = 0.0
        self._strict = strict

    def __iter__(self) -> Iterator[Chunk | Pause]:
        """Full ones, and at a pause and at the end what there is. If strict, nothing comes after what is refused.

        Raises InputError for other entries than those that are done.
        """
        seen, digest = 0, ""
        chunk = self._after(seen)
        for entry in self._entries:
            if isinstance(entry, Pause):
                if not chunk.is_done:
                    yield self._read(chunk)
                    chunk = self._after(seen)
                if seen >= self._done.seen:
                    yield entry
                continue
            chunk.add(entry)
            seen += 1
            if seen <= self._done.seen:
                chunk.done += 1
                digest = chained(digest, entry)
                if seen == self._done.seen:
                    self._pass(digest)
            ends = self._strict and isinstance(entry, Refused) and seen > self._done.seen
            if ends or self._is_full(chunk):
                if not chunk.is_done:
                    yield self._read(chunk)
                chunk = self._after(seen)
            if ends:
                return
        if seen < self._done.seen:
            raise had("other texts")
        if not chunk.is_done:
            yield self._read(chunk)

    def _after(self, seen: int) -> Chunk:
        return Chunk(min(self._sizes.most, max(self._sizes.first, seen)))

    def _is_full(self, chunk: Chunk) -> bool:
        return len(chunk.entries) >= chunk.size or chunk.characters >= chunk.size * self._sizes.characters

    def _pass(self, digest: str) -> None:
        """What is done has been read."""
        if digest != self._done.digest:
            raise had("other texts")
        self._share_done = self._share_read() or 0.0

    def _read(self, chunk: Chunk) -> Chunk:
        read, whole = self._share_read(), 1 - self._share_done
        chunk.share_before = self._share_before
        chunk.share = self._share_before = None if read is None or not whole else (read - self._share_done) / whole
        return chunk


def chained(digest: str, *entries: Item | Refused) -> str:
    """The digest (as in Standing) after these entries, of that before them."""
    for entry in entries:
        text = entry.text if isinstance(entry, Item) else entry.reason
        content = f"{digest}{text}".encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(content, digest_size=_DIGEST_BYTES).hexdigest()
    return digest
