"""The engine in this process as the backend: no second hop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ovembed.errors import EngineError
from ovembed.gateway.backend import Backend
from ovembed.serving.batcher import Batcher
from ovembed.serving.caveats import Caveats
from ovembed.serving.condition import Condition
from ovembed.serving.models import ServedModel

if TYPE_CHECKING:
    from ovembed.protocols import Embeddings
    from ovembed.serving.loading import LoadedModel
    from ovembed.wire import EmbeddingsRequest


class LocalBackend(Backend):
    def __init__(self, model: LoadedModel) -> None:
        self._condition = Condition(model.golden)
        self._batcher = Batcher(model.engine, max_batch_tokens=model.batch_tokens, observers=[self._condition])
        self._served = ServedModel(model.name, model.engine, self._batcher, model.created)
        self._caveats = Caveats()

    @property
    def about(self) -> str:
        return f"'{self._served.name}' in this process"

    async def embed(self, wanted: EmbeddingsRequest) -> Embeddings:
        return await self._served.embed(wanted)

    def caveats(self, wanted: EmbeddingsRequest, result: Embeddings) -> list[str]:
        return self._caveats.of(wanted, result, self._served.engine.spec.dimensions)

    async def check_ready(self) -> None:
        if not await self._condition.recovered(self._batcher):
            raise EngineError("A batch failed, and the golden text does not embed right since.")

    async def aclose(self) -> None:
        await asyncio.to_thread(self._batcher.close)
