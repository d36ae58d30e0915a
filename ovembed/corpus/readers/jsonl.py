"""JSONL and JSON: a document for each line or element, which is an object with the text in a column, or the text."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

import orjson

from ovembed.corpus.document import Document
from ovembed.corpus.readers.identity import identity
from ovembed.corpus.rows import Refused
from ovembed.corpus.source import MAX_WHOLE_BYTES, TOO_LARGE
from ovembed.corpus.split import MAX_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ovembed.corpus.source import Source


def read_lines(source: Source) -> Iterator[Document | Refused]:
    with source.text() as stream:
        yield from _lines(source, stream, stream.readline(MAX_CHARACTERS))


def read_json(source: Source) -> Iterator[Document | Refused]:
    """An array, whose elements are counted from 1; else JSONL, which may end in .json too."""
    with source.text() as stream:
        first = stream.readline(MAX_CHARACTERS)
        if not first.lstrip().startswith("["):
            yield from _lines(source, stream, first)
            return
        content = first + stream.read(MAX_WHOLE_BYTES)
    if len(content) > MAX_WHOLE_BYTES:
        raise ValueError(TOO_LARGE)
    for number, value in enumerate(orjson.loads(content), start=1):
        yield _document(source, number, value)


def _lines(source: Source, stream: TextIO, first: str) -> Iterator[Document | Refused]:
    number, line = 0, first
    while line:
        number += 1
        if not line.endswith("\n") and len(line) == MAX_CHARACTERS:
            _pass_over(stream)
            yield Refused(source.name, number, f"the line has more than {MAX_CHARACTERS} characters.")
        elif line.strip():
            yield _document_of(source, number, line)
        line = stream.readline(MAX_CHARACTERS)


def _pass_over(stream: TextIO) -> None:
    """Up to the end of the line."""
    while (rest := stream.readline(MAX_CHARACTERS)) and not rest.endswith("\n"):
        pass


def _document_of(source: Source, number: int, line: str) -> Document | Refused:
    try:
        value = orjson.loads(line)
    except ValueError:
        return Refused(source.name, number, "the line is no JSON.")
    return _document(source, number, value)


def _document(source: Source, number: int, value: object) -> Document | Refused:
    fields = {source.columns.wanted: value} if isinstance(value, str) else value
    if not isinstance(fields, dict):
        return Refused(source.name, number, "it is neither an object nor a text.")
    known = identity(fields.get(source.columns.id))
    text = fields.get(source.columns.wanted)
    if isinstance(text, str):
        return Document(source.name, text.splitlines(keepends=True), number, known, in_row=True)
    if source.columns.wanted in fields:
        return Refused(source.name, number, f"'{source.columns.wanted}' is no text.", known)
    listed = ", ".join(fields)
    return Refused(source.name, number, f"there is no '{source.columns.wanted}' (but: {listed}; see --column).", known)
