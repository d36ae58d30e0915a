"""Texts in: one text per line of UTF-8, read as a stream. Blank lines hold no text and are passed over."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ovembed.corpus.rows import Item
from ovembed.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

STDIN = "-"


def read_texts(texts: Iterable[str]) -> Iterator[Item]:
    """Texts given on the command line, numbered like lines."""
    for number, text in enumerate(texts, start=1):
        yield Item(text, "--text", number)


def read_lines(paths: Sequence[str], stdin: BinaryIO) -> Iterator[Item]:
    """Lines of each file in turn; `-` is `stdin`.

    Missing files are told before anything is read. Raises InputError, naming the file and line, for a file that
    is missing, without any text, or not UTF-8.
    """
    for path in paths:
        if path != STDIN:
            _check_file(Path(path))
    return _read_all(paths, stdin)


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise InputError(f"{path} is a folder; name the files in it.")
    if not path.exists():
        raise InputError(f"No file {path}. To embed the words themselves: --text {str(path)!r}")


def _read_all(paths: Sequence[str], stdin: BinaryIO) -> Iterator[Item]:
    for path in paths:
        if path == STDIN:
            yield from _decode(stdin, "stdin")
            continue
        try:
            with Path(path).open("rb") as file:
                yield from _decode(file, path)
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}.") from error


def _decode(lines: Iterable[bytes], source: str) -> Iterator[Item]:
    found = False
    for number, line in enumerate(lines, start=1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip("\r\n")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{source} line {number} is not UTF-8 (byte {error.start + 1}). Convert it first: "
                f"iconv -f latin1 -t utf-8 {source}"
            ) from error
        if text.strip():
            found = True
            yield Item(text, source, number)
    if not found:
        raise InputError(f"{source} holds no text.")
