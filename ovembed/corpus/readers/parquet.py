"""Parquet: a document for each row, in the column with the text."""

from __future__ import annotations

import io
from itertools import repeat
from typing import TYPE_CHECKING

from ovembed.corpus.document import Document
from ovembed.corpus.readers.identity import identity
from ovembed.corpus.rows import Refused
from ovembed.errors import MissingExtra

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ovembed.corpus.source import Source

_BATCH_ROWS = 1024


def read(source: Source) -> Iterator[Document | Refused]:
    """Rows are counted from 1."""
    try:
        import pyarrow.parquet as pq  # noqa: PLC0415  of an extra, and slow to import
    except ImportError as error:
        raise MissingExtra("Parquet", "files") from error
    number = 0
    with source.open() as raw, pq.ParquetFile(raw if raw.seekable() else io.BytesIO(source.whole())) as file:
        text = source.columns.choose(file.schema_arrow.names, source.name)
        naming = source.columns.id
        for batch in file.iter_batches(_BATCH_ROWS, columns=[text, *([naming] if naming else [])]):
            names = batch.column(naming).to_pylist() if naming else repeat(None, len(batch))
            for value, name in zip(batch.column(text).to_pylist(), names, strict=True):
                number += 1
                found = _text(value)
                if found is None:
                    yield Refused(source.name, number, f"'{text}' is no text.", identity(name))
                else:
                    yield Document(source.name, found.splitlines(keepends=True), number, identity(name), in_row=True)


def _text(value: object) -> str | None:
    """Bytes too, as programs that do not say of a column that it is text write it."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return None
    return value if isinstance(value, str) else None
