"""Does the server's memory stay bounded under texts of every length, and is every request answered?"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from ovembed.bench import Load, run_load
from tests.bench import peers
from tests.bench.report import Figure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.material import Material

FIRST, ALL, CLIENTS = 5_000, 50_000, 16
STRETCH_S = 10.0


def measure(material: Material) -> Iterator[Figure]:
    """Resident memory (MB) after the first requests and at the end. All clients leave and come back many times."""
    chance = random.Random(11)
    texts = [" ".join(["word"] * round(chance.uniform(1.1, 14) ** 2)) for _ in range(3000)]
    chance.shuffle(texts)
    answered = refused = 0
    resident: list[float] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        peers.ours(material.model("full-int8"), Path(folder)) as (url, process),
    ):
        while answered < ALL:
            result = run_load(url, texts, Load(CLIENTS, seconds=STRETCH_S, warmup_s=0))
            answered += len(result.latencies_s)
            refused += sum(result.refused.values())
            if answered >= FIRST:
                resident.append(psutil.Process(process).memory_info().rss / 1e6)
    yield Figure("requests answered", answered, ",.0f", at_least=ALL)
    yield Figure("requests refused or lost", refused, ".0f", at_most=0)
    yield Figure(f"resident memory after {FIRST} requests", resident[0], ".0f", "MB")
    yield Figure("resident memory at the end", resident[-1], ".0f", "MB")
    yield Figure("growth", resident[-1] / resident[0], unit="x", at_most=1.1)
