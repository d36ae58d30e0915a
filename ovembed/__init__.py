"""From a Hugging Face embedding model to a fast, checked embedding service on OpenVINO.

from ovembed import open_embedder

with open_embedder("models/my-model") as embedder:
    vectors = embedder.embed(["a text"]).vectors
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ovembed.errors import OvembedError
    from ovembed.export import ExportRequest, export_model
    from ovembed.protocols import Embedder, Embeddings
    from ovembed.repository import ModelEntry, ModelRepository
    from ovembed.spec import ModelSpec
    from ovembed.targets import open_embedder

__version__ = "0.1.0"

# `import openvino` reports itself to an analytics service unless this package of its is missing. We phone no home.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None makes its import fail

# Loaded when first asked for, so that importing ovembed costs nothing.
_HOMES = {
    "Embedder": "ovembed.protocols",
    "Embeddings": "ovembed.protocols",
    "ExportRequest": "ovembed.export",
    "ModelEntry": "ovembed.repository",
    "ModelRepository": "ovembed.repository",
    "ModelSpec": "ovembed.spec",
    "OvembedError": "ovembed.errors",
    "export_model": "ovembed.export",
    "open_embedder": "ovembed.targets",
}

__all__ = [
    "Embedder",
    "Embeddings",
    "ExportRequest",
    "ModelEntry",
    "ModelRepository",
    "ModelSpec",
    "OvembedError",
    "__version__",
    "export_model",
    "open_embedder",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'ovembed' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)
