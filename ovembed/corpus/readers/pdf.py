"""PDF: a document for each page, named as browsers name it: file.pdf#page=3 (RFC 8118)."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ovembed.corpus.document import Document
from ovembed.corpus.rows import Refused
from ovembed.errors import MissingExtra

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ovembed.corpus.source import Source


def read(source: Source) -> Iterator[Document | Refused]:
    """Pages without text, as scanned ones are, have no document; a file of only such pages is refused."""
    try:
        import pypdfium2  # noqa: PLC0415  of an extra
    except ImportError as error:
        raise MissingExtra("PDF", "files") from error
    found = False
    try:
        with contextlib.closing(pypdfium2.PdfDocument(source.whole())) as pdf:
            for number in range(len(pdf)):
                with contextlib.closing(pdf[number]) as page, contextlib.closing(page.get_textpage()) as content:
                    text = content.get_text_bounded().replace("\r\n", "\n")
                if text.strip():
                    found = True
                    yield Document(f"{source.name}#page={number + 1}", text.splitlines(keepends=True))
    except pypdfium2.PdfiumError as error:
        raise ValueError(str(error)) from error
    if not found:
        yield Refused(source.name, 1, "no page holds text; scanned pages need OCR first.")
