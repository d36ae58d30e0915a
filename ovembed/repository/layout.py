"""Where the files of a model lie in its folder, and the ones among them that tell OVMS how to serve it.

classic   graph.pbtxt, subconfig.json, embeddings/1/model.xml, tokenizer/1/model.xml
ov        graph.pbtxt, openvino_model.xml, openvino_tokenizer.xml
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ovembed.errors import InputError
from ovembed.repository import graph, subconfig
from ovembed.repository.graph import Graph
from ovembed.repository.subconfig import Subconfig
from ovembed.repository.versions import SUPPORTED

if TYPE_CHECKING:
    from pathlib import Path

    from ovembed.repository.versions import Layout, OvmsVersion
    from ovembed.spec import ModelSpec

_ENCODER: dict[Layout, str] = {"classic": "embeddings/1/model.xml", "ov": "openvino_model.xml"}
_TOKENIZER: dict[Layout, str] = {"classic": "tokenizer/1/model.xml", "ov": "openvino_tokenizer.xml"}


@dataclass(frozen=True, slots=True)
class ServingOptions:
    """How a server is to run a model; none of it changes the vectors of texts that are short enough."""

    target_device: str = "CPU"
    num_streams: int = 1
    truncate: bool = False


def encoder(folder: Path, layout: Layout) -> Path:
    return folder / _ENCODER[layout]


def tokenizer(folder: Path, layout: Layout) -> Path:
    return folder / _TOKENIZER[layout]


def find_layout(folder: Path) -> Layout | None:
    """The layout whose graph and encoder the folder holds, whoever made it; None for neither."""
    if os.access(folder / graph.FILE_NAME, os.R_OK):
        for layout, path in _ENCODER.items():
            if os.access(folder / path, os.R_OK):
                return layout
    return None


def check_options(version: OvmsVersion, options: ServingOptions) -> None:
    """Raises InputError for what servers of that version will not do."""
    if options.truncate and not version.truncates:
        fact = "has no effect on" if "truncate" in version.graph_options else "is not known to"
        able = ", ".join(other.name for other in SUPPORTED if other.truncates)
        raise InputError(
            f"The graph option 'truncate' {fact} OVMS {version.name}: it refuses texts that are too long. "
            f"Leave out --truncate, or serve with one that cuts them: {able}."
        )


def write_serving_files(
    folder: Path, name: str, spec: ModelSpec, version: OvmsVersion, options: ServingOptions, *, pooled: bool
) -> None:
    """graph.pbtxt, and subconfig.json where the version wants it, for the model that is served by that name.

    `pooled` says that the model pools inside: its output (batch, tokens, dimensions) has the text's vector at the
    first token. It has to where not `version.pools(spec.pooling)`. Classic servers allot the output before the model
    runs, one row for each token, and fail on fewer. Everything that decides the vectors is written out, as OVMS's
    defaults differ between versions. Raises InputError as check_options does.
    """
    check_options(version, options)
    if not (pooled or version.pools(spec.pooling)):
        raise ValueError(f"OVMS {version.name} needs a model that does {spec.pooling} pooling itself. This is a bug.")
    plugin_config = {"NUM_STREAMS": str(options.num_streams)}
    models = None
    if version.layout == "classic":
        models = Subconfig(subconfig.servables_of(name), options.target_device, plugin_config)
        served = Graph(spec.normalize, servables=models.servables)
    else:
        served = Graph(
            normalize=spec.normalize,
            pooling=("cls" if pooled else spec.pooling) if "pooling" in version.graph_options else None,
            truncate=options.truncate,
            target_device=options.target_device,
            plugin_config=plugin_config,
        )
    (folder / graph.FILE_NAME).write_text(graph.render(served, version), encoding="utf-8")
    if version.subconfig:
        (folder / subconfig.FILE_NAME).write_text(subconfig.render(models), encoding="utf-8")


def read_serving(folder: Path) -> Graph:
    """What the folder tells OVMS; a classic graph's device and settings are those of its encoder.

    Raises RepositoryError.
    """
    served = graph.read(folder / graph.FILE_NAME)
    if served.servables is None:
        return served
    models = subconfig.read(folder / subconfig.FILE_NAME, served.servables)
    return replace(served, target_device=models.target_device, plugin_config=models.plugin_config)
