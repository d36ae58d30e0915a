"""Calibration texts: what activations are watched on, so that full int8 knows their ranges."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from ovembed.corpus import STDIN, Inputs, Item, Reading, Refused, Split
from ovembed.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

# Fewer texts leave out ranges that other texts then meet.
FEWEST_TEXTS = 100
_MOST_TEXTS = 1000


@dataclass(frozen=True, slots=True)
class Calibration:
    """Texts, and where they come from."""

    texts: tuple[str, ...]
    origin: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256("\n".join(self.texts).encode()).hexdigest()


def bundled() -> Calibration:
    """Sentences and passages in many languages and scripts, code and numbers."""
    text = resources.files("ovembed.export").joinpath("calibration.txt").read_text(encoding="utf-8")
    return Calibration(tuple(text.splitlines()), "bundled texts")


def read(path: Path) -> Calibration:
    """One text per line, `-` for stdin; of a long file an even sample.

    Raises InputError for a file that is missing, no text, or too short to calibrate on.
    """
    if str(path) != STDIN and not path.exists():
        raise InputError(f"No file {path}. Leave --calibration out to use the bundled texts.")
    texts = []
    for entry in Inputs([str(path)], sys.stdin.buffer, Reading(split=Split("line"))).entries():
        if isinstance(entry, Refused):
            raise InputError(f"{entry.place}: {entry.reason}")
        if isinstance(entry, Item):
            texts.append(entry.text)
    if len(texts) < FEWEST_TEXTS:
        raise InputError(
            f"{path} holds {len(texts)} texts; calibration needs {FEWEST_TEXTS} or more, one on each line. "
            "Leave --calibration out to use the bundled ones."
        )
    step = max(1.0, len(texts) / _MOST_TEXTS)
    sample = [texts[int(number * step)] for number in range(min(len(texts), _MOST_TEXTS))]
    return Calibration(tuple(sample), f"--calibration {path}")
