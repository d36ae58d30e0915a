"""The Hugging Face cache on this machine: the models that are in it whole.

Layout, as huggingface_hub documents it: models--OWNER--NAME/ with snapshots/COMMIT/, and refs/BRANCH naming a commit.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from huggingface_hub import _CACHED_NO_EXIST, constants, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from huggingface_hub.file_download import repo_folder_name

from ovembed.hub.files import MODULES, missing_file

__all__ = ["HFValidationError", "find_snapshot", "has_part", "name_revision", "snapshot_folder"]


def find_snapshot(source: str, revision: str | None) -> Path | None:
    """The folder of that revision, if all that an export needs is in it.

    Other programs fetch single files, and a download may have been cut off: a folder alone proves nothing.
    Raises HFValidationError for a name that can be no id.
    """
    try:
        folder = Path(snapshot_download(source, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, OSError):
        return None
    return folder if _is_whole(source, folder) else None


def has_part(source: str) -> bool:
    """Whether a download of some revision began and did not end."""
    return any(not _is_whole(source, folder) for folder in (_home(source) / "snapshots").glob("*"))


def name_revision(source: str, revision: str, commit: str) -> None:
    """Note that the branch or tag means this commit, so that it is found without the Hub.

    A cache that can only be read serves as well without.
    """
    if revision == commit:
        return
    path = _home(source) / "refs" / revision
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        beside.write_text(commit, encoding="utf-8")
        beside.replace(path)


def snapshot_folder(source: str, commit: str) -> Path:
    """Where the files of that commit are, or will be."""
    return _home(source) / "snapshots" / commit


def _home(source: str) -> Path:
    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=source, repo_type="model")


def _is_whole(source: str, folder: Path) -> bool:
    """Without modules.json we must know that the model has none: it would be read as another recipe."""
    if not (folder / MODULES).exists():
        absent = try_to_load_from_cache(source, MODULES, revision=folder.name)
        if absent is not _CACHED_NO_EXIST:
            return False
    return missing_file(folder) is None
