"""What a deployment must know of the repository at hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ovembed.errors import InputError, ModelNotFound
from ovembed.launch import docker_run
from ovembed.repository import read_serving, serving_all

if TYPE_CHECKING:
    from pathlib import Path

    from ovembed.repository import ModelEntry, ModelRepository, OvmsVersion

# User and group of OVMS's image, and of ours.
IMAGE_USER = 5000


@dataclass(frozen=True, slots=True)
class Subject:
    """A repository to deploy.

    config: its configuration file, relative to the folder. default: the model that answers where none is named.
    servables: every name whose readiness counts, a classic model's parts among them. ovms: the server that its
    layouts are for. size_bytes: of all encoders. reader: "UID:GID" that may read every file.
    """

    folder: Path
    config: str
    default: str
    servables: tuple[str, ...]
    ovms: OvmsVersion
    size_bytes: int
    reader: str


def survey(repository: ModelRepository, model: str | None = None) -> Subject:
    """`model` is the default one; None takes the only one there is.

    Raises ModelNotFound, RepositoryError for files that cannot be read or would not be found from another
    place, InputError when no one server or user fits all models.
    """
    default = repository.get(model) if model is not None else repository.only()
    entries = repository.models()
    readable = [repository.config_path, *(entry.folder for entry in entries)]
    return Subject(
        folder=repository.folder,
        config=movable_config(repository),
        default=default.name,
        servables=tuple(name for entry in entries for name in _servables(entry)),
        ovms=_server_for(entries),
        size_bytes=sum(entry.size_bytes for entry in entries),
        reader=docker_run.user_for(repository.folder, readable) or f"{IMAGE_USER}:{IMAGE_USER}",
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
