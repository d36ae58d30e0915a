"""Documents into texts: lines, paragraphs, whole documents, or runs of so many tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self, get_args

from ovembed.corpus.rows import Item, Refused
from ovembed.corpus.token_runs import token_runs
from ovembed.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ovembed.corpus.document import Document
    from ovembed.corpus.token_runs import Measure

SplitKind = Literal["line", "paragraph", "file", "tokens"]
_KINDS: tuple[SplitKind, ...] = get_args(SplitKind)

# No model takes a text this long, and memory has to hold it.
MAX_CHARACTERS = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Split:
    """How documents become texts; `tokens` and `overlap` are for runs of tokens."""

    kind: SplitKind
    tokens: int = 0
    overlap: int = 0

    @classmethod
    def parse(cls, words: str) -> Self:
        """Of line, paragraph, file, tokens:N or tokens:N:OVERLAP. Raises InputError."""
        name, *numbers = words.split(":")
        kind = next((kind for kind in _KINDS if kind == name), None)
        if kind is None or bool(numbers) != (kind == "tokens") or len(numbers) > 2:
            raise InputError(f"'{words}' is none of line, paragraph, file, tokens:N and tokens:N:OVERLAP.")
        if not all(number.isdecimal() for number in numbers):
            raise InputError(f"'{words}': {':'.join(numbers)} is no number of tokens.")
        split = cls(kind, *map(int, numbers))
        if kind == "tokens" and split.tokens <= split.overlap:
            raise InputError(f"'{words}': the texts must have more than {split.overlap} tokens.")
        return split


def texts_of(document: Document, split: Split, measure: Measure) -> Iterator[Item | Refused]:
    """The texts in order, with what is too long for one refused; a document without any is refused itself.

    `measure` tells the tokens of a text; it is asked for runs of tokens only.
    """
    if split.kind == "tokens":
        found: Iterator[Item | Refused] = token_runs(document, measure, split.tokens, split.overlap)
    else:
        found = _stretches(document, split.kind)
    empty = True
    for entry in found:
        empty = False
        yield entry
    if empty:
        reason = "the text is empty." if document.in_row else "the file holds no text."
        yield Refused(document.source, document.line, reason, document.id)


def _stretches(document: Document, kind: SplitKind) -> Iterator[Item | Refused]:
    stretch = _Stretch(document, document.line, 0)
    line_ended = True
    for piece in document.pieces:
        if kind == "paragraph" and line_ended and not piece.strip():
            yield from stretch.entries()
            stretch = stretch.next(piece)
            continue
        stretch.add(piece)
        line_ended = piece.endswith("\n")
        if kind == "line" and line_ended:
            yield from stretch.entries()
            stretch = stretch.next()
    yield from stretch.entries()


class _Stretch:
    """Pieces that become one text, from a line and an offset on."""

    def __init__(self, document: Document, line: int, offset: int) -> None:
        self._document = document
        self._line = line
        self._offset = offset
        self._pieces: list[str] = []
        self._characters = 0
        self._lines = 0

    def add(self, piece: str) -> None:
        """Of what is too long, nothing is kept but the length."""
        self._characters += len(piece)
        self._lines += piece.endswith("\n")
        if self._characters <= MAX_CHARACTERS:
            self._pieces.append(piece)
        else:
            self._pieces.clear()

    def next(self, skipped: str = "") -> _Stretch:
        lines = self._lines + skipped.endswith("\n")
        line = self._line if self._document.in_row else self._line + lines
        return _Stretch(self._document, line, self._offset + self._characters + len(skipped))

    def entries(self) -> Iterator[Item | Refused]:
        """The text without the empty lines and line ends around it, if anything is left."""
        document = self._document
        if self._characters > MAX_CHARACTERS:
            reason = f"{self._characters} characters are too many for one text. Split it with --split tokens:N."
            yield Refused(document.source, self._line, reason, document.id)
            return
        whole = "".join(self._pieces)
        text = whole.strip("\r\n")
        if text.strip():
            before = len(whole) - len(whole.lstrip("\r\n"))
            line = self._line if document.in_row else self._line + whole.count("\n", 0, before)
            yield Item(text, document.source, line, self._offset + before, document.id)
