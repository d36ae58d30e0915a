"""OpenVINO Model Server as the backend, any version from 2025.0 on, and whatever speaks its dialect.

Statuses and texts: src/http_rest_api_handler.cpp, src/http_server.cpp and src/embeddings of
https://github.com/openvinotoolkit/model_server. Vectors are asked for as base64 whatever the client wants: that is a
quarter of the bytes of the numbers as text, and reading those takes longer than writing them anew.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx

from ovembed import wire
from ovembed.errors import ModelUnready, RequestError
from ovembed.gateway.backend import Backend, cut
from ovembed.gateway.token_ids import TokenIdCheck

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ovembed.errors import OvembedError
    from ovembed.gateway.upstream import Upstream
    from ovembed.protocols import Embeddings, Tokens
    from ovembed.wire import EmbeddingsRequest

# Models that are missing, gone or not loaded yet; OVMS answers before it has read its configuration.
_NOT_THERE = re.compile(
    r"Mediapipe (graph definition|is retired|is not loaded|graph precondition)|Model with requested"
)
_TOO_LONG = re.compile(r"Input length (?P<length>\d+) longer than allowed (?P<limit>\d+)")
# What a calculator objects to stands behind the name of its node.
_OBJECTION = re.compile(r'" failed: (?P<objection>.+)$')


class OvmsBackend(Backend):
    """`model` is the name of the graph. Unless `trust_token_ids`, ids are embedded only after a check."""

    def __init__(self, upstream: Upstream, model: str, *, trust_token_ids: bool = False) -> None:
        self._upstream = upstream
        self._model = model
        self._token_ids = None if trust_token_ids else TokenIdCheck(upstream, model)

    @property
    def about(self) -> str:
        return f"'{self._model}' at {self._upstream.base}"

    async def embed(self, wanted: EmbeddingsRequest) -> Embeddings:
        if wanted.token_lists is not None:
            if self._token_ids is not None:
                await self._token_ids.require()
            return await self._embed(wanted.token_lists, wanted)
        return await self._embed(wanted.texts or [], wanted)

    async def check_ready(self) -> None:
        await self._upstream.get(f"/v2/models/{quote(self._model, safe='')}/ready")

    async def aclose(self) -> None:
        await self._upstream.aclose()

    async def _embed(self, inputs: Sequence[str] | Sequence[Tokens], wanted: EmbeddingsRequest) -> Embeddings:
        body = wire.render_request(inputs, model=self._model, truncate=False)
        reply = await self._upstream.post("/v3/embeddings", body)
        result = wire.parse_response(reply.content, expected=len(inputs))
        return replace(result, vectors=cut(result.vectors, wanted), model=result.model or self._model)


def own_error(model: str, status: int, message: str) -> OvembedError | None:
    """What OVMS means by an answer to a request for this model; None where the status says it all."""
    if _NOT_THERE.match(message):
        return ModelUnready(f"The backend has no model '{model}', or has not loaded it yet ({message}). See MODEL_ID.")
    if status == httpx.codes.BAD_REQUEST and "INTERNAL:" not in message:
        return _objection(message)
    return None


def _objection(message: str) -> RequestError:
    """Which of several texts is too long is not told."""
    too_long = _TOO_LONG.search(message)
    if too_long is not None:
        problem = f"An input has {too_long['length']} tokens, but the model takes {too_long['limit']}. Shorten it."
        return RequestError(problem, param="input")
    found = _OBJECTION.search(message)
    return RequestError(found["objection"] if found else message, param="input")
