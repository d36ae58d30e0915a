"""OVMS's configuration file (`--config_path`): which graphs it serves, and from where."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ovembed.errors import ConfigInvalid, RepositoryError
from ovembed.repository import graph
from ovembed.repository.files import replace_file

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

_GRAPHS = "mediapipe_config_list"
_MODELS = "model_config_list"


@dataclass(frozen=True, slots=True)
class ServingConfig:
    """Served name -> entry of each graph, in file order. `other` holds what belongs to somebody else.

    From OVMS 2025.1 on, an entry of the list of models is a graph too if its folder holds one. Such entries are in
    `among_models` (and stay in `other`). The list of models is required by every version, even empty, so it is
    always written.
    """

    graphs: dict[str, dict[str, Any]]
    other: dict[str, Any]
    among_models: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Of all graphs, each once."""
        return list(self.graphs | self.among_models)

    def base_path(self, name: str) -> str:
        """Relative to the folder of the file; the name itself where the entry does not say."""
        return str((self.among_models | self.graphs)[name].get("base_path", name))

    def lists(self, name: str) -> bool:
        """Whether an entry has that name, be it a graph's or a model's; OVMS serves one of a name."""
        return name in self.graphs or any(_name(entry) == name for entry in self.other.get(_MODELS, []))

    def with_graph(self, name: str, base_path: str) -> ServingConfig:
        """Whatever else the entry of that name says is kept; a graph listed among the models stays there."""
        if name in self.among_models and name not in self.graphs:
            return self._with_model_at(name, base_path)
        entry = self.graphs.get(name, {}) | {"name": name, "base_path": base_path}
        return replace(self, graphs=self.graphs | {name: entry})

    def without(self, name: str) -> ServingConfig:
        """Neither list names it any more."""
        models = [entry for entry in self.other.get(_MODELS, []) if _name(entry) != name]
        return ServingConfig(
            {other: entry for other, entry in self.graphs.items() if other != name},
            self.other | {_MODELS: models},
            {other: entry for other, entry in self.among_models.items() if other != name},
        )

    def with_classic_first(self, classic: Collection[str]) -> ServingConfig:
        """The classic graphs before the others, otherwise in the order they have.

        Where an OV graph has no subconfig.json, OVMS up to 2025.3 takes the model's own config.json for it, fails,
        and leaves the models behind the graphs that follow unloaded.
        """
        return replace(self, graphs=dict(sorted(self.graphs.items(), key=lambda item: item[0] not in classic)))

    def render(self) -> str:
        content = {_MODELS: []} | self.other | {_GRAPHS: list(self.graphs.values())}
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"

    def _with_model_at(self, name: str, base_path: str) -> ServingConfig:
        moved = self.among_models[name] | {"base_path": base_path}
        models = [entry | {"config": moved} if _name(entry) == name else entry for entry in self.other[_MODELS]]
        return replace(self, other=self.other | {_MODELS: models}, among_models=self.among_models | {name: moved})


def read(path: Path) -> ServingConfig:
    """An empty config where there is no file. Raises RepositoryError; ConfigInvalid if OVMS would not take it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        graphs = {str(entry["name"]): dict(entry) for entry in content.pop(_GRAPHS, [])}
        models = {_name(entry): dict(entry["config"]) for entry in content.get(_MODELS, [])}
    except (FileNotFoundError, NotADirectoryError):
        return ServingConfig({}, {})
    except OSError as error:
        raise RepositoryError(f"{path} cannot be read: {error.strerror}.") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = str(error) if isinstance(error, ValueError) else "not an object with lists of named entries"
        raise ConfigInvalid(
            f"{path} is not an OVMS configuration ({reason}). Mend it, or name another with --config."
        ) from error
    return ServingConfig(graphs, content, {name: entry for name, entry in models.items() if _is_graph(path, entry)})


def write(path: Path, config: ServingConfig) -> None:
    replace_file(path, config.render())


def _name(entry: dict[str, Any]) -> str:
    return str(entry["config"]["name"])


def _is_graph(path: Path, entry: dict[str, Any]) -> bool:
    """False too where the folder cannot be looked into; it may be one of another machine, or in the cloud."""
    folder = path.parent / str(entry.get("base_path", entry["name"]))
    return os.access(folder / graph.FILE_NAME, os.R_OK)
