"""How much goes into one request, and what was learned of how much may."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence, Sized

# Enough for batches of like length. The characters keep a request of long texts from taking a CPU minutes.
TEXTS_PER_REQUEST = 256
CHARACTERS_PER_REQUEST = 64 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that a request holds; a single text always fits."""

    texts: int = TEXTS_PER_REQUEST
    characters: int = CHARACTERS_PER_REQUEST

    def end(self, texts: Sequence[str], start: int = 0) -> int:
        """Where a request ends that begins with the text at `start`, and holds as many of the following as fit."""
        characters = 0
        for position in range(start, len(texts)):
            characters += len(texts[position])
            full = position - start == self.texts or characters > self.characters
            if full and position > start:
                return position
        return len(texts)

    def pack(self, texts: Sequence[str]) -> list[slice]:
        """The fewest runs of neighbours that fit, in order."""
        parts: list[slice] = []
        while (start := parts[-1].stop if parts else 0) < len(texts):
            parts.append(slice(start, self.end(texts, start)))
        return parts

    def below(self, texts: Sequence[str], *, too_large: bool) -> Limits:
        """These, lowered so that such texts would go in halves: by their size, or by their number."""
        if too_large:
            return Limits(self.texts, min(self.characters, sum(map(len, texts)) // 2))
        return Limits(min(self.texts, len(texts) // 2), self.characters)


def halves(texts: Sized) -> list[slice]:
    middle = len(texts) // 2
    return [slice(0, middle), slice(middle, len(texts))]
