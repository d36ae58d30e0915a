"""How much goes into one request, and what was learned of how much may."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Enough for batches of like length. The characters keep a request of long texts from taking a CPU minutes.
TEXTS_PER_REQUEST = 256
CHARACTERS_PER_REQUEST = 64 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that a request holds; a single text always fits."""

    texts: int = TEXTS_PER_REQUEST
    characters: int = CHARACTERS_PER_REQUEST

    def pack(self, texts: Sequence[str]) -> list[slice]:
        """The fewest runs of neighbours that fit, in order."""
        starts = [0]
        characters = 0
        for position, text in enumerate(texts):
            full = position - starts[-1] == self.texts or characters + len(text) > self.characters
            if full and position > starts[-1]:
                starts.append(position)
                characters = 0
            characters += len(text)
        return [slice(start, stop) for start, stop in pairwise([*starts, len(texts)])] if texts else []

    def below(self, texts: Sequence[str], *, too_large: bool) -> Limits:
        """These, lowered so that such texts would go in halves: by their size, or by their number."""
        if too_large:
            return Limits(self.texts, min(self.characters, sum(map(len, texts)) // 2))
        return Limits(min(self.texts, len(texts) // 2), self.characters)


def halves(texts: Sequence[str]) -> list[slice]:
    middle = len(texts) // 2
    return [slice(0, middle), slice(middle, len(texts))]
