"""One input: a file or stdin, opened as bytes or text, whatever compression and encoding it is in."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import io
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TextIO, cast

from ovembed.corpus.encoding import SAMPLE_BYTES, detect
from ovembed.errors import InputError, MissingExtra

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Formats that are read whole (HTML, PDF, arrays of JSON) have to fit into memory.
MAX_WHOLE_BYTES = 256 * 1024 * 1024
TOO_LARGE = f"it has more than {MAX_WHOLE_BYTES // 2**20} MB, which have to be read as a whole"


_USUAL = "text"


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of a table hold text and id; None takes `text`, or the only column, and no id."""

    text: str | None = None
    id: str | None = None

    @property
    def wanted(self) -> str:
        return self.text or _USUAL

    def choose(self, available: list[str], source: str) -> str:
        """The column with the text. Raises InputError when it, or the one with the id, is not there, or there twice."""
        listed = ", ".join(available)
        if self.id is not None and self.id not in available:
            raise InputError(f"{source} has no column '{self.id}' (it has: {listed}). Choose one with --id-column.")
        wanted = available[0] if self.text is None and len(available) == 1 else self.wanted
        if wanted not in available:
            raise InputError(f"{source} has no column '{wanted}' (it has: {listed}). Choose one with --column.")
        for name in {wanted, self.id or wanted}:
            if available.count(name) > 1:
                raise InputError(f"{source} has several columns '{name}'. Give them names of their own.")
        return wanted


@dataclass(frozen=True, slots=True)
class Source:
    """An input by its name. `stream` is stdin's; files are opened when their time comes, by `path` or else the name.

    `on_encoding` hears of files that are not UTF-8; `on_raw` gets the file whose position tells the progress.
    """

    name: str
    columns: Columns
    path: str | None = None
    stream: BinaryIO | None = None
    encoding: str | None = None
    on_encoding: Callable[[str, str], None] = lambda *_: None
    on_raw: Callable[[BinaryIO], None] = lambda _: None

    @contextlib.contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Buffered, and unpacked. Raises MissingExtra for .zst without its package, ValueError for damaged packing."""
        if self.stream is not None:
            yield _peekable(self.stream)
            return
        packing = Path(self.name).suffix.lower()
        with Path(self.path or self.name).open("rb", buffering=SAMPLE_BYTES) as raw:
            self.on_raw(raw)
            if packing == ".gz":
                with _gzip(raw) as file:
                    yield file
            elif packing == ".zst":
                with _zstandard(raw) as file:
                    yield file
            else:
                yield raw

    @contextlib.contextmanager
    def text(self, newline: str | None = "\n") -> Iterator[TextIO]:
        """Decoded; bytes that the encoding does not know become lone surrogates, for their text to be refused.

        Raises UnicodeError when the file is no text.
        """
        with self.open() as file:
            encoding = self.encoding or detect(file.peek(SAMPLE_BYTES)[:SAMPLE_BYTES])  # type: ignore[attr-defined]
            if encoding is None:
                raise UnicodeError("it is no text in any known encoding")
            if self.encoding is None and encoding not in {"utf-8", "utf-8-sig"}:
                self.on_encoding(self.name, encoding)
            if self.encoding is not None and codecs.lookup(encoding).name == "utf-8":
                encoding = "utf-8-sig"  # a byte order mark is no part of the first text
            stream = io.TextIOWrapper(file, encoding, errors="surrogateescape", newline=newline)
            try:
                yield stream
            finally:
                stream.detach()

    def whole(self) -> bytes:
        """Raises ValueError when there is more than memory should hold."""
        with self.open() as file:
            content = file.read(MAX_WHOLE_BYTES + 1)
        if len(content) > MAX_WHOLE_BYTES:
            raise ValueError(TOO_LARGE)
        return content


def _peekable(stream: BinaryIO) -> BinaryIO:
    return stream if hasattr(stream, "peek") else cast("BinaryIO", io.BufferedReader(cast("io.RawIOBase", stream)))


@contextlib.contextmanager
def _gzip(raw: BinaryIO) -> Iterator[BinaryIO]:
    try:
        with gzip.GzipFile(fileobj=raw) as file:
            yield cast("BinaryIO", file)
    except zlib.error as error:
        raise ValueError(str(error)) from error


@contextlib.contextmanager
def _zstandard(raw: BinaryIO) -> Iterator[BinaryIO]:
    """By Arrow, which notices where a file was cut off."""
    try:
        import pyarrow  # noqa: PLC0415  of an extra
    except ImportError as error:
        raise MissingExtra("Reading .zst", "files") from error
    with pyarrow.CompressedInputStream(raw, "zstd") as unpacked:
        yield cast("BinaryIO", io.BufferedReader(unpacked, SAMPLE_BYTES))
