"""The two ways to ask for vectors: OpenAI's, and TEI's own where a server has no other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import orjson

from ovembed import wire
from ovembed.errors import EndpointError
from ovembed.protocols import Embeddings

if TYPE_CHECKING:
    from collections.abc import Sequence

    import httpx

TEI_ROUTE = "/embed"


class Dialect(Protocol):
    """A route, the body it takes and the reply it gives."""

    def route(self, base: str) -> str: ...

    def render(self, texts: Sequence[str], *, model: str, truncate: bool) -> bytes: ...

    def parse(self, response: httpx.Response, *, expected: int, model: str) -> Embeddings:
        """Raises EndpointError for what is no such reply, or not that many vectors."""


class OpenAI(Dialect):
    """See `wire`."""

    def route(self, base: str) -> str:
        return f"{base}/embeddings"

    def render(self, texts: Sequence[str], *, model: str, truncate: bool) -> bytes:
        return wire.render_request(texts, model=model, truncate=truncate)

    def parse(self, response: httpx.Response, *, expected: int, model: str) -> Embeddings:  # noqa: ARG002  it tells
        return wire.parse_response(response.content, expected=expected)


class TEI(Dialect):
    """POST /embed, answered by a list of vectors, with the count of tokens in a header.

    Format: router/src/http of https://github.com/huggingface/text-embeddings-inference
    """

    def __init__(self, root: str) -> None:
        self._root = root

    def route(self, base: str) -> str:  # noqa: ARG002  it stands beside what OpenAI's routes stand under
        return self._root + TEI_ROUTE

    def render(self, texts: Sequence[str], *, model: str, truncate: bool) -> bytes:  # noqa: ARG002  it has only one
        return orjson.dumps({"inputs": list(texts), "truncate": truncate})

    def parse(self, response: httpx.Response, *, expected: int, model: str) -> Embeddings:
        try:
            vectors = np.array(orjson.loads(response.content), dtype=np.float32, ndmin=2)
        except (orjson.JSONDecodeError, TypeError, ValueError) as error:
            raise EndpointError(f"The reply is no list of vectors ({error}).") from error
        wire.check_vectors(vectors, expected)
        tokens = response.headers.get("x-compute-tokens", "")
        return Embeddings(
            vectors=vectors,
            tokens=None,
            total_tokens=int(tokens) if tokens.isdecimal() else 0,
            truncated=(),
            model=model,
            fingerprint=response.headers.get("X-Ovembed-Fingerprint"),
        )
