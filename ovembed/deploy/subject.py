"""What a deployment must know of the repository at hand."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ovembed.errors import InputError, ModelNotFound
from ovembed.repository import read_serving, serving_all

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ovembed.repository import ModelEntry, ModelRepository, OvmsVersion

# That of OVMS's image, and of ours.
IMAGE_USER = (5000, 5000)


@dataclass(frozen=True, slots=True)
class Subject:
    """A repository to deploy.

    config: its configuration file, relative to the folder. default: the model that answers where none is named.
    servables: every name whose readiness counts, a classic model's parts among them. ovms: the server that its
    layouts are for. size_bytes: of all encoders. reader: (user, group) that may read every file.
    """

    folder: Path
    config: str
    default: str
    servables: tuple[str, ...]
    ovms: OvmsVersion
    size_bytes: int
    reader: tuple[int, int]


def survey(repository: ModelRepository, model: str | None = None) -> Subject:
    """`model` is the default one; None takes the only one there is.

    Raises ModelNotFound, RepositoryError for files that cannot be read or would not be found from another
    place, InputError when no one server or user fits all models.
    """
    default = repository.get(model) if model is not None else repository.only()
    entries = repository.models()
    return Subject(
        folder=repository.folder,
        config=movable_config(repository),
        default=default.name,
        servables=tuple(name for entry in entries for name in _servables(entry)),
        ovms=_server_for(entries),
        size_bytes=sum(entry.size_bytes for entry in entries),
        reader=_reader(repository.folder),
    )


def movable_config(repository: ModelRepository) -> str:
    """The configuration file, relative to the folder.

    Raises ModelNotFound for a repository without models, InputError where a copy of the folder would not do.
    """
    if not repository.names():
        raise ModelNotFound(f"{repository.folder}/ holds no model. Export one first: ovembed export SOURCE")
    repository.check_movable()
    return repository.config_path.resolve().relative_to(repository.folder.resolve()).as_posix()


def _servables(entry: ModelEntry) -> tuple[str, ...]:
    """OVMS calls a classic model ready before the two that do its work are."""
    parts = read_serving(entry.folder).servables
    return (entry.name,) if parts is None else (entry.name, parts.tokenizer, parts.encoder)


def _server_for(entries: list[ModelEntry]) -> OvmsVersion:
    found = serving_all({entry.ovms_version for entry in entries})
    if found is None:
        laid_out = ", ".join(f"{entry.name} (OVMS {entry.ovms_version})" for entry in entries)
        raise InputError(
            f"No one OVMS serves all of these: {laid_out}. Export them for the same one: --ovms-version, --overwrite."
        )
    return found


def _reader(folder: Path) -> tuple[int, int]:
    """The image's user where everybody may read, else the owner."""
    closed = next((path for path in _visible(folder) if not _open_to_all(path)), None)
    if closed is None:
        return IMAGE_USER
    owner = closed.stat()
    if owner.st_uid == 0:
        raise InputError(
            f"Only root may read {closed}, and servers do not run as root. Let others: chmod -R o+rX {folder}"
        )
    return owner.st_uid, owner.st_gid


def _visible(folder: Path) -> Iterator[Path]:
    """The folder and all in it that a server may meet."""
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        here = folder / os.path.relpath(place, folder)
        yield here
        yield from (here / name for name in files)


def _open_to_all(path: Path) -> bool:
    mode = path.stat().st_mode
    wanted = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(mode) else 0)
    return mode & wanted == wanted
