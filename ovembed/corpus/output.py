"""Where rows go: a file, by way of its partial folder, or stdout as they come."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from typing import IO, TYPE_CHECKING

from ovembed.corpus import precision
from ovembed.corpus.formats import files_of, parquet
from ovembed.corpus.formats.json import JsonStream
from ovembed.corpus.formats.jsonl import row_lines
from ovembed.corpus.partial import Partial, errors_of, folder_of
from ovembed.corpus.rows import Standing
from ovembed.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ovembed.corpus.formats import Format
    from ovembed.corpus.rows import Block, Writer

# Above this an object on its way to stdout waits on disk.
_HELD_BACK_BYTES = 64 * 1024 * 1024


@contextlib.contextmanager
def open_writer(
    output: Path | None,
    kind: Format,
    stdout: IO[bytes],
    *,
    force: bool = False,
    resume: bool = False,
    update: bool = False,
) -> Iterator[Writer]:
    """A writer to a file, or to `stdout` for None.

    A file shows up under its name, with what stands beside it, only when the block ends well. What a broken-off job
    has done so far is kept, and taken up again with `resume`. Existing files are refused without `force` or `update`;
    `force` also throws away what a broken-off job has done. A package that the format needs is asked for at once.
    """
    if output is None:
        if kind not in _ON_STDOUT:
            raise InputError(f"The {kind} format is a file: name it with --output.")
        with _ON_STDOUT[kind](stdout) as writer:
            yield writer
        return
    if kind == "parquet":
        parquet.check_installed()
    taken = [path for path in files_of(output, kind) if path.exists()]
    if taken and not force and not update and not (resume and folder_of(output).exists()):
        raise InputError(
            f"{taken[-1]} exists already. Replace it with --force or --update, or choose another --output."
        )
    with Partial(output, kind, resume=resume, force=force) as writer:
        yield writer


def places_of(output: Path, kind: Format) -> tuple[Path, ...]:
    """Everything that a job for the output writes: its files, what is told beside them, and the partial folder."""
    return (*files_of(output, kind), errors_of(output), folder_of(output))


def is_complete(output: Path, kind: Format) -> bool:
    """The output is there, and no job for it has broken off."""
    return all(path.exists() for path in files_of(output, kind)) and not folder_of(output).exists()


class _JsonlWriter:
    """Rows as they come."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.standing = Standing()
        self._stream = stream

    def write(self, block: Block, standing: Standing) -> None:
        if standing.space is not None:
            codes = precision.encode(block.vectors, standing.space)
            self._stream.writelines(row_lines(block.rows, codes, self.standing.rows, standing.space))
            self._stream.flush()
        self.standing = standing

    def finish(self) -> None:
        pass


class _JsonWriter:
    """One object."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.standing = Standing()
        self._stream = stream
        self._object: JsonStream | None = None

    def write(self, block: Block, standing: Standing) -> None:
        if standing.space is not None:
            self._object = self._object or JsonStream(self._stream, standing.space)
            self._object.write(block.rows, precision.encode(block.vectors, standing.space))
        self.standing = standing

    def finish(self) -> None:
        if self._object is None:
            raise AssertionError("An output without rows. This is a bug.")
        self._object.finish(self.standing.tokens)


@contextlib.contextmanager
def _flushed(stream: IO[bytes]) -> Iterator[Writer]:
    yield _JsonlWriter(stream)
    stream.flush()


@contextlib.contextmanager
def _held_back(stream: IO[bytes]) -> Iterator[Writer]:
    """A JSON object is of use only whole: nothing of it is shown before its end, nothing at all on an error."""
    with tempfile.SpooledTemporaryFile(_HELD_BACK_BYTES) as held:
        yield _JsonWriter(held)
        held.seek(0)
        shutil.copyfileobj(held, stream)
        stream.flush()


_ON_STDOUT = {"json": _held_back, "jsonl": _flushed}
