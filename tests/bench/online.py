"""The server under load, against the ceiling, against Infinity, and against one inference for each request."""

from __future__ import annotations

import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ovembed.bench import Load, LoadResult, find_ceiling, make_texts, run_load
from ovembed.engine import OpenVINOEngine
from tests.bench import peers
from tests.bench.contest import unpadded
from tests.bench.report import Figure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ovembed.bench import Ceiling
    from ovembed.protocols import Engine
    from tests.bench.material import Material

SECONDS = 6.0
CROWD, CROWD_BASE64 = Load(64, seconds=SECONDS), Load(64, encoding="base64", seconds=SECONDS)
LISTS, ALONE = Load(4, 32, seconds=SECONDS), Load(1, seconds=SECONDS)
LONGEST = 512


def measure(material: Material) -> Iterator[Figure]:
    """MiniLM in full int8. Every server runs its loads while the others idle, with the load's client on its cores."""
    short = make_texts("short", 3000)
    entry = material.model("full-int8")
    engine = OpenVINOEngine.load(entry)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url, _ = stack.enter_context(peers.ours(entry, folder))
        plain = stack.enter_context(peers.one_by_one(entry, folder))
        infinity = stack.enter_context(peers.infinity(material.source, material.venv("infinity")))
        before = _ceiling(engine, short)
        ours = {load: run_load(url, short, load) for load in (CROWD, CROWD_BASE64, LISTS, ALONE)}
        after = _ceiling(engine, short)
        theirs = {load: run_load(plain, short, load) for load in (CROWD, LISTS, ALONE)}
        peer = {load: run_load(infinity, short, load, model="peer") for load in (CROWD, LISTS)} if infinity else {}
    ceiling = (before.tokens_per_s + after.tokens_per_s) / 2
    yield Figure(f"the ceiling, {before.count} x {before.length}", ceiling / 1000, ".1f", "k tok/s")
    yield Figure(
        "the ceiling after / before (the machine was busy if far from 1)", after.tokens_per_s / before.tokens_per_s
    )
    yield from _crowd(ours, ceiling)
    for name, others in (("one inference for each request", theirs), ("Infinity", peer)):
        for load, result in others.items():
            faster = ours[load].texts_per_s / result.texts_per_s
            goal = 10.0 if name == "Infinity" and load is CROWD else None
            yield Figure(f"{_name(load)}: texts/s against {name}", faster, unit="x", at_least=goal)
    if not peer:
        yield Figure("Infinity could not be installed or started here; times measured", 0, ".0f")
    direct = _direct_ms(engine, short[:300])
    alone = ours[ALONE].latency_ms(50)
    yield Figure("1 x 1: p50 / tokenizing and inference called directly", alone / direct, unit="x", at_most=1.5)
    yield from _mixed_with_long(material)
    yield from _large_model(material)


def _crowd(ours: dict[Load, LoadResult], ceiling: float) -> Iterator[Figure]:
    for load, goal in ((CROWD, 50), (CROWD_BASE64, 55), (LISTS, 65), (ALONE, None)):
        result = ours[load]
        yield Figure(f"{_name(load)}: texts/s", result.texts_per_s, ",.0f")
        yield Figure(f"{_name(load)}: latency p50", result.latency_ms(50), ".1f", "ms")
        share = 100 * result.tokens_per_s / ceiling
        yield Figure(f"{_name(load)}: share of the ceiling", share, ".0f", "%", at_least=goal)
        yield Figure(f"{_name(load)}: requests refused or lost", sum(result.refused.values()), ".0f", at_most=0)
    crowd = ours[CROWD]
    yield Figure(f"{_name(CROWD)}: p99 / p50", crowd.latency_ms(99) / crowd.latency_ms(50), unit="x", at_most=2)


def _mixed_with_long(material: Material) -> Iterator[Figure]:
    """Half of 64 clients send texts of 512 tokens, half short ones."""
    entry = material.model("full-int8", max_tokens=LONGEST)
    engine = OpenVINOEngine.load(entry)
    long = [" ".join(["word"] * (LONGEST - 2))] * 32
    half = Load(32, seconds=SECONDS)
    with tempfile.TemporaryDirectory() as folder, peers.ours(entry, Path(folder)) as (url, _):
        with ThreadPoolExecutor(2) as clients:
            slow = clients.submit(run_load, url, long, half)
            quick = clients.submit(run_load, url, make_texts("short", 1000), half)
            short, whole = quick.result(), slow.result()
        full_ms = _full_batch_ms(engine)
    yield Figure("512 tokens and short, 64 clients: short texts/s", short.texts_per_s, ",.0f")
    yield Figure("512 tokens and short, 64 clients: long texts/s", whole.texts_per_s, ",.0f")
    yield Figure("time of a batch of 512 tokens, all streams busy", full_ms, ".1f", "ms")
    yield Figure("p99 of short texts / time of that batch", short.latency_ms(99) / full_ms, unit="x", at_most=3)


def _large_model(material: Material) -> Iterator[Figure]:
    """A BERT of 12 layers and 768 dimensions, whose arithmetic outweighs everything around it."""
    entry = material.base_sized()
    engine = OpenVINOEngine.load(entry)
    texts = make_texts("mixed", 600)
    before = _ceiling(engine, texts)
    with tempfile.TemporaryDirectory() as folder, peers.ours(entry, Path(folder)) as (url, _):
        result = run_load(url, texts, Load(16, seconds=15, warmup_s=5))
    after = _ceiling(engine, texts)
    share = 200 * result.tokens_per_s / (before.tokens_per_s + after.tokens_per_s)
    yield Figure("12 x 768, 16 clients, mixed: share of the ceiling", share, ".0f", "%", at_least=85)
    lengths = [min(len(tokens), engine.spec.max_tokens) for tokens in engine.tokenize(texts[:150])]
    with ThreadPoolExecutor(engine.streams) as pool:
        own_lengths = unpadded(engine, pool, lengths, LONGEST)
        share = 100 * result.tokens_per_s / statistics.median(own_lengths.speed() for _ in range(3))
    yield Figure("12 x 768: share of full batches without padding of texts as long as these", share, ".0f", "%")
    yield Figure("12 x 768: the ceiling after / before", after.tokens_per_s / before.tokens_per_s)


def _ceiling(engine: Engine, texts: Sequence[str]) -> Ceiling:
    lengths = [min(len(tokens), engine.spec.max_tokens) for tokens in engine.tokenize(texts)]
    return find_ceiling(engine, lengths)


def _direct_ms(engine: Engine, texts: Sequence[str]) -> float:
    """Median of one text at a time, after one round that makes the kernels."""
    times = []
    for _ in range(2):
        times.clear()
        for text in texts:
            began = time.perf_counter()
            engine.run(engine.tokenize([text]))
            times.append(1000 * (time.perf_counter() - began))
    return float(np.median(times))


def _full_batch_ms(engine: Engine) -> float:
    batch, times = [[1000] * LONGEST], []
    with ThreadPoolExecutor(engine.streams) as workers:

        def run(_: int) -> None:
            began = time.perf_counter()
            engine.run(batch)
            times.append(1000 * (time.perf_counter() - began))

        for _ in workers.map(run, range(40)):
            pass
    return float(np.median(times))


def _name(load: Load) -> str:
    return f"{load.connections} x {load.texts_per_request}{' base64' if load.encoding == 'base64' else ''}"
