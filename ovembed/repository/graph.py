"""graph.pbtxt: the MediaPipe graph that makes OVMS answer embedding requests with a model.

Two calculators do it. `EmbeddingsCalculator` (the classic layout, OVMS 2025.0 to 2025.3) takes the encoder and the
tokenizer from two servables that subconfig.json defines; `EmbeddingsCalculatorOV` (from 2025.2) loads both itself.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ovembed.errors import InputError, RepositoryError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ovembed.repository.versions import Layout, OvmsVersion
    from ovembed.spec import Pooling

FILE_NAME = "graph.pbtxt"

# A comment to protobuf; OVMS looks for it in the text and keeps started graphs between requests.
_GRAPH_POOL = "# OVMS_GRAPH_QUEUE_MAX_SIZE: AUTO\n"


@dataclass(frozen=True, slots=True)
class Servables:
    """The names of the two models behind a classic graph."""

    tokenizer: str
    encoder: str


@dataclass(frozen=True, slots=True)
class Graph:
    """What a graph tells the server; None and empty where it leaves the choice to OVMS's default.

    Only a classic graph has `servables`, and it says `normalize` besides them and nothing else.
    """

    normalize: bool
    pooling: Pooling | None = None
    truncate: bool = False
    target_device: str | None = None
    plugin_config: Mapping[str, str] = field(default_factory=dict)
    models_path: str = "./"
    servables: Servables | None = None

    @property
    def layout(self) -> Layout:
        return "classic" if self.servables else "ov"

    def options(self) -> dict[str, Any]:
        """What is said, by the names that OVMS's calculators have for their options."""
        said: dict[str, Any] = {"normalize_embeddings": self.normalize}
        if not self.servables:
            said["models_path"] = self.models_path
        if self.pooling is not None:
            said["pooling"] = self.pooling.upper()
        if self.truncate:
            said["truncate"] = True
        if self.target_device is not None:
            said["target_device"] = self.target_device
        if self.plugin_config:
            said["plugin_config"] = json.dumps(dict(self.plugin_config), ensure_ascii=False)
        return said


def render(graph: Graph, version: OvmsVersion) -> str:
    """The text of the file. Raises InputError for what that version's graphs cannot say."""
    from ovembed.repository import pbtxt  # noqa: PLC0415  protobuf loads when a graph is met

    if graph.layout != version.layout:
        raise InputError(f"A graph of the {graph.layout} layout is not for OVMS {version.name}.")
    for option in graph.options():
        if option not in version.graph_options:
            raise InputError(f"OVMS {version.name} has no graph option '{option}'.")
    if graph.pooling is not None and not version.pools(graph.pooling):
        raise InputError(f"The graph option 'pooling' of OVMS {version.name} does not know '{graph.pooling}'.")
    return (_GRAPH_POOL if version.graph_pool else "") + pbtxt.write(graph)


def parse(text: str, origin: object = FILE_NAME) -> Graph:
    """The inverse of render. Raises RepositoryError, in which `origin` names the text, for any other graph.

    What we have no use for is passed over, in graphs made by others too.
    """
    from ovembed.repository import pbtxt  # noqa: PLC0415

    try:
        graph = pbtxt.read(text)
    except (TypeError, ValueError) as error:
        raise RepositoryError(f"{origin} is not a graph for embeddings: {error}") from error
    if graph is None:
        raise RepositoryError(f"{origin} is not a graph for embeddings: it has none of their calculators.")
    return graph


def read(path: Path) -> Graph:
    """Raises RepositoryError."""
    try:
        return parse(path.read_text(encoding="utf-8"), path)
    except OSError as error:
        raise RepositoryError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise RepositoryError(f"{path} is not a graph for embeddings: it is no UTF-8 text.") from error
