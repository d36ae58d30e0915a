"""Text files, Markdown too: one document as it stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ovembed.corpus.document import Document, pieces_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ovembed.corpus.source import Source


def read(source: Source) -> Iterator[Document]:
    with source.text() as stream:
        yield Document(source.name, pieces_of(stream))
