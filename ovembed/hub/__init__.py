"""Models before their export: where their files are, and what those say."""

from ovembed.hub.recipe import DenseLayer, Found, Recipe, read_recipe
from ovembed.hub.source import DEFAULT_MODEL, SourceModel, find_source
from ovembed.hub.weights import weight_files, weights_sha256

__all__ = [
    "DEFAULT_MODEL",
    "DenseLayer",
    "Found",
    "Recipe",
    "SourceModel",
    "find_source",
    "read_recipe",
    "weight_files",
    "weights_sha256",
]
