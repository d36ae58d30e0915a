"""Kinds of input files, each with one reader that turns a source into documents."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

from ovembed.corpus.readers import jsonl, markup, parquet, pdf, tables, text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ovembed.corpus.document import Document
    from ovembed.corpus.rows import Refused
    from ovembed.corpus.source import Source
    from ovembed.corpus.split import SplitKind


@dataclass(frozen=True, slots=True)
class Reader:
    """`read` yields the documents of a source; `split` is how they become texts when nobody says otherwise."""

    read: Callable[[Source], Iterator[Document | Refused]]
    split: SplitKind


_LINES = Reader(text.read, "line")
_PROSE = Reader(text.read, "paragraph")
_HTML = Reader(markup.read, "paragraph")
_JSONL = Reader(jsonl.read_lines, "file")

READERS: Mapping[str, Reader] = {
    ".txt": _LINES,
    ".md": _PROSE,
    ".markdown": _PROSE,
    ".html": _HTML,
    ".htm": _HTML,
    ".pdf": Reader(pdf.read, "paragraph"),
    ".csv": Reader(tables.read_csv, "file"),
    ".tsv": Reader(tables.read_tsv, "file"),
    ".jsonl": _JSONL,
    ".ndjson": _JSONL,
    ".json": Reader(jsonl.read_json, "file"),
    ".parquet": Reader(parquet.read, "file"),
}
KINDS: Sequence[str] = tuple(ending.removeprefix(".") for ending in READERS)
COMPRESSED = (".gz", ".zst")
# Folders are full of settings that are no corpus.
_BY_NAME_ONLY = {".json"}


def reader_of(name: str) -> Reader:
    """By the ending, without that of a compression; lines of text where it says nothing."""
    return READERS.get(_ending(name), _LINES)


def is_taken_from_folders(name: str) -> bool:
    """By the ending: what a folder gives when nobody says which files."""
    return _ending(name) in READERS.keys() - _BY_NAME_ONLY


def _ending(name: str) -> str:
    path = PurePath(name.lower())
    return PurePath(path.stem).suffix if path.suffix in COMPRESSED else path.suffix
