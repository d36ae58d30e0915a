"""Programs against each other on one machine: every one in every round, so that disturbances hit all alike."""

from __future__ import annotations

import random
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ovembed.batches import padded_length
from ovembed.plans import plan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path

    from ovembed import ModelEntry
    from ovembed.engine import OpenVINOEngine
    from tests.bench.material import Material

ROUNDS = 5


@dataclass(frozen=True)
class Contestant:
    """Something that computes `tokens` real tokens, that is, without padding."""

    name: str
    tokens: int
    work: Callable[[], object]

    def speed(self) -> float:
        """Real tokens per second of one run."""
        began = time.perf_counter()
        self.work()
        return self.tokens / (time.perf_counter() - began)


def repeated(engine: OpenVINOEngine, pool: ThreadPoolExecutor, count: int, length: int, tokens: int) -> Contestant:
    """One shape of batch without padding, as often as makes about so many tokens."""
    work = [[[1000] * length] * count] * max(1, round(tokens / (count * length)))
    name = f"batches of {count}x{length}"
    return Contestant(name, len(work) * count * length, lambda: list(pool.map(engine.run, work)))


def unpadded(engine: OpenVINOEngine, pool: ThreadPoolExecutor, lengths: Sequence[int], budget: int) -> Contestant:
    """Batches of such lengths, each of one that needs no padding, about the average of its texts; nothing around it."""
    groups = [batch.positions for batch in plan(lengths, budget, engine.spec.max_tokens, packs=False)]
    means = [padded_length(round(np.mean([lengths[position] for position in group]))) for group in groups]
    work = [[[1000] * mean] * len(group) for group, mean in zip(groups, means, strict=True)]
    tokens = sum(len(group) * mean for group, mean in zip(groups, means, strict=True))
    return Contestant(f"unpadded batches of {budget}", tokens, lambda: list(pool.map(engine.run, work)))


def same_model(material: Material, entry: ModelEntry, folder: Path) -> Path:
    """The source's files and our IR in one folder, as sentence-transformers wants them."""
    shutil.copytree(material.source, folder, dirs_exist_ok=True)
    for path in entry.folder.glob("openvino_model.*"):
        shutil.copy(path, folder)
    return folder


def fastest(contestants: Sequence[Contestant], count: int) -> list[Contestant]:
    """So many of them, by one run each after one that warms up."""
    for contestant in contestants:
        contestant.work()
    return sorted(contestants, key=Contestant.speed, reverse=True)[:count]


def speeds_of(contestants: Sequence[Contestant]) -> dict[str, np.ndarray]:
    """Each contestant's speed in every round, in an order that changes, after one run that warms up."""
    for contestant in contestants:
        contestant.work()
    chance = random.Random(7)
    rounds = [{one.name: one.speed() for one in chance.sample(contestants, len(contestants))} for _ in range(ROUNDS)]
    return {one.name: np.array([speeds[one.name] for speeds in rounds]) for one in contestants}
