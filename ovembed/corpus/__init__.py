"""Texts in, vectors out, and the job between them."""

from ovembed.corpus.formats import FORMATS, Format, format_of, open_stored
from ovembed.corpus.job import Options, Progress, Summary, embed_corpus
from ovembed.corpus.output import is_complete, open_writer
from ovembed.corpus.partial import errors_of
from ovembed.corpus.precision import PRECISIONS, VectorPrecision
from ovembed.corpus.readers import read_lines, read_texts
from ovembed.corpus.rows import Item, Refused, Row, Space, Writer
from ovembed.corpus.stored import StoredVectors

__all__ = [
    "FORMATS",
    "PRECISIONS",
    "Format",
    "Item",
    "Options",
    "Progress",
    "Refused",
    "Row",
    "Space",
    "StoredVectors",
    "Summary",
    "VectorPrecision",
    "Writer",
    "embed_corpus",
    "errors_of",
    "format_of",
    "is_complete",
    "open_stored",
    "open_writer",
    "read_lines",
    "read_texts",
]
