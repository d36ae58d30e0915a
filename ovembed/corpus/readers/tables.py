"""CSV and TSV with a header: a document for each row, in the column with the text."""

from __future__ import annotations

import contextlib
import csv
from typing import TYPE_CHECKING

from ovembed.corpus.document import Document
from ovembed.corpus.rows import Refused
from ovembed.corpus.split import MAX_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ovembed.corpus.source import Source


def read_csv(source: Source) -> Iterator[Document | Refused]:
    return _read(source, "excel")


def read_tsv(source: Source) -> Iterator[Document | Refused]:
    return _read(source, "excel-tab")


def _read(source: Source, dialect: str) -> Iterator[Document | Refused]:
    """Lines are counted as in the file: a row stands where its last line does."""
    csv.field_size_limit(MAX_CHARACTERS)
    with source.text(newline="") as stream, _translated():
        rows = csv.reader(stream, dialect)
        names = next(rows, [])
        text = names.index(source.columns.choose(names, source.name))
        identity = None if source.columns.id is None else names.index(source.columns.id)
        for row in rows:
            if not row:
                continue
            if len(row) <= max(text, identity or 0):
                yield Refused(source.name, rows.line_num, f"the row has {len(row)} of {len(names)} columns.")
                continue
            name = None if identity is None else row[identity]
            yield Document(source.name, row[text].splitlines(keepends=True), rows.line_num, name, in_row=True)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except csv.Error as error:
        raise ValueError(str(error)) from error
