"""OVMS's configuration file (`--config_path`): which graphs it serves, and from where."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ovembed.errors import RepositoryError
from ovembed.repository.files import replace_file

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class ServingConfig:
    """Served name -> entry of each graph, in file order. `other` holds what belongs to somebody else.

    `model_config_list` is required by every OVMS version, even empty, so it is always written.
    """

    graphs: dict[str, dict[str, Any]]
    other: dict[str, Any]

    def base_path(self, name: str) -> str:
        """Relative to the folder of the file; the name itself where the entry does not say."""
        return str(self.graphs[name].get("base_path", name))

    def with_graph(self, name: str, base_path: str) -> ServingConfig:
        """Whatever else the entry of that name says is kept."""
        entry = self.graphs.get(name, {}) | {"name": name, "base_path": base_path}
        return ServingConfig(self.graphs | {name: entry}, self.other)

    def render(self) -> str:
        content = {"model_config_list": []} | self.other | {"mediapipe_config_list": list(self.graphs.values())}
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def read(path: Path) -> ServingConfig:
    """An empty config where there is no file. Raises RepositoryError for one that OVMS would not take."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        graphs = {str(entry["name"]): dict(entry) for entry in content.pop("mediapipe_config_list", [])}
    except (FileNotFoundError, NotADirectoryError):
        return ServingConfig({}, {})
    except OSError as error:
        raise RepositoryError(f"{path} cannot be read: {error.strerror}.") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RepositoryError(
            f"{path} is not an OVMS configuration ({error!r}). Mend it, or name another with --config."
        ) from error
    return ServingConfig(graphs, content)


def write(path: Path, config: ServingConfig) -> None:
    replace_file(path, config.render())
