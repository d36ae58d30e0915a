"""StoredVectors: an output file of embed, opened for reading."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from ovembed.corpus import precision
from ovembed.errors import InputError

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


@dataclass(frozen=True, slots=True)
class StoredVectors:
    """Vectors and their rows, in the order of the input.

    codes: the vectors as they are stored, shape (n, width), in the dtype of the precision; memory-mapped where the
    format allows (npy, npz), else in memory. rows: read from the file when asked for, by position or in order.
    total_tokens: where the file tells it beside the rows' own. release: gives back what `rows` holds open.
    """

    space: Space
    codes: Codes
    rows: Sequence[Row]
    total_tokens: int | None = None
    release: Callable[[], None] = _nothing

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def vectors(self) -> Vectors:
        """float32, shape (n, dimensions). Of float32 files no copy is made; of others all of them are decoded."""
        return precision.decode(self.codes, self.space)

    def blocks(self, size: int = BLOCK_ROWS) -> Iterator[Vectors]:
        """The vectors in order, float32, so many rows at a time: nothing else of them is in memory."""
        for start in range(0, len(self), size):
            yield precision.decode(self.codes[start : start + size], self.space)

    def parts(self, size: int = BLOCK_ROWS) -> Iterator[tuple[Sequence[Row], Codes]]:
        """Rows and codes in order, so many at a time."""
        for start in range(0, len(self), size):
            yield self.rows[start : start + size], np.asarray(self.codes[start : start + size])

    def row(self, position: int) -> Row:
        return self.rows[position]

    def item(self, position: int) -> Item:
        return self.rows[position].item

    def text(self, position: int) -> str:
        return self.rows[position].item.text

    def close(self) -> None:
        """Let go of the file that rows are read from. The vectors stay."""
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
        raise InputError(f"No file {error.filename}, which belongs to {path}. Embed the texts again.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, LookupError, TypeError, EOFError) as error:
        raise InputError(f"{path} was not written by ovembed embed, or is damaged ({error}).") from error
