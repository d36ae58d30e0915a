"""An engine that computes: rows derive from the token ids, so a row in the wrong place shows."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np

from ovembed import vectors
from ovembed.protocols import TokenSpans
from ovembed.repository import Decision, Efficiency, Fidelity, ModelEntry
from ovembed.spec import ModelSpec

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ovembed.batches import Layout
    from ovembed.protocols import Tokens, Vectors


def make_spec(**changes: object) -> ModelSpec:
    settings: dict[str, object] = {
        "source": "fake",
        "revision": None,
        "weights_sha256": "0" * 64,
        "precision": "fp32",
        "calibration_sha256": None,
        "pooling": "mean",
        "normalize": True,
        "max_tokens": 16,
        "dimensions": 8,
        "prompts": {},
        "default_prompt": None,
    }
    return ModelSpec(**(settings | changes))  # type: ignore[arg-type]


def make_entry(folder: Path, name: str = "fake", **changes: object) -> ModelEntry:
    """An entry for that folder, with a spec of those changes; nothing is written."""
    return ModelEntry(
        name=name,
        folder=folder,
        spec=make_spec(**changes),
        pooled=False,
        fast_tokenizer=True,
        ovms_version="2026.3",
        decisions=(Decision("pooling", "mean", "1_Pooling/config.json"),),
        fidelity=Fidelity(
            texts=32, mean=0.9995, first_percentile=0.9985, minimum=0.998, neighbours=0.97, batch_minimum=0.9998
        ),
        efficiency=Efficiency(tokens_per_s=25000.0, speedup=1.8, size_ratio=0.26),
        tried=(),
        versions={"openvino": "2026.4.0"},
    )


class FakeEngine:
    """Tokens are the text's UTF-8 bytes between id 1 and id 2; a row is made from the ids alone.

    `batches` records what was run. `gate`, when cleared, holds every batch until it is set; `started` is set
    when one arrives. `fault` is raised by `run` while it is set.
    """

    vocabulary_size = 256
    closing_tokens = 1

    def __init__(self, spec: ModelSpec | None = None, *, streams: int = 1, packs: bool = False) -> None:
        self.spec = spec or make_spec()
        self.streams = streams
        self.packs = packs
        self.batches: list[list[Tokens]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.started = threading.Event()
        self.fault: Exception | None = None

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        return [[1, *text.encode(), 2] for text in texts]

    def spans(self, text: str) -> TokenSpans:
        """Every byte of a character has its span; blanks begin words."""
        spans = [(place, place + 1) for place, character in enumerate(text) for _ in character.encode()]
        words = np.cumsum([character.isspace() for character in text]).tolist()
        return TokenSpans(spans, [words[start] for start, _ in spans], len(spans) + 2)

    def run(self, batch: Sequence[Sequence[int]], layout: Layout | None = None) -> Vectors:
        self.batches.append([list(tokens) for tokens in batch])
        self.started.set()
        assert self.gate.wait(timeout=30), "nobody opened the gate"
        if self.fault is not None:
            raise self.fault
        return np.stack([self.row(tokens) for tokens in batch])

    def row(self, tokens: Sequence[int]) -> Vectors:
        """The vector of one token list: unit length, float32 (dimensions,)."""
        seed = np.array([*tokens, len(tokens)], dtype=np.float64)
        waves = np.sin(np.outer(np.arange(1, self.spec.dimensions + 1), seed + 1.0)).sum(axis=1)
        return vectors.normalize(waves[None].astype(np.float32))[0]
