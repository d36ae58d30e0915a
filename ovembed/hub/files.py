"""Which of a model's files an export needs, which are missing, and which it does not read unasked.

Formats: modules.json of sentence-transformers (a list of {"type": "….Pooling", "path": "1_Pooling"}), and the
index of sharded weights ({"weight_map": {tensor: file}}). File names are relative to the model's folder, with "/".
"""

from __future__ import annotations

import fnmatch
import json
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from ovembed.errors import ExportError
from ovembed.hub.weights import index_of, is_pickle, pick_weights

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

MODULES = "modules.json"

_ROOT = PurePosixPath()
_WITH_WEIGHTS = {"Transformer", "Dense"}
_TEXTS = ("*.json", "*.txt", "*.model", "*.codes", "*.tiktoken")
_UNREAD_TEXTS = ("*.index.json", "trainer_state.json", "*_results.json", "openvino_*", "requirements.txt")


def modules_of(folder: Path) -> Mapping[PurePosixPath, str]:
    """The folder of each module, and its kind; the model's own folder where no (readable) list says otherwise.

    What is wrong with a list that cannot be read is for `read_recipe` to tell.
    """
    try:
        modules = json.loads((folder / MODULES).read_text(encoding="utf-8"))
        kinds = {PurePosixPath(module["path"]): str(module["type"]).rsplit(".", 1)[-1] for module in modules}
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        kinds = {}
    inside = {path: kind for path, kind in kinds.items() if not path.is_absolute() and ".." not in path.parts}
    return inside or {_ROOT: "Transformer"}


def needed_files(names: Iterable[str], modules: Iterable[PurePosixPath], *, trust_remote_code: bool) -> list[str]:
    """What an export reads of the files of a repository: texts first, weights last, each in one format."""
    folders = _by_folder(names)
    patterns = (*_TEXTS, "*.py") if trust_remote_code else _TEXTS
    texts = [
        str(folder / name)
        for folder in dict.fromkeys((_ROOT, *modules))
        for name in sorted(folders.get(folder, ()))
        if _matches(name, patterns) and not _matches(name, _UNREAD_TEXTS)
    ]
    indexes, weights = [], []
    for folder in modules:
        present = folders.get(folder, set())
        picked = pick_weights(present)
        weights += [str(folder / name) for name in picked]
        indexes += [str(folder / name) for name in sorted({index_of(name) for name in _shards(picked)} & present)]
    return texts + indexes + weights


def refuse_pickles(source: str, names: Iterable[str], modules: Iterable[PurePosixPath]) -> None:
    """Raises ExportError where weights come only in a format that can run code when it is read."""
    folders = _by_folder(names)
    for folder in modules:
        for name in pick_weights(folders.get(folder, ())):
            if is_pickle(name):
                raise ExportError(
                    f"{folder / name} of '{source}' can run code when it is read, and there is no safetensors file "
                    "beside it. Add --allow-pickle if you trust its author, or convert it to safetensors."
                )


def missing_file(folder: Path) -> str | None:
    """The first file that the model's own lists name and that is not there, as after a download that broke off."""
    modules = modules_of(folder)
    for path in modules:
        if modules[path] != "Normalize" and not (folder / path / "config.json").exists():
            return str(path / "config.json")
    for path in modules:
        if modules[path] in _WITH_WEIGHTS:
            missing = _missing_weights(folder / path)
            if missing is not None:
                return str(path / missing)
    return None


def names_in(folder: Path, modules: Iterable[PurePosixPath]) -> list[str]:
    """The files of the modules, as a repository's listing would name them."""
    return [path.relative_to(folder).as_posix() for module in modules for path in (folder / module).glob("*")]


def _missing_weights(folder: Path) -> str | None:
    picked = pick_weights(path.name for path in folder.glob("*"))
    if not picked:
        return "model.safetensors"
    shards = _shards(picked)
    if not shards:
        return None
    try:
        index = json.loads((folder / index_of(picked[0])).read_text(encoding="utf-8"))
        return next(iter(sorted(set(index["weight_map"].values()) - set(shards))), None)
    except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):
        return index_of(picked[0])


def _shards(weights: Iterable[str]) -> list[str]:
    return [name for name in weights if "-" in name]


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _by_folder(names: Iterable[str]) -> dict[PurePosixPath, set[str]]:
    folders: dict[PurePosixPath, set[str]] = {}
    for name in names:
        path = PurePosixPath(name)
        folders.setdefault(path.parent, set()).add(path.name)
    return folders
