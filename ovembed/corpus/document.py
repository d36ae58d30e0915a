"""A document: a text of any length in pieces, with the place it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# A piece is a line or a part of one, so that a line may be longer than memory.
_PIECE_CHARACTERS = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Document:
    """`pieces` follow each other without a gap; each is a line with its end, or a part of a line.

    `line` is where the document begins: the first of its lines, or the row of a table, whose texts are all in that
    row (`in_row`).
    """

    source: str
    pieces: Iterable[str]
    line: int = 1
    id: str | None = None
    in_row: bool = False


def pieces_of(stream: TextIO) -> Iterator[str]:
    while piece := stream.readline(_PIECE_CHARACTERS):
        yield piece
