"""Texts of so many tokens, cut between words where that can be, and never within a character."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING

from ovembed.corpus.rows import Item
from ovembed.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ovembed.corpus.document import Document
    from ovembed.protocols import TokenSpans

    Measure = Callable[[str], TokenSpans]

_WINDOW_CHARACTERS = 64 * 1024
# Beyond this it is no word, even if a tokenizer makes it one unknown token: encoded data, or a script without spaces.
_WORD_CHARACTERS = 1024
# Standing alone, a word never has so many times the tokens that it has in its place.
_SURELY = 4
_JOINER = "\u200d"
# What belongs to the character before it and is no mark: vowels and finals of Hangul, skin tones, tags of flags.
_FOLLOWERS = (("\u1160", "\u11ff"), ("\U0001f3fb", "\U0001f3ff"), ("\U000e0020", "\U000e007f"))
_FLAG_LETTERS = ("\U0001f1e6", "\U0001f1ff")


@dataclass(frozen=True, slots=True)
class _Unit:
    """What stays together: a word, or of a word that is too long as much as may stand alone."""

    start: int
    stop: int
    tokens: int


def token_runs(document: Document, measure: Measure, size: int, overlap: int) -> Iterator[Item]:
    """Runs of units with at most `size` tokens each, as the model counts them: with special tokens and the prompt.

    The next run begins with at most the last `overlap` tokens of the one before it. Memory holds a window of the
    document.
    """
    cutter = _Cutter(measure, size, overlap)
    window = _Window(document)
    for piece in document.pieces:
        window.text += piece
        if len(window.text) >= window.enough:
            yield from cutter.runs(window, last=False)
    yield from cutter.runs(window, last=True)


class _Window:
    """The part of a document that may still be in a run, and where it stands; `done` is where the last run ended."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.text = ""
        self.enough = _WINDOW_CHARACTERS
        self.done = 0
        self._offset = 0
        self._line = document.line

    def take(self, start: int, stop: int) -> Item:
        self.done = stop
        document = self.document
        line = self._line if document.in_row else self._line + self.text.count("\n", 0, start)
        return Item(self.text[start:stop], document.source, line, self._offset + start, document.id)

    def drop(self, characters: int) -> None:
        if not self.document.in_row:
            self._line += self.text.count("\n", 0, characters)
        self._offset += characters
        self.done -= characters
        self.text = self.text[characters:]
        self.enough = 2 * len(self.text) + _WINDOW_CHARACTERS


class _Cutter:
    """Finds where runs begin and end. `room` is what the prompt and the special tokens leave."""

    def __init__(self, measure: Measure, size: int, overlap: int) -> None:
        around = measure("").total
        if size <= around:
            raise InputError(f"{size} tokens leave no room for text: prompt and special tokens take {around}.")
        self._measure = measure
        self._size = size
        self._room = size - around
        self._overlap = overlap

    def runs(self, window: _Window, *, last: bool) -> Iterator[Item]:
        """The runs of the window, but for what may go on beyond it: that stays there."""
        units = self._units(window.text)
        first = 0
        while first < len(units):
            stop = self._stop(units, first)
            if stop == len(units) and not last:
                break
            stop = self._shrunk(window.text, units, first, stop)
            if units[stop - 1].stop <= window.done:
                # The overlap left no room for anything new.
                first = stop
                continue
            yield window.take(units[first].start, units[stop - 1].stop)
            first = stop if stop == len(units) else self._back(units, first, stop)
        window.drop(units[first].start if first < len(units) else len(window.text))

    def _stop(self, units: Sequence[_Unit], first: int) -> int:
        """After the last unit that fits; the first one always does."""
        stop, tokens = first + 1, units[first].tokens
        while stop < len(units) and tokens + units[stop].tokens <= self._room:
            tokens += units[stop].tokens
            stop += 1
        return stop

    def _shrunk(self, text: str, units: Sequence[_Unit], first: int, stop: int) -> int:
        """Standing alone, a run may have more tokens than in its place: then it ends earlier."""
        while stop > first + 1 and self._measure(text[units[first].start : units[stop - 1].stop]).total > self._size:
            stop -= 1
        return stop

    def _back(self, units: Sequence[_Unit], first: int, stop: int) -> int:
        """Where the next run begins: later than this one, and so that it ends later too."""
        begin, tokens = stop, 0
        most = min(self._overlap, self._room - units[stop].tokens)
        while begin - 1 > first and tokens + units[begin - 1].tokens <= most:
            begin -= 1
            tokens += units[begin].tokens
        return begin

    def _units(self, text: str) -> list[_Unit]:
        """Words with the number of their tokens; longer ones in parts that fit also when they stand alone.

        Tokenizers that take no notice of accents leave those after a word's last letter to nobody: they are the word's.
        """
        units: list[_Unit] = []
        ended = 0
        for start, end, tokens in self._measure(text).by_word():
            begin = max(ended, end - len(text[start:end].lstrip()))
            stop = ended = _after_character(text, end)
            if begin < stop:
                short = stop - begin <= _WORD_CHARACTERS and _SURELY * tokens <= self._room
                units.extend([_Unit(begin, stop, tokens)] if short else self._parts(text, begin, stop))
        return units

    def _parts(self, text: str, start: int, stop: int) -> Iterator[_Unit]:
        """It all, if it fits when it stands alone; else halves of halves, until each does or is a single character."""
        alone = self._measure(text[start:stop])
        middle = _between_characters(text, (start + stop) // 2, start, stop)
        if middle is None or (alone.total <= self._size and stop - start <= _WORD_CHARACTERS):
            yield _Unit(start, stop, len(alone.spans))
        else:
            yield from self._parts(text, start, middle)
            yield from self._parts(text, middle, stop)


def _after_character(text: str, place: int) -> int:
    """The first place from `place` on where a character that people see ends."""
    while place < len(text) and _joined(text, place):
        place += 1
    return place


def _between_characters(text: str, near: int, start: int, stop: int) -> int | None:
    """The place nearest after or before `near` where a character that people see ends; None if it is but one."""
    places = [*range(near, stop), *range(near - 1, start, -1)]
    return next((place for place in places if start < place and not _joined(text, place)), None)


def _joined(text: str, place: int) -> bool:
    """Are the code points on both sides part of one character? A subset of https://www.unicode.org/reports/tr29/."""
    before, after = text[place - 1], text[place]
    if _JOINER in {before, after} or unicodedata.category(after).startswith("M"):
        return True
    if _is_flag_letter(before) and _is_flag_letter(after):
        letters = takewhile(_is_flag_letter, (text[earlier] for earlier in range(place - 1, -1, -1)))
        return sum(1 for _ in letters) % 2 == 1
    return any(first <= after <= last for first, last in _FOLLOWERS)


def _is_flag_letter(character: str) -> bool:
    return _FLAG_LETTERS[0] <= character <= _FLAG_LETTERS[1]
