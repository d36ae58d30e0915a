"""Vectors out: JSON, JSONL and NPY, written beside the output and renamed when all is there."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Literal, Protocol, TypeAlias, get_args

import numpy as np
import orjson

from ovembed.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ovembed.corpus.readers import Item
    from ovembed.protocols import Vectors

Format: TypeAlias = Literal["json", "jsonl", "npy"]
FORMATS: tuple[Format, ...] = get_args(Format)

# numpy pads a header for a first axis of up to 20 digits, so one for fewer rows can be replaced in place.
_UNKNOWN_ROWS = 0

# Above this an object on its way to stdout waits on disk.
_HELD_BACK_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows of the output, in order: `first` is the index of the first of them."""

    first: int
    items: Sequence[Item]
    vectors: Vectors


@dataclass(frozen=True, slots=True)
class Space:
    """What the vectors are: the model's name, its fingerprint where known, their number of dimensions."""

    model: str
    fingerprint: str | None
    dimensions: int


class Writer(Protocol):
    """Takes the rows of one job in order."""

    def write(self, batch: Batch, space: Space) -> None: ...

    def finish(self, total_tokens: int) -> None:
        """Nothing more comes; what belongs at the end is written."""


def format_of(output: Path | None, chosen: Format | None) -> Format:
    """The format asked for, else that of the file's ending, else JSON. Raises InputError for an unknown ending."""
    if chosen is not None:
        return chosen
    if output is None:
        return "json"
    for name in FORMATS:
        if output.suffix == f".{name}":
            return name
    raise InputError(f"{output} has an ending of no known format ({', '.join(FORMATS)}). Choose one with --format.")


@contextlib.contextmanager
def open_writer(output: Path | None, kind: Format, stdout: IO[bytes], *, force: bool) -> Iterator[Writer]:
    """A writer to a file, or to `stdout` for None.

    A file shows up under its name, with what stands beside it, only when the block ends well; an existing one is
    refused without `force`.
    """
    if output is None:
        if kind == "npy":
            raise InputError("The npy format is a file of numbers: name it with --output.")
        with _flushed(stdout) if kind == "jsonl" else _held_back(stdout) as stream:
            yield JsonlWriter(stream) if kind == "jsonl" else JsonWriter(stream)
        return
    meta_path = output.with_suffix(".meta.jsonl")
    for path in (output, meta_path) if kind == "npy" else (output,):
        if path.exists() and not force:
            raise InputError(f"{path} exists already. Replace it with --force, or choose another --output.")
    with contextlib.ExitStack() as files:
        file = files.enter_context(_replacing(output))
        match kind:
            case "json":
                yield JsonWriter(file)
            case "jsonl":
                yield JsonlWriter(file)
            case "npy":
                yield NpyWriter(file, files.enter_context(_replacing(meta_path)))


@contextlib.contextmanager
def _flushed(stream: IO[bytes]) -> Iterator[IO[bytes]]:
    yield stream
    stream.flush()


@contextlib.contextmanager
def _held_back(stream: IO[bytes]) -> Iterator[IO[bytes]]:
    """A JSON object is of use only whole: nothing of it is shown before its end, nothing at all on an error."""
    with tempfile.SpooledTemporaryFile(_HELD_BACK_BYTES) as held:
        yield held
        held.seek(0)
        shutil.copyfileobj(held, stream)
        stream.flush()


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        reason = "no space left" if error.errno == errno.ENOSPC else error.strerror
        raise InputError(f"{path} cannot be written: {reason}.") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


class JsonlWriter:
    """One object a line: index, text, embedding."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def write(self, batch: Batch, space: Space) -> None:  # noqa: ARG002  a line says nothing of its space
        for line in _rows(batch):
            self._stream.write(line + b"\n")
        self._stream.flush()

    def finish(self, total_tokens: int) -> None:
        pass


class JsonWriter:
    """One object: model, dimensions, fingerprint, data (index, text, embedding), usage; written as it comes."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._separator = b""

    def write(self, batch: Batch, space: Space) -> None:
        if not self._separator:
            head = {"model": space.model, "dimensions": space.dimensions, "fingerprint": space.fingerprint}
            self._stream.write(orjson.dumps(head).removesuffix(b"}") + b',"data":[')
        for row in _rows(batch):
            self._stream.write(self._separator + b"\n" + row)
            self._separator = b","

    def finish(self, total_tokens: int) -> None:
        usage = orjson.dumps({"prompt_tokens": total_tokens, "total_tokens": total_tokens})
        self._stream.write(b'\n],"usage":' + usage + b"}\n")


class NpyWriter:
    """float32, C order, (n, dimensions); beside it a line for each row: index, source, line, text.

    Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
    """

    def __init__(self, stream: IO[bytes], meta: IO[bytes]) -> None:
        self._stream = stream
        self._meta = meta
        self._rows = 0
        self._dimensions = 0

    def write(self, batch: Batch, space: Space) -> None:
        if not self._rows:
            self._dimensions = space.dimensions
            self._write_header(_UNKNOWN_ROWS)
            head = {"model": space.model, "fingerprint": space.fingerprint, "dimensions": space.dimensions}
            self._meta.write(orjson.dumps(head) + b"\n")
        self._stream.write(np.ascontiguousarray(batch.vectors, dtype="<f4").tobytes())
        self._rows += len(batch.vectors)
        for index, item in enumerate(batch.items, start=batch.first):
            row = {"index": index, "source": item.source, "line": item.line, "text": item.text}
            self._meta.write(orjson.dumps(row) + b"\n")

    def finish(self, total_tokens: int) -> None:  # noqa: ARG002  the format has no place for it
        self._stream.seek(0)
        self._write_header(self._rows)

    def _write_header(self, rows: int) -> None:
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, self._dimensions)}
        np.lib.format.write_array_header_1_0(self._stream, header)


def _rows(batch: Batch) -> Iterator[bytes]:
    rows = np.ascontiguousarray(batch.vectors, dtype=np.float32)
    for index, (item, vector) in enumerate(zip(batch.items, rows, strict=True), start=batch.first):
        yield orjson.dumps({"index": index, "text": item.text, "embedding": vector}, option=orjson.OPT_SERIALIZE_NUMPY)
