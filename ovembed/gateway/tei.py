"""Text Embeddings Inference as the backend, and whatever speaks its dialect.

Format: router/src/http of https://github.com/huggingface/text-embeddings-inference. It tokenizes again what ids stand
for, so they need no check.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import orjson

from ovembed import wire
from ovembed.errors import EndpointError, EndpointLost, EndpointRefused, EndpointTimeout, RequestError
from ovembed.gateway.backend import Backend, cut
from ovembed.remote.dialects import TEI, TEI_ROUTE
from ovembed.remote.embedder import joined

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ovembed.errors import OvembedError
    from ovembed.gateway.upstream import Upstream
    from ovembed.protocols import Embeddings, Tokens
    from ovembed.wire import EmbeddingsRequest

# Its words for a request that it will never take: too long, empty, more inputs than it allows.
_OBJECTIONS = (
    httpx.codes.BAD_REQUEST,
    httpx.codes.REQUEST_ENTITY_TOO_LARGE,
    httpx.codes.UNPROCESSABLE_ENTITY,
)


class TeiBackend(Backend):
    """`model` is the name to reply with; None takes the one that the backend states."""

    def __init__(self, upstream: Upstream, model: str | None) -> None:
        self._upstream = upstream
        self._model = model
        self._dialect = TEI("")
        self._info: dict[str, Any] | None = None

    @property
    def about(self) -> str:
        return self._upstream.base

    async def embed(self, wanted: EmbeddingsRequest) -> Embeddings:
        """More inputs than the backend takes at once are sent in parts, one after the other."""
        inputs: Sequence[str] | Sequence[Tokens] = wanted.texts or wanted.token_lists or []
        info = await self._known_info()
        size = info.get("max_client_batch_size") or len(inputs)
        parts = [await self._embed(inputs[start : start + size]) for start in range(0, len(inputs), size)]
        result = joined(parts, self._model or str(info.get("model_id") or ""))
        return replace(result, vectors=cut(result.vectors, wanted))

    async def check_ready(self) -> None:
        await self._upstream.get("/health")

    async def aclose(self) -> None:
        await self._upstream.aclose()

    async def _known_info(self) -> dict[str, Any]:
        """What the backend says of itself, asked once; nothing where it has no such route."""
        if self._info is None:
            try:
                self._info = wire.parse_object((await self._upstream.get("/info")).content)
            except (EndpointRefused, EndpointTimeout, EndpointLost):
                raise
            except (EndpointError, RequestError):
                self._info = {}
        return self._info

    async def _embed(self, inputs: Sequence[str] | Sequence[Tokens]) -> Embeddings:
        reply = await self._upstream.post(TEI_ROUTE, orjson.dumps({"inputs": inputs}))
        return self._dialect.parse(reply, expected=len(inputs), model="")


def own_error(status: int, message: str) -> OvembedError | None:
    """What TEI means by an answer; None where the status says it all."""
    return RequestError(message, param="input") if status in _OBJECTIONS else None
