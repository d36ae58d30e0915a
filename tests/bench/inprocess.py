"""LocalEmbedder's speed against the best its compiled model can do, and against sentence-transformers."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ovembed.engine import EngineSettings
from ovembed.local import LocalEmbedder
from ovembed.packed import load_engine
from ovembed.plans import DEFAULT_BATCH_TOKENS, plan
from tests.bench.contest import Contestant, repeated, same_model, speeds_of
from tests.bench.material import sentence_transformer
from tests.bench.report import Figure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.material import Material

BUDGETS = sorted({256, 512, 1024, 2048, DEFAULT_BATCH_TOKENS})
# Texts and tokens of each batch that is tried for the ceiling.
SHAPES = (
    *((1, 16), (4, 16), (8, 16), (16, 16), (32, 16), (64, 16)),
    *((4, 32), (8, 32), (16, 32), (32, 32)),
    *((4, 64), (8, 64), (4, 128), (8, 128), (32, 128)),
)


def measure(material: Material) -> Iterator[Figure]:
    """Real tokens per second of the int8 model on the sentences, compared.

    Every round lets each contestant run once, so that other programs on the machine disturb all alike; a ratio
    is the median of the rounds' ratios. All are warm but the first pass, which is of a model just compiled. The
    ceiling is the fastest shape of batch (by median), run without padding or tokenizing by as many threads as
    the engine has streams. Torch, which is slow, has every tenth sentence.
    """
    sentences = material.sentences
    engine = load_engine(material.model("int8"), EngineSettings())
    lengths = [len(tokens) for tokens in engine.tokenize(sentences)]
    total = sum(lengths)
    some, some_total = sentences[::10], sum(lengths[::10])

    with ExitStack() as stack:
        ours = []
        for budget in BUDGETS:
            embedder = stack.enter_context(LocalEmbedder(engine, "", max_batch_tokens=budget))
            ours.append(Contestant(f"batches of {budget} tokens", total, lambda e=embedder: e.embed(sentences)))
        default = ours[BUDGETS.index(DEFAULT_BATCH_TOKENS)]
        first_pass = default.speed()
        pool = stack.enter_context(ThreadPoolExecutor(engine.streams))
        shapes = [repeated(engine, pool, count, length, total // 2) for count, length in SHAPES]
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        openvino = sentence_transformer(same_model(material, material.model("int8"), folder), backend="openvino")
        torch = sentence_transformer(material.source)
        others = [
            Contestant("sentence-transformers, openvino, same IR", total, lambda: openvino.encode(sentences)),
            Contestant("sentence-transformers, torch", some_total, lambda: torch.encode(some)),
        ]
        speeds = speeds_of([*ours, *shapes, *others])

    medians = {name: float(np.median(values)) for name, values in speeds.items()}
    ceiling = max((shape.name for shape in shapes), key=medians.__getitem__)
    best = max((budget.name for budget in ours), key=medians.__getitem__)

    def ratio(name: str, other: str) -> float:
        return float(np.median(speeds[name] / speeds[other]))

    yield Figure(f"share of the ceiling ({ceiling})", 100 * ratio(default.name, ceiling), ".0f", "%", at_least=75)
    yield Figure("share of the ceiling, first pass", 100 * first_pass / medians[ceiling], ".0f", "%")
    for other, goal in zip(others, (1.8, None), strict=True):
        yield Figure(f"speed against {other.name}", ratio(default.name, other.name), unit="x", at_least=goal)
    for budget in ours:
        what = f"share of the ceiling, {budget.name}{' (the default)' if budget is default else ''}"
        yield Figure(what, 100 * ratio(budget.name, ceiling), ".0f", "%")
    yield Figure(f"the default against the best ({best})", ratio(default.name, best), unit="x", at_least=0.95)
    planned = plan(lengths, DEFAULT_BATCH_TOKENS, engine.spec.max_tokens, packs=engine.packs)
    yield Figure("computed tokens / real tokens", sum(batch.layout.tokens for batch in planned) / total, unit="x")
    yield Figure("the ceiling", medians[ceiling] / 1000, ".1f", "k tok/s")
    restlessness = float(speeds[ceiling].max() / speeds[ceiling].min())
    yield Figure("the ceiling's fastest round / slowest (the machine was busy if >> 1)", restlessness, unit="x")
