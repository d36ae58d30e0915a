"""The entries of a job in chunks: what is embedded together, and how far the job has come after it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from ovembed.corpus.rows import Item, Pause, Refused
from ovembed.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
    """Consecutive entries, at most `size`; `seen`, `digest` (as in Standing) and the share of the input after them."""

    seen: int
    digest: str
    size: int
    items: list[Item] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    characters: int = 0
    share: float | None = None

    @classmethod
    def after(cls, seen: int, digest: str, sizes: Sizes) -> Self:
        """As large as all before it: a job that goes on has the chunks, and so the rows, of one that never stopped."""
        return cls(seen, digest, min(sizes.most, max(sizes.first, seen)))

    @property
    def count(self) -> int:
        return len(self.items) + len(self.refused)

    def is_full(self, sizes: Sizes) -> bool:
        return self.count >= self.size or self.characters >= self.size * sizes.characters

    def add(self, entry: Item | Refused) -> None:
        self.seen += 1
        self.digest = _chained(self.digest, entry)
        if isinstance(entry, Item):
            self.items.append(entry)
            self.characters += len(entry.text)
        else:
            self.refused.append(entry)


class Chunks:
    """The entries that come after those that are done already; `share_read` tells how much of the input is read."""

    def __init__(
        self,
        entries: Iterator[Item | Refused | Pause],
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
        self._strict = strict
        self._share_done = 0.0

    def share_of_work(self, chunk: Chunk) -> float | None:
        """Of what there was to do, from 0 to 1, how much is done after the chunk; None where nobody knows its end."""
        whole = 1 - self._share_done
        return None if chunk.share is None or not whole else (chunk.share - self._share_done) / whole

    def __iter__(self) -> Iterator[Chunk | Pause]:
        """Full ones, and at a pause and at the end what there is. Raises InputError for other entries than were done,
        and, if strict, for one that is refused.
        """
        chunk = Chunk.after(self._done.seen, self._pass_over(), self._sizes)
        self._share_done = self._share_read() or 0.0 if self._done.seen else 0.0
        for entry in self._entries:
            if isinstance(entry, Pause):
                yield from (self._read(chunk), entry) if chunk.count else (entry,)
            elif self._strict and isinstance(entry, Refused):
                raise InputError(f"{entry.place}: {entry.reason}")
            else:
                chunk.add(entry)
                if not chunk.is_full(self._sizes):
                    continue
                yield self._read(chunk)
            chunk = Chunk.after(chunk.seen, chunk.digest, self._sizes)
        if chunk.count:
            yield self._read(chunk)

    def _read(self, chunk: Chunk) -> Chunk:
        chunk.share = self._share_read()
        return chunk

    def _pass_over(self) -> str:
        """The digest after the entries that are done. Raises InputError when they are others."""
        seen, digest = 0, ""
        while seen < self._done.seen and (entry := next(self._entries, None)) is not None:
            if not isinstance(entry, Pause):
                seen, digest = seen + 1, _chained(digest, entry)
        if digest != self._done.digest:
            raise InputError("The input is not the one of the job that broke off. Start over with --force.")
        return digest


def _chained(digest: str, entry: Item | Refused) -> str:
    text = entry.text if isinstance(entry, Item) else entry.reason
    return hashlib.blake2b(f"{digest}{text}".encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).hexdigest()
