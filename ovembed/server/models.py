"""A model at service: what a request asks for, as Embeddings."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ovembed import admission, vectors
from ovembed.protocols import Embeddings

if TYPE_CHECKING:
    from ovembed.admission import Admitted
    from ovembed.protocols import Engine
    from ovembed.server.batcher import Batcher
    from ovembed.wire import EmbeddingsRequest

# Tokenizing this much text takes less time than handing it to another thread and back.
_INLINE_CHARACTERS = 2_000


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One loaded model and its queue; `name` is what clients call it."""

    name: str
    engine: Engine
    batcher: Batcher

    async def embed(self, request: EmbeddingsRequest) -> Embeddings:
        """Raises TextError or TextTooLong before any work, Overloaded when the queue is full."""
        admitted = await self._admit(request)
        rows = await asyncio.wrap_future(self.batcher.submit(admitted.tokens))
        lengths = tuple(map(len, admitted.tokens))
        return Embeddings(
            vectors=vectors.cut(rows, request.dimensions),
            tokens=lengths,
            total_tokens=sum(lengths),
            truncated=admitted.truncated,
            model=self.name,
            fingerprint=self.engine.spec.fingerprint,
        )

    async def _admit(self, request: EmbeddingsRequest) -> Admitted:
        if request.texts is None:
            return admission.admit_tokens(self.engine, request.token_lists or [], truncate=request.truncate)
        if sum(map(len, request.texts)) <= _INLINE_CHARACTERS:
            return admission.admit_texts(self.engine, request.texts, truncate=request.truncate)
        return await asyncio.to_thread(admission.admit_texts, self.engine, request.texts, truncate=request.truncate)
