"""What can be seen of a repository from outside."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def visible(folder: Path) -> dict[str, str]:
    """Names and hashes of everything that a server or a user can see."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
        if ".staging" not in path.parts
    }


def workplaces(folder: Path) -> list[str]:
    """The hidden folders of exports at work, or of those that were killed."""
    staging = folder / ".staging"
    return [path.name for path in staging.iterdir() if path.is_dir()] if staging.exists() else []
