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

    def end(self, texts: Sequence[str]) -> int:
        """How many of the texts, from the first on, one request holds."""
        characters = 0
        for position, text in enumerate(texts):
            characters += len(text)
            if position and (position == self.texts or characters > self.characters):
                return position
        return len(texts)

    def below(self, texts: Sequence[str], *, too_large: bool) -> Limits:
        """These, lowered so that such texts would go in halves: by their size, or by their number."""
        if too_large:
            return Limits(self.texts, min(self.characters, sum(map(len, texts)) // 2))
        return Limits(min(self.texts, len(texts) // 2), self.characters)


def halves(texts: Sized) -> list[slice]:
    middle = len(texts) // 2
    return [slice(0, middle), slice(middle, len(texts))]
