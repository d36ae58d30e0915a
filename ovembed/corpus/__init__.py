"""Texts in, vectors out, and the job between them."""

from ovembed.corpus.job import Progress, Summary, embed_corpus
from ovembed.corpus.readers import Item, read_lines, read_texts
from ovembed.corpus.writers import FORMATS, Format, format_of, open_writer

__all__ = [
    "FORMATS",
    "Format",
    "Item",
    "Progress",
    "Summary",
    "embed_corpus",
    "format_of",
    "open_writer",
    "read_lines",
    "read_texts",
]
