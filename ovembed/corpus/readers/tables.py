"""CSV and TSV with a header: a document for each row, in the column with the text."""

from __future__ import annotations

import contextlib
import csv
import re
from itertools import chain
from typing import TYPE_CHECKING

from ovembed.corpus.document import Document
from ovembed.corpus.rows import Refused
from ovembed.corpus.split import MAX_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ovembed.corpus.source import Source

    # A row, and the line it stands in: counted as in the file, and of several its last.
    Row = tuple[int, list[str]]

# Spreadsheets write semicolons where numbers have commas.
_DELIMITERS = ",;\t"
_QUOTED = re.compile(r'"(?:[^"]|"")*"')


def read_csv(source: Source) -> Iterator[Document | Refused]:
    """The delimiter is the one that the header has most of. Format: RFC 4180."""
    with source.text(newline="") as stream, _translated():
        header = stream.readline()
        yield from _documents(source, _rows(chain([header], stream), max(_DELIMITERS, key=header.count)))


def read_tsv(source: Source) -> Iterator[Document | Refused]:
    """A line for each row. Quotes around a whole cell are not its own; others are, and hide neither tabs nor line ends.

    Format: https://www.iana.org/assignments/media-types/text/tab-separated-values, which knows no quotes: data sets
    have texts that begin with one. Spreadsheets put them around cells.
    """
    with source.text(newline="") as stream, _translated():
        rows = csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
        yield from _documents(source, ((rows.line_num, [*map(_unquoted, row)]) for row in rows))


def _rows(lines: Iterable[str], delimiter: str) -> Iterator[Row]:
    """Raises csv.Error for a quote that nothing closes: the rest of the file would be taken for a cell."""
    ended = False

    def followed() -> Iterator[str]:
        nonlocal ended
        yield from lines
        ended = True

    before = 0
    rows = csv.reader(followed(), delimiter=delimiter)
    for row in rows:
        if ended:  # the parser asked for more, as it does within quotes only
            raise csv.Error(f"nothing closes a quote in the row that begins in line {before + 1}")
        before = rows.line_num
        yield before, row


def _documents(source: Source, rows: Iterable[Row]) -> Iterator[Document | Refused]:
    """The first row is the header."""
    filled = ((number, row) for number, row in rows if row)
    _, names = next(filled, (0, []))
    if not names:
        yield Refused(source.name, 1, "the file holds no text.")
        return
    text = names.index(source.columns.choose(names, source.name))
    identity = None if source.columns.id is None else names.index(source.columns.id)
    for number, row in filled:
        if len(row) <= max(text, identity or 0):
            yield Refused(source.name, number, f"the row has {len(row)} of {len(names)} columns.")
            continue
        name = None if identity is None else row[identity]
        if name is not None and not _is_sayable(name):
            yield Refused(source.name, number, f"'{names[identity or 0]}' holds bytes that are no text.")
            continue
        yield Document(source.name, row[text].splitlines(keepends=True), number, name, in_row=True)


def _is_sayable(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _unquoted(cell: str) -> str:
    return cell[1:-1].replace('""', '"') if _QUOTED.fullmatch(cell) else cell


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    csv.field_size_limit(MAX_CHARACTERS)
    try:
        yield
    except csv.Error as error:
        if "field larger" in str(error):
            raise ValueError(f"a cell has more than {MAX_CHARACTERS} characters; is a quote left open?") from error
        raise ValueError(str(error)) from error
