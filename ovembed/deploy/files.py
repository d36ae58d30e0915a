"""Files made elsewhere than where they belong, then moved there: all of them, or none."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ovembed.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

# By path below the folder: the text of a file, or a file or folder to copy.
Files: TypeAlias = "Mapping[str, str | Path]"


def write(files: Files, folder: Path, *, force: bool) -> list[Path]:
    """The paths that were written, in the order of `files`.

    Raises InputError, and writes nothing, when one exists already (unless `force`) or cannot be made.
    """
    missing = [content for content in files.values() if isinstance(content, Path) and not content.exists()]
    if missing:
        raise InputError(f"{missing[0]} does not exist.")
    taken = [name for name in files if (folder / name).exists()]
    if taken and not force:
        raise InputError(f"{folder / taken[0]} exists already. Replace it with --force, or choose another folder.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".ovembed-", dir=folder) as workplace:
            stage = Path(workplace)
            for name, content in files.items():
                _make(stage / name, content)
            for name in files:
                _move(stage / name, folder / name)
    except OSError as error:
        raise InputError(f"{error.filename or folder} cannot be written: {error.strerror or error}.") from error
    return [folder / name for name in files]


def _make(path: Path, content: str | Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        path.write_text(content, encoding="utf-8")
    elif content.is_dir():
        shutil.copytree(content, path, ignore=shutil.ignore_patterns(".*"))
    else:
        shutil.copy(content, path)


def _move(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir():
        shutil.rmtree(target)
    source.replace(target)
