"""Does memory stay bounded while texts of ever new shapes come, and ever more lines?"""

from __future__ import annotations

import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from ovembed.engine import OpenVINOEngine
from tests.bench.report import Figure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ovembed import ModelEntry
    from tests.bench.material import Material

SHAPES = (100, 600)
MAX_COUNT, MAX_LENGTH, MAX_PADDED_TOKENS = 64, 256, 2048
FEW_LINES, MANY_LINES = 50_000, 1_000_000
WORDS_OF_A_LINE = 4


def measure(material: Material) -> Iterator[Figure]:
    yield from _of_shapes(material)
    yield from _of_lines(material)


def _of_shapes(material: Material) -> Iterator[Figure]:
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


def _of_lines(material: Material) -> Iterator[Figure]:
    """Peaks (MB) of whole processes that embed lines of a file with the full-int8 model."""
    entry = material.model("full-int8")
    words = [" ".join(sentence.split()[:WORDS_OF_A_LINE]) for sentence in material.sentences]
    with tempfile.TemporaryDirectory() as folder:
        few, many = (_peak_megabytes(entry, words, count, Path(folder)) for count in (FEW_LINES, MANY_LINES))
    yield Figure(f"peak memory, {FEW_LINES:,} lines", few, ".0f", "MB")
    yield Figure(f"peak memory, {MANY_LINES:,} lines", many, ".0f", "MB")
    yield Figure(f"{MANY_LINES:,} lines / {FEW_LINES:,} lines", many / few, unit="x", at_most=1.3)


def _peak_megabytes(entry: ModelEntry, lines: Sequence[str], count: int, folder: Path) -> float:
    source = folder / "lines.txt"
    with source.open("w", encoding="utf-8") as file:
        file.writelines(f"{lines[number % len(lines)]} {number}\n" for number in range(count))
    command = [sys.executable, "-m", "ovembed", "embed", str(source), "--model", str(entry.folder), "--force", "-q"]
    process = subprocess.Popen([*command, "-o", str(folder / "vectors.npy")])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit("the job failed")
    return usage.ru_maxrss * 1024 / 1e6
