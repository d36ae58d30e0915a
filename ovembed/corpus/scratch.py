"""Arrays that would fill the memory, in temporary files: mapped, without a name, gone with their process."""

from __future__ import annotations

import math
import os
import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np

from ovembed.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

_IN_MEMORY_BYTES = 64 * 1024 * 1024
# Where files may be large, by the Filesystem Hierarchy Standard; /tmp is memory on many machines.
_LARGE_FILES = "/var/tmp"  # noqa: S108  nothing in it has a name


def joined(blocks: Iterable[NDArray[Any]], shape: tuple[int, int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The rows of all blocks, which have this shape together: in memory if they are few, else a read-only map.

    The file is in TMPDIR, or else in /var/tmp. Raises InputError when it has no place there.
    """
    size = math.prod(shape) * dtype.itemsize
    if size <= _IN_MEMORY_BYTES:
        return np.concatenate([np.empty((0, shape[1]), dtype), *blocks])
    folder = _folder()
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, size)  # no room is told before the work, not after it
            for block in blocks:
                file.write(np.ascontiguousarray(block).data)
            file.flush()
            return np.memmap(file, dtype, "r", shape=shape)
    except OSError as error:
        raise InputError(
            f"{folder} cannot take {size / 1e6:.0f} MB of vectors for as long as they are searched "
            f"({error.strerror}). Name another folder with TMPDIR, or write them to an .npy file, which needs none."
        ) from error


def _folder() -> str:
    usual = _LARGE_FILES if os.access(_LARGE_FILES, os.W_OK) else tempfile.gettempdir()
    return os.environ.get("TMPDIR") or usual
