"""LocalEmbedder: an engine in this process, fed by batches that are planned for all texts of a call."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from ovembed import admission
from ovembed.plans import DEFAULT_BATCH_TOKENS, Batch, plan
from ovembed.protocols import Embedder, Embeddings, TokenSpans

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ovembed.protocols import Engine


class LocalEmbedder(Embedder):
    """An Embedder over an engine; `max_batch_tokens` bounds the padded tokens of each batch."""

    def __init__(self, engine: Engine, name: str, *, max_batch_tokens: int = DEFAULT_BATCH_TOKENS) -> None:
        self.engine = engine
        self.name = name
        self._max_batch_tokens = max_batch_tokens
        self._workers = ThreadPoolExecutor(engine.streams, thread_name_prefix="embed")
        self._tokenizers = ThreadPoolExecutor(thread_name_prefix="tokenize")

    def embed(self, texts: Sequence[str], *, truncate: bool = False) -> Embeddings:
        # Not in the caller's thread: native code that still runs in a daemon thread would abort a program that ends.
        admitted = self._tokenizers.submit(admission.admit_texts, self.engine, texts, truncate=truncate).result()
        lengths = [len(tokens) for tokens in admitted.tokens]
        vectors = np.empty((len(texts), self.engine.spec.dimensions), dtype=np.float32)
        batches = plan(lengths, self._max_batch_tokens, self.engine.spec.max_tokens, packs=self.engine.packs)

        def run(batch: Batch) -> None:
            rows = self.engine.run([admitted.tokens[position] for position in batch.positions], batch.layout)
            for position, row in zip(batch.positions, rows, strict=True):
                vectors[position] = row

        for _ in self._workers.map(run, batches):
            pass
        return Embeddings(
            vectors=vectors,
            tokens=tuple(lengths),
            total_tokens=sum(lengths),
            truncated=admitted.truncated,
            model=self.name,
            fingerprint=self.engine.spec.fingerprint,
            computed_tokens=sum(batch.layout.tokens for batch in batches),
        )

    def prompt(self, name: str | None = None) -> str:
        return self.engine.spec.prompt(name)

    def query_prompt(self) -> str:
        return self.engine.spec.query_prompt

    def spans(self, text: str, *, prompt: str = "") -> TokenSpans:
        found = self._tokenizers.submit(self.engine.spans, prompt + text).result()
        before = sum(stop <= len(prompt) for _, stop in found.spans)
        shifted = [(max(0, start - len(prompt)), stop - len(prompt)) for start, stop in found.spans[before:]]
        return TokenSpans(shifted, found.words[before:], found.total)

    def close(self) -> None:
        """Waits for the batches at work, and for texts that are being tokenized; calls not done by then fail."""
        self._tokenizers.shutdown(cancel_futures=True)
        self._workers.shutdown(cancel_futures=True)
