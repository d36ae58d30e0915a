"""Texts in, vectors out, and the job between them."""

from ovembed.corpus.account import Progress, Summary
from ovembed.corpus.embedding import Options
from ovembed.corpus.formats import FORMATS, Format, format_of, open_stored
from ovembed.corpus.inputs import STDIN, GivenTexts, Inputs, Reading
from ovembed.corpus.job import embed_corpus
from ovembed.corpus.output import is_complete, open_writer, places_of
from ovembed.corpus.partial import errors_of
from ovembed.corpus.precision import PRECISIONS, VectorPrecision
from ovembed.corpus.precision import decode as decode_vectors
from ovembed.corpus.precision import dot as dot_vectors
from ovembed.corpus.precision import encode as encode_vectors
from ovembed.corpus.readers import KINDS
from ovembed.corpus.rows import Item, Pause, Refused, Row, Space, Writer
from ovembed.corpus.source import Columns
from ovembed.corpus.split import Split
from ovembed.corpus.stored import StoredVectors
from ovembed.corpus.update import Known

__all__ = [
    "FORMATS",
    "KINDS",
    "PRECISIONS",
    "STDIN",
    "Columns",
    "Format",
    "GivenTexts",
    "Inputs",
    "Item",
    "Known",
    "Options",
    "Pause",
    "Progress",
    "Reading",
    "Refused",
    "Row",
    "Space",
    "Split",
    "StoredVectors",
    "Summary",
    "VectorPrecision",
    "Writer",
    "decode_vectors",
    "dot_vectors",
    "embed_corpus",
    "encode_vectors",
    "errors_of",
    "format_of",
    "is_complete",
    "open_stored",
    "open_writer",
    "places_of",
]
