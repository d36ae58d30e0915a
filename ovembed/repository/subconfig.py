"""subconfig.json beside a graph: the models that the graph brings with it. Only a classic graph has some."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ovembed.errors import RepositoryError
from ovembed.repository.graph import Servables

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FILE_NAME = "subconfig.json"


@dataclass(frozen=True, slots=True)
class Subconfig:
    """The two models of a classic graph, and where the encoder of the two runs."""

    servables: Servables
    target_device: str | None = None
    plugin_config: Mapping[str, str] = field(default_factory=dict)


def servables_of(name: str) -> Servables:
    """The names that OVMS's own exporter gives to the models behind the graph of that name."""
    return Servables(tokenizer=f"{name}_tokenizer_model", encoder=f"{name}_embeddings_model")


def render(subconfig: Subconfig | None) -> str:
    """The text of the file; None for a graph without models of its own.

    The folders are those of `layout`, relative to the file.
    """
    content = {"model_config_list": _entries(subconfig) if subconfig else []}
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def read(path: Path, servables: Servables) -> Subconfig:
    """What the file says of these two. Raises RepositoryError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        models = {entry["config"]["name"]: entry["config"] for entry in content["model_config_list"]}
        encoder = models[servables.encoder]
        plugin_config = {name: _text(value) for name, value in encoder.get("plugin_config", {}).items()}
    except OSError as error:
        raise RepositoryError(f"{path} cannot be read: {error.strerror}.") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RepositoryError(f"{path} does not define the model '{servables.encoder}' ({error!r}).") from error
    return Subconfig(servables, encoder.get("target_device"), plugin_config)


def _entries(subconfig: Subconfig) -> list[dict[str, Any]]:
    encoder: dict[str, Any] = {"name": subconfig.servables.encoder, "base_path": "embeddings"}
    if subconfig.target_device is not None:
        encoder["target_device"] = subconfig.target_device
    if subconfig.plugin_config:
        encoder["plugin_config"] = {name: _value(text) for name, text in subconfig.plugin_config.items()}
    return [{"config": {"name": subconfig.servables.tokenizer, "base_path": "tokenizer"}}, {"config": encoder}]


def _value(text: str) -> int | str:
    """The servers that read what we write here were shipped with integers in this place: {"NUM_STREAMS": 1}."""
    return int(text) if text.isdecimal() else text


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
