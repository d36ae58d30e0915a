"""JSONL: a document for each line, which is an object with the text in a column, or the text itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

import orjson

from ovembed.corpus.document import Document
from ovembed.corpus.rows import Refused
from ovembed.corpus.split import MAX_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ovembed.corpus.source import Source


def read(source: Source) -> Iterator[Document | Refused]:
    with source.text() as stream:
        number = 0
        while line := stream.readline(MAX_CHARACTERS):
            number += 1
            if not line.endswith("\n") and len(line) == MAX_CHARACTERS:
                _pass_over(stream)
                yield Refused(source.name, number, f"the line has more than {MAX_CHARACTERS} characters.")
            elif line.strip():
                yield _document(source, number, line)


def _pass_over(stream: TextIO) -> None:
    """Up to the end of the line."""
    while (rest := stream.readline(MAX_CHARACTERS)) and not rest.endswith("\n"):
        pass


def _document(source: Source, number: int, line: str) -> Document | Refused:
    try:
        value = orjson.loads(line.encode())
    except (ValueError, UnicodeEncodeError):
        return Refused(source.name, number, "the line is no JSON.")
    fields = {source.columns.wanted: value} if isinstance(value, str) else value
    if not isinstance(fields, dict):
        return Refused(source.name, number, "the line is neither an object nor a text.")
    identity = fields.get(source.columns.id)
    known = None if identity is None else str(identity)
    text = fields.get(source.columns.wanted)
    if isinstance(text, str):
        return Document(source.name, text.splitlines(keepends=True), number, known, in_row=True)
    if source.columns.wanted in fields:
        return Refused(source.name, number, f"'{source.columns.wanted}' is no text.", known)
    listed = ", ".join(fields)
    return Refused(source.name, number, f"there is no '{source.columns.wanted}' (but: {listed}; see --column).", known)
