"""How files get onto the disk for good, and what is said when they do not."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import IO, TYPE_CHECKING

from ovembed.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """OSError as an InputError that names the output."""
    try:
        yield
    except OSError as error:
        reason = "no space left" if error.errno == errno.ENOSPC else error.strerror
        raise InputError(f"{path} cannot be written: {reason}.") from error


def sync(file: IO[bytes]) -> None:
    """Returns when what was written is on the disk."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Returns when the names in the folder are on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
