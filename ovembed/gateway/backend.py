"""What the gateway stands in front of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ovembed import vectors
from ovembed.errors import InputError, RequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ovembed.protocols import Embeddings, Vectors
    from ovembed.wire import EmbeddingsRequest


class Backend(Protocol):
    """Where vectors come from."""

    @property
    def about(self) -> str:
        """For the person who starts the gateway."""

    async def embed(self, wanted: EmbeddingsRequest) -> Embeddings:
        """In the order of the inputs, cut to the wanted dimensions; `model` is filled in, `total_tokens` 0 if unknown.

        Raises InputError for what cannot be embedded, Overloaded, ModelUnready, EndpointError or EngineError when the
        backend is at fault.
        """

    def caveats(self, wanted: EmbeddingsRequest, result: Embeddings) -> Sequence[str]:  # noqa: ARG002
        """What the client may not expect of its vectors."""
        return ()

    async def check_ready(self) -> None:
        """Raises an OvembedError, which says why, unless requests can be answered now."""

    async def aclose(self) -> None: ...


def cut(rows: Vectors, wanted: EmbeddingsRequest) -> Vectors:
    """The wanted dimensions of the rows, of unit length again. Raises RequestError when they have fewer."""
    try:
        return vectors.cut(rows, wanted.dimensions)
    except InputError as error:
        raise RequestError(str(error), param="dimensions") from error
