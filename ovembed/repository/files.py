"""Files that are replaced whole or not at all, and folders that swap places."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from typing import TYPE_CHECKING, TypeAlias

from ovembed.errors import RepositoryError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Stamp: TypeAlias = tuple[int, int, int]

# renameat2(2): the current folder as the base of relative paths, and the flag that swaps two paths atomically.
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_NO_EXCHANGE_HERE = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP}


def stamp(path: Path) -> Stamp | None:
    """Differs whenever the file has been written or replaced; None while it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Whatever the operating system refuses while we write below `folder` becomes a RepositoryError."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise RepositoryError(
                f"No space left for {folder}. Free some, or choose another place with --repository."
            ) from error
        raise RepositoryError(f"{folder} cannot be written: {error.strerror or error}.") from error


def replace_file(path: Path, content: str) -> None:
    """Write beside `path`, flush to disk, rename over it: readers see the old content or the new."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def swap_folders(left: Path, right: Path) -> bool:
    """Exchange two folders in one step. False where the kernel or file system cannot; nothing moved then."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    if renameat2(_AT_FDCWD, os.fsencode(left), _AT_FDCWD, os.fsencode(right), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NO_EXCHANGE_HERE:
        return False
    raise OSError(code, os.strerror(code), str(left))
