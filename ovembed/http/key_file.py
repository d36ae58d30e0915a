"""The file of those who may ask: a key on each line; `#` begins a comment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ovembed.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path


def read_keys(path: Path) -> tuple[bytes, ...]:
    """One at least, in the order of the file. Raises InputError, naming the file, when it cannot be read, holds no key,
    or more than a key in one line.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}). Check --api-key-file.") from error
    keys = tuple(_key(line, number, path) for number, line in enumerate(lines, 1) if _is_key(line))
    if not keys:
        raise InputError(f"{path} holds no key. Write one on each line.")
    return keys


def _is_key(line: bytes) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith(b"#")


def _key(line: bytes, number: int, path: Path) -> bytes:
    key, *rest = line.split(maxsplit=1)
    if rest and not rest[0].startswith(b"#"):
        raise InputError(f"{path}, line {number} holds more than a key. Begin comments with #.")
    return key
