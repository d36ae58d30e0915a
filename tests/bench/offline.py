"""`embed` from file to file against the best its model can do, and against others that hold all texts in memory."""

from __future__ import annotations

import io
import random
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ovembed import corpus
from ovembed.engine import OpenVINOEngine
from ovembed.targets import load_embedder
from tests.bench.contest import Contestant, fastest, repeated, same_model, speeds_of, unpadded
from tests.bench.material import sentence_transformer
from tests.bench.report import Figure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ovembed import ModelEntry
    from ovembed.protocols import Embedder
    from tests.bench.material import Material

BUDGETS = (256, 512, 1024, 2048)
COUNTS = (4, 8, 16, 32)
# Contestants for the ceiling that take part in every round; a trial leaves out the others.
CEILINGS = 3


@dataclass(frozen=True)
class Texts:
    """All different, since a job runs equal ones once. Others embed the first `few` of them, for they take longer.

    `length` is that of a batch like them. The goals: against sentence-transformers with torch, and against the programs
    with the same IR.
    """

    name: str
    texts: Sequence[str]
    few: int
    length: int
    against_torch: float
    against_same_ir: float


def measure(material: Material) -> Iterator[Figure]:
    """Real tokens per second of the full-int8 model, reading and writing included."""
    entry = material.model("full-int8")
    chance = random.Random(7)
    short = list(dict.fromkeys([*material.sentences, *_crossed(material.sentences, 9000, chance)]))
    mixed = [_passage(material.sentences, chance) for _ in range(2400)]
    yield from _speed(material, entry, Texts("short", short, 2000, 16, 8, 2))
    yield from _speed(material, entry, Texts("mixed", mixed, 200, 128, 8, 1.6))


def _crossed(sentences: Sequence[str], count: int, chance: random.Random) -> Iterator[str]:
    """New sentences: the first words of one and the last of another that is about as long."""
    by_length = sorted(sentences, key=lambda sentence: len(sentence.split()))
    for _ in range(count):
        at = chance.randrange(len(by_length) - 1)
        one, other = by_length[at].split(), by_length[at + 1].split()
        middle = chance.randint(1, len(one))
        yield " ".join([*one[:middle], *other[middle:]])


def _passage(sentences: Sequence[str], chance: random.Random) -> str:
    """5 to 350 words, log-normal around 90."""
    words: list[str] = []
    wanted = min(350, max(5, round(chance.lognormvariate(4.5, 0.8))))
    while len(words) < wanted:
        words += chance.choice(sentences).split()
    return " ".join(words[:wanted])


def _speed(material: Material, entry: ModelEntry, texts: Texts) -> Iterator[Figure]:
    """Medians of the rounds' ratios. Torch, which is slow, has every tenth text of the others."""
    engine = OpenVINOEngine.load(entry)  # for the ceilings
    lengths = [min(len(tokens), entry.spec.max_tokens) for tokens in engine.tokenize(texts.texts)]
    few, few_lengths = texts.texts[: texts.few], lengths[: texts.few]
    total = sum(few_lengths)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        pool = stack.enter_context(ThreadPoolExecutor(engine.streams))
        embedder = stack.enter_context(load_embedder(entry))
        ours = Contestant("embed", sum(lengths), _job(embedder, texts, folder))
        own_lengths = [unpadded(engine, pool, few_lengths, budget) for budget in BUDGETS]
        alike = [repeated(engine, pool, count, texts.length, total) for count in COUNTS]
        ceilings = fastest([*own_lengths, *alike], CEILINGS)
        same_ir = _same_ir(material, entry, few, total, folder)
        torch = sentence_transformer(material.source)
        slow = Contestant("sentence-transformers, torch", sum(few_lengths[::10]), lambda: torch.encode(list(few[::10])))
        speeds = speeds_of([ours, *ceilings, *same_ir, slow])
    ceiling = max((one.name for one in ceilings), key=lambda name: float(np.median(speeds[name])))

    def ratio(name: str) -> float:
        return float(np.median(speeds[ours.name] / speeds[name]))

    yield Figure(f"{texts.name}: share of the ceiling ({ceiling})", 100 * ratio(ceiling), ".0f", "%", at_least=85)
    yield Figure(f"{texts.name}: against {slow.name}", ratio(slow.name), unit="x", at_least=texts.against_torch)
    for other in same_ir:
        yield Figure(f"{texts.name}: against {other.name}", ratio(other.name), unit="x", at_least=texts.against_same_ir)
    yield Figure(
        f"{texts.name}: texts", len(lengths) / sum(lengths) * float(np.median(speeds[ours.name])), ",.0f", "texts/s"
    )
    restlessness = float(speeds[ceiling].max() / speeds[ceiling].min())
    yield Figure(f"{texts.name}: the ceiling's fastest round / slowest", restlessness, unit="x")


def _job(embedder: Embedder, texts: Texts, folder: Path) -> Callable[[], object]:
    source, output = folder / "texts.txt", folder / "vectors.npy"
    source.write_text("\n".join(texts.texts), encoding="utf-8")

    def run() -> None:
        entries = corpus.Inputs([str(source)], io.BytesIO()).entries()
        with corpus.open_writer(output, "npy", io.BytesIO(), force=True) as writer:
            corpus.embed_corpus(entries, embedder, writer, corpus.Options(truncate=True))

    return run


def _same_ir(material: Material, entry: ModelEntry, texts: Sequence[str], total: int, folder: Path) -> list[Contestant]:
    """openvino-genai takes part where it is installed: pip install openvino-genai."""
    openvino = sentence_transformer(same_model(material, entry, folder / "same"), backend="openvino")
    found = [
        Contestant("sentence-transformers, openvino, same IR", total, lambda: openvino.encode(list(texts))),
    ]
    try:
        from openvino_genai import TextEmbeddingPipeline
    except ImportError:
        return found
    pipeline = TextEmbeddingPipeline(
        str(entry.folder),
        "CPU",
        pooling_type=TextEmbeddingPipeline.PoolingType.MEAN,
        normalize=True,
        max_length=entry.spec.max_tokens,
    )

    def in_batches() -> None:
        for start in range(0, len(texts), 32):
            pipeline.embed_documents(list(texts[start : start + 32]))

    return [*found, Contestant("openvino-genai, batches of 32, same IR", total, in_batches)]
