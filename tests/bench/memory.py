"""Does resident memory stay bounded while texts of ever new shapes come?"""

from __future__ import annotations

import multiprocessing
import random
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import TYPE_CHECKING

import psutil

from ovembed.engine import OpenVINOEngine
from tests.bench.report import Figure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ovembed import ModelEntry
    from tests.bench.material import Material

SHAPES = (100, 600)
MAX_COUNT, MAX_LENGTH, MAX_PADDED_TOKENS = 64, 256, 2048


def measure(material: Material) -> Iterator[Figure]:
    """Resident memory (MB) of a fresh process that runs the int8 model on random shapes, each once."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        loaded, few, many = process.submit(_resident_megabytes, material.model("int8")).result()
    yield Figure("resident memory, model loaded", loaded, ".0f", "MB")
    yield Figure(f"resident memory, {SHAPES[0]} shapes", few, ".0f", "MB")
    yield Figure(f"resident memory, {SHAPES[1]} shapes", many, ".0f", "MB")
    yield Figure(f"{SHAPES[1]} shapes / {SHAPES[0]} shapes", many / few, unit="x", at_most=1.5)


def _resident_megabytes(entry: ModelEntry) -> list[float]:
    """After loading, and after each number of SHAPES."""
    engine = OpenVINOEngine.load(entry)
    shapes = _distinct_shapes(SHAPES[-1])
    resident = [psutil.Process().memory_info().rss / 1e6]
    with ThreadPoolExecutor(engine.streams) as pool:
        for start, stop in zip((0, *SHAPES), SHAPES, strict=False):
            for _ in pool.map(engine.run, ([[1000] * length] * count for count, length in shapes[start:stop])):
                pass
            resident.append(psutil.Process().memory_info().rss / 1e6)
    return resident


def _distinct_shapes(number: int) -> list[tuple[int, int]]:
    chance = random.Random(7)
    shapes: dict[tuple[int, int], None] = {}
    while len(shapes) < number:
        length = chance.randint(3, MAX_LENGTH)
        shapes[chance.randint(1, min(MAX_COUNT, MAX_PADDED_TOKENS // length)), length] = None
    return list(shapes)
