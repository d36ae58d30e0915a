"""StoredVectors: an output file of embed, opened for reading."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np

from ovembed.corpus import precision, scratch
from ovembed.errors import InputError, in_one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from ovembed.corpus.precision import Codes
    from ovembed.corpus.rows import Item, Row, Space
    from ovembed.protocols import Vectors

BLOCK_ROWS = 8192


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class StoredVectors:
    """Vectors and their rows, in the order of the input.

    given: the vectors as they are stored, shape (n, width), in the dtype of the precision: an array, of npy and npz a
    memory map, or what gives its blocks in order, anew at each call. rows: read from the file when asked for, by
    position or in order. total_tokens: where the file tells it beside the rows' own. release: gives back what is
    held open.
    """

    space: Space
    given: Codes | Callable[[], Iterator[Codes]]
    rows: Sequence[Row]
    total_tokens: int | None = None
    release: Callable[[], None] = _nothing

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def codes(self) -> Codes:
        """All of them, to be indexed. A file that gives them in order only is read once, into `scratch` where it is
        large. Raises InputError when it is damaged, or there is no room.
        """
        if isinstance(self.given, np.ndarray):
            return self.given
        shape = len(self), precision.width(self.space)
        return scratch.joined(self.given(), shape, precision.dtype(self.space.precision))

    @property
    def vectors(self) -> Vectors:
        """float32, shape (n, dimensions). Of float32 files no copy is made; of others all of them are decoded."""
        return precision.decode(self.codes, self.space)

    def code_blocks(self) -> Iterator[Codes]:
        """The codes in order, some thousand rows at a time, of which nothing is kept.

        Raises InputError when the file is damaged.
        """
        if isinstance(self.given, np.ndarray):
            codes = np.asarray(self.given)  # slices of a plain array are faster, and go into JSON
            for start in range(0, len(self), BLOCK_ROWS):
                yield codes[start : start + BLOCK_ROWS]
        else:
            yield from self.given()

    def row_blocks(self) -> Iterator[Sequence[Row]]:
        """The rows in order, so many at a time."""
        for start in range(0, len(self), BLOCK_ROWS):
            yield self.rows[start : start + BLOCK_ROWS]

    def parts(self) -> Iterator[tuple[Sequence[Row], Codes]]:
        """Rows and codes in order, so many at a time."""
        start = 0
        for codes in self.code_blocks():
            yield self.rows[start : start + len(codes)], codes
            start += len(codes)

    def row(self, position: int) -> Row:
        return self.rows[position]

    def item(self, position: int) -> Item:
        return self.rows[position].item

    def text(self, position: int) -> str:
        return self.rows[position].item.text

    def close(self) -> None:
        """Let go of the file. Codes that were asked for before stay."""
        self.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        self.close()


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Whatever is wrong with a file as an InputError that names it."""
    try:
        yield
    except FileNotFoundError as error:
        owner = "" if error.filename == str(path) else f", which belongs to {path}"
        raise InputError(f"No file {error.filename}{owner}. Embed the texts again.") from error
    except OSError as error:
        raise InputError(f"{error.filename or path} cannot be read: {in_one_line(error.strerror or error)}.") from error
    except KeyError as error:
        raise _damaged(path, f"it has no {error}") from error
    except (ValueError, LookupError, TypeError, EOFError, NotImplementedError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, what: object) -> InputError:
    return InputError(f"{path} was not written by ovembed embed, or is damaged ({in_one_line(what)}).")
