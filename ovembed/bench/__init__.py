"""How fast a model runs in this process, how fast a server answers, and how near both come to the ceiling."""

from ovembed.bench.ceiling import Ceiling, find_ceiling
from ovembed.bench.inprocess import InProcess, measure_model
from ovembed.bench.load import Load, LoadResult, run_load
from ovembed.bench.texts import TextKind, make_texts

__all__ = [
    "Ceiling",
    "InProcess",
    "Load",
    "LoadResult",
    "TextKind",
    "find_ceiling",
    "make_texts",
    "measure_model",
    "run_load",
]
