"""Texts to measure with: made of the bundled sentences, always the same."""

from __future__ import annotations

import random
from importlib import resources
from typing import Literal, TypeAlias

TextKind: TypeAlias = Literal["short", "mixed"]

_LONGEST_WORDS = 350
# Of the logarithm of a text's words: most have 20 to 150.
_MEAN, _SPREAD = 4.0, 1.0


def make_texts(kind: TextKind, count: int) -> list[str]:
    """`short`: 4 to 20 words each. `mixed`: 5 to 350 words, log-normal, as passages of documents are."""
    chance = random.Random(7)  # noqa: S311  the same texts every time
    words = _words()

    def text(length: int) -> str:
        start = chance.randrange(len(words) - length)
        return " ".join(words[start : start + length])

    if kind == "short":
        return [text(chance.randint(4, 20)) for _ in range(count)]
    return [text(max(5, min(_LONGEST_WORDS, round(chance.lognormvariate(_MEAN, _SPREAD))))) for _ in range(count)]


def _words() -> list[str]:
    """Of the bundled sentences in Latin letters: those of other scripts make many tokens of a word."""
    bundled = resources.files("ovembed").joinpath("export", "calibration.txt").read_text(encoding="utf-8")
    return [word for word in bundled.split() if word.isascii()]
