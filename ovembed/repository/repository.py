"""ModelRepository: models appear in it whole or not at all, and the config file never names a missing one.

Layout (for OVMS 2025.2 and newer; `layout` has both):

    <repository>/config_embeddings.json       written last
    <repository>/<name>/graph.pbtxt, openvino_model.xml, ..., ovembed.json
    <repository>/.staging/<random>/           an export at work, its lock held
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from ovembed.errors import InputError, ModelNotFound, RepositoryError
from ovembed.repository import config, model
from ovembed.repository.files import replace_file, swap_folders, writing
from ovembed.repository.layout import find_layout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ovembed.repository.config import ServingConfig
    from ovembed.repository.model import ModelEntry

DEFAULT_CONFIG_NAME = "config_embeddings.json"
_STAGING = ".staging"
_MODEL = "model"
_UNSERVED = "unserved.name"
_REPLACED = "replaced"
_NAME_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class StagedModel:
    """A hidden folder to build a model in; `scratch` is for files that are not part of it."""

    folder: Path
    scratch: Path


class ModelRepository:
    """A folder of models and the config file that serves them.

    Readers need no lock: a model folder and the config file are each replaced in one step.
    """

    def __init__(self, folder: str | Path, config_path: str | Path | None = None) -> None:
        self.folder = Path(folder)
        self.config_path = Path(config_path) if config_path is not None else self.folder / DEFAULT_CONFIG_NAME

    def listed(self) -> list[str]:
        """Served names of all graphs, in the order of the config file; not all need be ours, or whole."""
        return config.read(self.config_path).names

    def names(self) -> list[str]:
        """Served names of our models, in the order of the config file; graphs of other kinds are not ours."""
        serving = config.read(self.config_path)
        return [name for name in serving.names if model.is_model(self.config_path.parent / serving.base_path(name))]

    def missing_names(self) -> list[str]:
        """Served names whose folder is not there; one in the cloud ("s3://...") is there for others."""
        serving, home = config.read(self.config_path), self.config_path.parent
        places = {name: serving.base_path(name) for name in serving.names}
        return [name for name, place in places.items() if "://" not in place and not (home / place).exists()]

    def other_names(self) -> list[str]:
        """Served names of the graphs that are not ours, in the order of the config file."""
        ours = set(self.names())
        return [name for name in config.read(self.config_path).names if name not in ours]

    def models(self) -> list[ModelEntry]:
        return [self.get(name) for name in self.names()]

    def get(self, name: str) -> ModelEntry:
        """Raises ModelNotFound for a name that the config file does not serve."""
        serving = config.read(self.config_path)
        if name not in serving.names:
            raise self._not_served(name, serving)
        return replace(model.read(self.config_path.parent / serving.base_path(name)), name=name)

    def _not_served(self, name: str, serving: ServingConfig) -> ModelNotFound:
        held = f"it has: {', '.join(serving.names)}" if serving.names else "it has none"
        return ModelNotFound(
            f"No model '{name}' in {self.folder}/ ({held}). Export one: ovembed export SOURCE --name {name}"
        )

    def only(self) -> ModelEntry:
        """The model of a repository that holds exactly one. Raises ModelNotFound otherwise."""
        names = self.names()
        if len(names) != 1:
            held = f"holds several models: {', '.join(names)}" if names else "holds no model"
            step = "Choose one with --model" if names else "Export one first: ovembed export SOURCE"
            raise ModelNotFound(f"{self.folder}/ {held}. {step}.")
        return self.get(names[0])

    def check_movable(self) -> None:
        """Raises InputError for what a server would miss that finds the folder in another place, as containers do."""
        home, folder = self.config_path.parent, self.folder.resolve()
        if not self.config_path.resolve().is_relative_to(folder):
            raise InputError(f"{self.config_path} is not in {self.folder}/, which is all that a container gets of it.")
        serving = config.read(self.config_path)
        for name in serving.names:
            place = Path(serving.base_path(name))
            if place.is_absolute() or not (home / place).resolve().is_relative_to(folder):
                raise InputError(
                    f"'{name}' is served from {place}, which a container with {self.folder}/ alone would not find. "
                    f"Move it into {self.folder}/, and name it there by a relative path in {self.config_path}."
                )

    def check_name(self, name: str, *, overwrite: bool) -> None:
        """Raises InputError for a name that is not a plain relative path, nests in another model, or is taken."""
        if not all(_NAME_PART.fullmatch(part) for part in name.split("/")):
            raise InputError(
                f"'{name}' cannot be a model name: use letters, digits, '.', '_', '-', "
                "with '/' between parts, each beginning with a letter or digit."
            )
        for other in self.names():
            if other.startswith(f"{name}/") or name.startswith(f"{other}/"):
                raise InputError(f"'{name}' would lie inside or around the model '{other}'. Choose another --name.")
        serving = config.read(self.config_path)
        if serving.lists(name) and name not in serving.names:
            raise InputError(f"'{name}' is taken by a model in {self.config_path}. Choose another --name.")
        target = self.folder / name
        if not target.exists():
            return
        if not model.is_model(target):
            raise InputError(f"{target} exists and is no exported model. Move it away, or choose another --name.")
        if not overwrite:
            raise InputError(f"{target} exists already. Replace it with --overwrite, or choose another --name.")

    def clean_up(self) -> None:
        """Undo and remove what killed exports left behind."""
        if (self.folder / _STAGING).is_dir():
            with writing(self.folder), self._lock():
                self._recover()

    @contextlib.contextmanager
    def stage(self) -> Iterator[StagedModel]:
        """A fresh hidden folder, removed in the end unless it was published.

        What earlier exports left behind when they were killed is removed first; the folders of exports that
        still run are known by the lock they hold.
        """
        staging = self.folder / _STAGING
        with writing(self.folder):
            staging.mkdir(parents=True, exist_ok=True)
            with self._lock():
                self._recover()
                workplace = staging / secrets.token_hex(6)
                workplace.mkdir()
                lock = self._lock_of(workplace)
        try:
            staged = StagedModel(workplace / _MODEL, workplace / "scratch")
            with writing(self.folder):
                staged.folder.mkdir()
                staged.scratch.mkdir()
            yield staged
        finally:
            self._put_back(workplace)
            shutil.rmtree(workplace, ignore_errors=True)
            lock.release()

    def publish(self, staged: StagedModel, name: str, *, overwrite: bool) -> ModelEntry:
        """Move the staged folder to its name and, last, let the config file serve it."""
        target = self.folder / name
        with writing(self.folder), self._lock():
            self.check_name(name, overwrite=overwrite)
            serving = config.read(self.config_path)
            self._move_into_place(staged.folder, target)
            try:
                config.write(self.config_path, self._serving_also(name, serving))
            except BaseException:
                self._take_back(staged.folder, target)
                raise
        return model.read(target)

    def remove(self, name: str) -> list[Path]:
        """Take the model out of the config file, then delete its folder.

        The folder stays when other config files beside this one or in the repository serve it; these are returned.
        Raises ModelNotFound for a name that is not served, InputError for a graph that is not ours.
        """
        self._folder_to_remove(name)
        with self.stage() as staged, writing(self.folder), self._lock():
            folder = self._folder_to_remove(name)
            serving = config.read(self.config_path)
            staged.folder.rmdir()
            self._note_unserved(staged.folder.parent, folder)
            config.write(self.config_path, serving.without(name))
            others = self._configs_with(folder, self.config_path)
            if not others:
                try:
                    folder.rename(staged.folder)
                except OSError:
                    config.write(self.config_path, serving)
                    raise
                self._remove_empty_parents(folder)
        return others

    def _folder_to_remove(self, name: str) -> Path:
        """Of a model that is served and ours; its ovembed.json may be damaged."""
        serving = config.read(self.config_path)
        if name not in serving.names:
            raise self._not_served(name, serving)
        folder = self.config_path.parent / serving.base_path(name)
        if not model.is_model(folder):
            raise InputError(f"'{name}' was not made by ovembed. Take it out of {self.config_path} by hand.")
        return folder

    def _configs_with(self, folder: Path, config_path: Path) -> list[Path]:
        """Configuration files that serve the folder: that one, and those beside it or in the repository.

        Raises RepositoryError when that one cannot be read; another that is no such file is passed over.
        """
        found = [config_path] if _serves(config_path, folder) else []
        for path in sorted({*self.folder.glob("*.json"), *config_path.parent.glob("*.json")} - {config_path}):
            with contextlib.suppress(RepositoryError):
                if _serves(path, folder):
                    found.append(path)
        return found

    def _remove_empty_parents(self, folder: Path) -> None:
        """A name with a slash leaves the folder of its first part behind."""
        home = self.folder.resolve()
        for parent in folder.resolve().parents:
            if home not in parent.parents:
                return
            with contextlib.suppress(OSError):
                parent.rmdir()

    def _serving_also(self, name: str, serving: ServingConfig) -> ServingConfig:
        """An entry that leads to the model already stays as it is."""
        home = self.config_path.parent
        target = self.folder.resolve() / name
        if name not in serving.names or (home / serving.base_path(name)).resolve() != target:
            # Symbolic links resolved first: OVMS follows them before it goes up a "..".
            serving = serving.with_graph(name, os.path.relpath(target, home.resolve()))
        return serving.with_classic_first(
            {other for other in serving.names if find_layout(home / serving.base_path(other)) == "classic"}
        )

    def _move_into_place(self, staged: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            self._note_unserved(staged.parent, target)
            staged.rename(target)
        elif not swap_folders(staged, target):
            # Broken off between these two renames, the note brings the old model back (see _put_back).
            aside = staged.parent / _REPLACED
            replace_file(aside.with_suffix(".name"), target.relative_to(self.folder).as_posix())
            target.rename(aside)
            staged.rename(target)

    def _note_unserved(self, workplace: Path, folder: Path) -> None:
        """Broken off while the config file does not name the folder, the note lets it be removed (see _put_back)."""
        place = os.path.relpath(folder.resolve(), self.folder.resolve())
        replace_file(workplace / _UNSERVED, f"{place}\n{self.config_path.resolve()}")

    def _noted_unserved(self, workplace: Path) -> tuple[Path, Path] | None:
        """The folder that was noted, and the config file that did not name it then."""
        try:
            place, config_path = (workplace / _UNSERVED).read_text(encoding="utf-8").split("\n")
        except FileNotFoundError:
            return None
        return self.folder / place, Path(config_path)

    def _take_back(self, staged: Path, target: Path) -> None:
        """Undo _move_into_place; a model moved aside is put back when the staged folder is removed."""
        if staged.exists():
            swap_folders(staged, target)
        else:
            target.rename(staged)

    def _lock(self) -> FileLock:
        """Held while the repository changes: one export at a time publishes or cleans up."""
        return FileLock(self.folder / _STAGING / ".lock")

    def _lock_of(self, workplace: Path) -> FileLock:
        """The sign that somebody works in the folder; where it cannot be made, the folder goes too."""
        lock = FileLock(workplace / "lock")
        try:
            lock.acquire()
        except BaseException:
            shutil.rmtree(workplace, ignore_errors=True)
            raise
        return lock

    def _recover(self) -> None:
        """Put back a model that was moved aside and never replaced; remove folders that nobody works in."""
        for workplace in sorted((self.folder / _STAGING).iterdir()):
            if not workplace.is_dir():
                continue
            lock = FileLock(workplace / "lock")
            try:
                lock.acquire(blocking=False)
            except Timeout:
                continue
            noted = self._noted_unserved(workplace)
            self._put_back(workplace)
            shutil.rmtree(workplace, ignore_errors=True)
            lock.release()
            if noted:
                self._remove_empty_parents(noted[0])

    def _put_back(self, workplace: Path) -> None:
        """Mend what was broken off: take out a model that nobody serves, bring back one that was moved aside."""
        noted = self._noted_unserved(workplace)
        if noted and not (workplace / _MODEL).exists():
            folder, config_path = noted
            with contextlib.suppress(OSError, RepositoryError):
                if not self._configs_with(folder, config_path):
                    folder.rename(workplace / _MODEL)
        aside = workplace / _REPLACED
        if aside.is_dir():
            target = self.folder / aside.with_suffix(".name").read_text(encoding="utf-8")
            if not target.exists():
                aside.rename(target)


def _serves(config_path: Path, folder: Path) -> bool:
    serving = config.read(config_path)
    home = config_path.parent
    return any((home / serving.base_path(name)).resolve() == folder.resolve() for name in serving.names)
