"""HTML: what a person would read of it, a paragraph for each block."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ovembed.corpus.document import Document
from ovembed.errors import MissingExtra

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ovembed.corpus.source import Source

_UNSEEN = ("script", "style", "template", "noscript", "head")
_BLOCKS = (
    *("address", "article", "aside", "blockquote", "dd", "div", "dl", "dt", "fieldset", "figcaption", "figure"),
    *("footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p", "pre"),
    *("section", "table", "tr", "ul"),
)
_PARAGRAPH, _CELL, _LINE = "\x1d", "\x1f", "\x1e"  # separators that no text holds


def read(source: Source) -> Iterator[Document]:
    """Lines and offsets are those of the text that was found."""
    try:
        from bs4 import BeautifulSoup  # noqa: PLC0415  of an extra, and slow to import
    except ImportError as error:
        raise MissingExtra("HTML", "files") from error
    content = source.whole()
    if not content:  # of which the parser would say that it cannot be decoded
        return
    soup = BeautifulSoup(content, "html.parser", from_encoding=source.encoding)
    if soup.original_encoding not in {None, "utf-8", "ascii"}:
        source.on_encoding(source.name, str(soup.original_encoding))
    for tag in soup.find_all(_UNSEEN):
        tag.decompose()
    for names, separator in ((_BLOCKS, _PARAGRAPH), (("td", "th"), _CELL), (("br",), _LINE)):
        for tag in soup.find_all(names):
            tag.insert_before(separator)
            tag.insert_after(separator)
    yield Document(source.name, _flowed(soup.get_text()).splitlines(keepends=True))


def _flowed(text: str) -> str:
    """White space as a browser shows it, a blank line between paragraphs."""
    text = re.sub(r"[ \t\r\n\f]+", " ", text.replace(_CELL, " "))
    paragraphs = (re.sub(f" ?{_LINE}+ ?", "\n", part).strip() for part in text.split(_PARAGRAPH))
    return "\n\n".join(filter(None, paragraphs))
