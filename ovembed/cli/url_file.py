"""The file that tells a server's URL to whoever waits for it."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

from ovembed.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def write(path: Path, url: str) -> None:
    """Raises InputError when it cannot be written."""
    from ovembed.repository.files import replace_file

    with _writing(path):
        replace_file(path, url + "\n")


def forget(path: Path) -> None:
    """Whoever waits for the file must not find the one of an earlier server. Raises InputError as `write` does."""
    with _writing(path):
        if not path.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}). Check --url-file.") from error
