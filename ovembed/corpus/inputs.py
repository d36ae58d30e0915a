"""Inputs: files, folders and stdin, in a fixed order, as a stream of texts with their places."""

from __future__ import annotations

import contextlib
import functools
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ovembed.corpus.live import with_pauses
from ovembed.corpus.readers import READERS, is_taken_from_folders, reader_of
from ovembed.corpus.rows import Item, Pause, Refused
from ovembed.corpus.source import Columns, Source
from ovembed.corpus.split import Split, texts_of
from ovembed.errors import InputError, in_one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from ovembed.corpus.token_runs import Measure
    from ovembed.protocols import TokenSpans

STDIN = "-"


@dataclass(frozen=True, slots=True)
class Reading:
    """How inputs are read.

    glob: which files of folders, below them too; None takes those of a known ending. columns: of tables. split: None
    takes lines of .txt and stdin, rows of tables, paragraphs of the others. encoding: None detects it. kind: one of
    KINDS, to read all of them as; None goes by their endings, and takes txt for stdin.
    """

    glob: str | None = None
    columns: Columns = field(default_factory=Columns)
    split: Split | None = None
    encoding: str | None = None
    kind: str | None = None


def _untold(text: str) -> TokenSpans:  # noqa: ARG001
    raise InputError("Without a model no tokens can be counted.")


class GivenTexts:
    """Texts given on the command line, numbered like lines; an Inputs to those who read them."""

    total_bytes = None
    bytes_read = 0

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts

    def entries(self, measure: Measure = _untold) -> Iterator[Item | Refused]:  # noqa: ARG002  they stay as they are
        for number, text in enumerate(self._texts, start=1):
            yield Item(text, "--text", number)


class Inputs:
    """Files, those of folders, and stdin for `-`, each in its turn; files of a folder sorted by their path."""

    def __init__(
        self,
        paths: Sequence[str],
        stdin: BinaryIO,
        reading: Reading | None = None,
        *,
        without: Collection[Path] = (),
        on_encoding: Callable[[str, str], None] = lambda *_: None,
        on_no_ids: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Raises InputError, before anything is read, for a path that is not there, a folder without files, or an
        unknown encoding.

        Folders give neither the files of `without` nor what is below its folders. `on_encoding` hears name and
        encoding of every file that is not UTF-8, `on_no_ids` the name of every one in which nothing has an id, where
        a column of ids is asked for.
        """
        self._reading = reading or Reading()
        _check_encoding(self._reading.encoding)
        self._names = [name for path in paths for name in _files_of(path, self._reading.glob, without)]
        self._sizes = [_size_of(name) for name in self._names]
        self._stdin = stdin
        self._on_encoding = on_encoding
        self._on_no_ids = on_no_ids
        self._raw: BinaryIO | None = None
        self._size = 0
        self._bytes_before = 0

    @property
    def total_bytes(self) -> int | None:
        """None where stdin takes part."""
        return None if STDIN in self._names else sum(self._sizes)

    @property
    def bytes_read(self) -> int:
        """Of the files, packed as they are."""
        here = 0 if self._raw is None or self._raw.closed or not self._raw.seekable() else self._raw.tell()
        return self._bytes_before + min(here, self._size)  # a file may have grown

    def entries(self, measure: Measure = _untold) -> Iterator[Item | Refused | Pause]:
        """Every text in order, and what cannot be one; pauses where stdin makes them.

        `measure` tells the tokens of a text, to split by them. Raises InputError for tables without the column, and
        MissingExtra for files that need one.
        """

        def read(name: str, stream: BinaryIO | None = None) -> Iterator[Item | Refused]:
            source = Source(
                name=_sayable(name),
                path=name,
                columns=self._reading.columns,
                stream=stream,
                encoding=self._reading.encoding,
                on_encoding=self._on_encoding,
                on_raw=self._follow,
            )
            return self._entries_of(source, measure)

        for name, size in zip(self._names, self._sizes, strict=True):
            self._size = size
            if name == STDIN:
                yield from with_pauses(self._stdin, functools.partial(read, "stdin"))
            else:
                yield from read(name)
            self._raw = None
            self._bytes_before += size

    def _entries_of(self, source: Source, measure: Measure) -> Iterator[Item | Refused]:
        """What goes wrong with a file ends this file, not the others; one that gives nothing is refused itself."""
        kind = self._reading.kind
        reader = reader_of(source.name) if kind is None else READERS[f".{kind}"]
        split = self._reading.split or Split(reader.split)
        line, named = 0, source.columns.id is None
        try:
            for document in reader.read(source):
                named = named or document.id is not None
                for entry in [document] if isinstance(document, Refused) else texts_of(document, split, measure):
                    line = entry.line
                    yield entry
            if not line:
                yield Refused(source.name, 1, "the file holds no text.")
            elif not named:
                self._on_no_ids(source.name)
        except (OSError, ValueError, EOFError, NotImplementedError) as error:
            yield _broken(source.name, line, error)

    def _follow(self, raw: BinaryIO) -> None:
        self._raw = raw


def _sayable(name: str) -> str:
    """A file's name as outputs can hold it: bytes of it that are not UTF-8 as their numbers."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _broken(source: str, line: int, error: Exception) -> Refused:
    """The rest of a file; `line` is the last that gave something, or 0."""
    reason = getattr(error, "strerror", None) or in_one_line(error)
    after = f"further than line {line} " if line else ""
    return Refused(source, line or 1, f"the file cannot be read {after}({reason}).")


def _check_encoding(name: str | None) -> None:
    try:
        "".encode(name or "utf-8")
    except (LookupError, UnicodeError) as error:
        raise InputError(f"No encoding '{name}'. Leave --encoding out to have it detected.") from error


def _size_of(name: str) -> int:
    """As it is now: a file may grow, or be gone, when its turn comes. Stdin counts nothing."""
    with contextlib.suppress(OSError):
        return 0 if name == STDIN else Path(name).stat().st_size
    return 0


def _files_of(path: str, glob: str | None, without: Collection[Path]) -> Iterable[str]:
    if path == STDIN:
        return [path]
    place = Path(path)
    if not place.exists():
        raise InputError(f"No file {path}. To embed the words themselves: --text {path!r}")
    if not place.is_dir():
        return [path]
    left_out = _inside(place, without)
    files = sorted(
        str(file)
        for file in place.rglob(glob or "*")
        if file.is_file() and _is_wanted(file, glob) and left_out.isdisjoint((file, *file.parents))
    )
    if not files:
        wanted = f"match '{glob}'" if glob else "have an ending that tells their kind; choose some with --glob"
        raise InputError(f"No files in {path} {wanted}.")
    return files


def _inside(folder: Path, paths: Collection[Path]) -> set[Path]:
    """Those of the paths that lie below the folder, named as its own listing names them."""
    base = folder.resolve()
    places = [path.parent.resolve() / path.name for path in paths]
    return {folder / place.relative_to(base) for place in places if base in place.parents}


def _is_wanted(file: Path, glob: str | None) -> bool:
    return glob is not None or is_taken_from_folders(file.name)
