"""Exact search among the vectors of an output file: many queries to an index, or one in a single pass."""

from ovembed.search.index import Hit, VectorIndex, nearest_once, space_warning

__all__ = ["Hit", "VectorIndex", "nearest_once", "space_warning"]
