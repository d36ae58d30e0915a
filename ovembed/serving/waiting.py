"""Texts that wait for a batch, and which of them go next.

A batch is built around the text that has waited longest; the oldest of those that fit come along. When that text is
longer than a whole batch, much shorter ones go first, but only once: whoever has waited longest is in the next batch or
in the one after it. So nobody starves, and short texts do not wait behind many long ones.

Which texts fit is the engine's: packed into the rows of a batch, those of any length; else those nearly as long.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections import defaultdict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from ovembed import batches

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ovembed.protocols import Tokens

Job = TypeVar("Job")

# Texts of a batch differ by at most so many tokens. With fewer, batches stay small; with more, what is padded costs
# more than what larger batches save, also when few texts wait.
_SPREAD = 3


@dataclass(slots=True, eq=False)
class WaitingText(Generic[Job]):
    """One text of the request that `job` stands for. `age` counts up; `queued_at` is on the monotonic clock."""

    job: Job
    row: int
    tokens: Tokens
    age: int
    queued_at: float


class Waiting(Generic[Job]):
    """The queue of a Batcher; not for several threads at once. texts, tokens: how many wait.

    `max_batch_tokens` bounds the tokens of a batch, padding included, but for a text that is alone in it, and those
    that pass one. Texts are packed into rows of at most `packed_to` tokens, or not at all.
    """

    def __init__(self, max_batch_tokens: int, packed_to: int | None = None) -> None:
        self._max_batch_tokens = max_batch_tokens
        self._packed_to = packed_to
        self._ages = itertools.count()
        # By padded length, of which there are few; those of one length by age.
        self._by_length: defaultdict[int, deque[WaitingText[Job]]] = defaultdict(deque)
        self._oldest_was_passed_over = False
        self.texts = 0
        self.tokens = 0

    def add(self, job: Job, token_lists: Sequence[Tokens]) -> None:
        now = time.monotonic()
        for row, tokens in enumerate(token_lists):
            text = WaitingText(job, row, tokens, next(self._ages), now)
            self._by_length[batches.padded_length(len(tokens))].append(text)
        self.texts += len(token_lists)
        self.tokens += sum(map(len, token_lists))

    def oldest_s(self) -> float:
        """How long the text that is next in turn has waited; 0 when none does."""
        if not self.texts:
            return 0.0
        _, length = min(self._heads())
        return time.monotonic() - self._by_length[length][0].queued_at

    def take(self) -> list[WaitingText[Job]]:
        """Remove the next batch; there must be a text."""
        heads = self._heads()
        oldest, length = min(heads)
        much_shorter = [head for head in heads if 2 * head[1] <= length]
        if length > self._max_batch_tokens and much_shorter and not self._oldest_was_passed_over:
            # They may take as long as the long text, and what padding costs them, waiting would too.
            taken = self._gather(much_shorter, spread=length // 8, max_tokens=length)
        else:
            taken = self._gather(heads, spread=_SPREAD, max_tokens=self._max_batch_tokens)
        self._oldest_was_passed_over = taken[0].age != oldest
        self.texts -= len(taken)
        self.tokens -= sum(len(text.tokens) for text in taken)
        return taken

    def _heads(self) -> list[tuple[int, int]]:
        """(age, padded length) of the oldest text of each length."""
        return [(texts[0].age, length) for length, texts in self._by_length.items() if texts]

    def _gather(self, heads: list[tuple[int, int]], *, spread: int, max_tokens: int) -> list[WaitingText[Job]]:
        """The oldest of these, and the next in age that fit beside it."""
        room = self._room(min(heads)[1], spread, max_tokens)
        heapq.heapify(heads)
        taken: list[WaitingText[Job]] = []
        while heads:
            _, length = heapq.heappop(heads)
            texts = self._by_length[length]
            if not room.admits(len(texts[0].tokens)):
                continue  # nor are others of about this length tried
            taken.append(texts.popleft())
            if texts:
                heapq.heappush(heads, (texts[0].age, length))
        count = room.count(len(taken))
        for text in reversed(taken[count:]):
            self._by_length[batches.padded_length(len(text.tokens))].appendleft(text)
        return taken[:count]

    def _room(self, first: int, spread: int, max_tokens: int) -> _Room:
        if self._packed_to is None:
            return _Alike(spread, max_tokens)
        return _Packed(batches.packed_width(first, min(self._packed_to, max_tokens)), max_tokens)


class _Room(Protocol):
    """What a batch still takes."""

    def admits(self, length: int) -> bool:
        """Take a text of so many tokens if it fits; it will not later if it does not now. The first always does."""

    def count(self, taken: int) -> int:
        """How many of those taken are run; the others wait on."""


class _Alike:
    """Texts that are padded to the longest of them: they differ by at most `spread` tokens."""

    def __init__(self, spread: int, max_tokens: int) -> None:
        self._spread = spread
        self._max_tokens = max_tokens
        self._lengths: list[int] = []

    def admits(self, length: int) -> bool:
        lengths = [*self._lengths, batches.padded_length(length)]
        longest = max(lengths)
        fits = longest - min(lengths) <= self._spread and longest * len(lengths) <= self._max_tokens
        if fits or not self._lengths:
            self._lengths = lengths
            return True
        return False

    def count(self, taken: int) -> int:
        return batches.full_count(taken)


class _Packed:
    """Texts that share rows."""

    def __init__(self, width: int, max_tokens: int) -> None:
        self._rows = batches.Rows(width, max(1, max_tokens // width))

    def admits(self, length: int) -> bool:
        return self._rows.place(length) is not None

    def count(self, taken: int) -> int:
        return taken
