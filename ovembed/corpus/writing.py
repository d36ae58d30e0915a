"""How files get onto the disk for good, and what is said when they do not."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
from typing import IO, TYPE_CHECKING

import filelock

from ovembed.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK = "lock"


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """OSError as an InputError that names the output."""
    try:
        yield
    except OSError as error:
        reason = "no space left" if error.errno == errno.ENOSPC else error.strerror
        raise InputError(f"{path} cannot be written: {reason}.") from error


@contextlib.contextmanager
def alone(folder: Path, output: Path) -> Iterator[None]:
    """Nobody else is in the folder meanwhile. Raises InputError, naming the output, when somebody is."""
    lock = filelock.FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise InputError(f"Another job is writing {output}.") from error
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A place to write a file to, which gets its name when all of it is on the disk; whoever is last replaces it."""
    temporary = path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}")
    yield temporary
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)


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
