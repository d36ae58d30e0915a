"""Whether a backend embeds token ids as it embeds the text they stand for.

OVMS does not for models with token types: it fills them with zeros for text and with ones for ids, so that the vectors
of one text differ (all-MiniLM-L6-v2: cosine 0.987 to 0.996). An index filled by text would then be searched with
vectors that are a little off, and nobody would notice. Not concerned are models without token types, to which those
belong that `ovembed export` makes, and our server.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import orjson

from ovembed import vectors, wire
from ovembed.errors import EndpointError, InputError, RequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ovembed.gateway.upstream import Upstream
    from ovembed.protocols import Tokens, Vectors

_PROBE = "Is all well?"
_LEAST_COSINE = 0.999
# The backend may be replaced by another one while the gateway runs.
_VERDICT_LIFE_S = 300.0


class TokenIdCheck:
    """Compares a text with its own ids, before the first ids of a client and from time to time after."""

    def __init__(self, upstream: Upstream, model: str) -> None:
        self._upstream = upstream
        self._model = model
        self._objection: str | None = None
        self._good_until = 0.0

    async def require(self) -> None:
        """Raises RequestError, which says what to do, when ids cannot be embedded right; else as Upstream does."""
        if self._good_until <= time.monotonic():
            self._objection = await self._find_objection()
            self._good_until = time.monotonic() + _VERDICT_LIFE_S
        if self._objection is not None:
            raise RequestError(
                f"Token ids cannot be used here: {self._objection} Send the text "
                "(LangChain: OpenAIEmbeddings(check_embedding_ctx_length=False)).",
                param="input",
            )

    async def _find_objection(self) -> str | None:
        try:
            ids = await self._tokenize(_PROBE)
        except InputError:
            return "the backend has no /v3/tokenize by which to check what it makes of them."
        by_text, by_ids = await self._embed([_PROBE]), await self._embed([ids])
        if float(vectors.cosine(by_text, by_ids)[0]) < _LEAST_COSINE:
            return "the backend gives them other vectors than the text they stand for (wrong token types)."
        return None

    async def _tokenize(self, text: str) -> Tokens:
        body = orjson.dumps({"model": self._model, "text": text, "add_special_tokens": True})
        reply = await self._upstream.post("/v3/tokenize", body)
        try:
            tokens: Tokens = orjson.loads(reply.content)["tokens"]
        except (KeyError, TypeError, orjson.JSONDecodeError) as error:
            raise EndpointError(f"{self._upstream.base} answered /v3/tokenize without tokens.") from error
        return tokens

    async def _embed(self, inputs: Sequence[str] | Sequence[Tokens]) -> Vectors:
        body = wire.render_request(inputs, model=self._model, truncate=False)
        reply = await self._upstream.post("/v3/embeddings", body)
        return wire.parse_response(reply.content, expected=1).vectors
