"""What a request goes through in every dialect: its body is read, its model chosen, the work done while it waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from ovembed.errors import (
    BodyTimeout,
    EngineError,
    Overloaded,
    RequestError,
    RequestTimeout,
    RequestTooLarge,
    ShuttingDown,
    TextError,
    TextTooLong,
    Unauthorized,
)
from ovembed.http import requests
from ovembed.serving.caveats import Caveats

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from ovembed.http.requests import Limits
    from ovembed.protocols import Embeddings
    from ovembed.server.catalog import Catalog
    from ovembed.server.readiness import Readiness
    from ovembed.server.reload import Reload
    from ovembed.serving.models import ServedModel
    from ovembed.wire import EmbeddingsRequest

Raw = TypeVar("Raw")
Result = TypeVar("Result")

# What may become of a request that asks for work, of its body, and of the texts in it.
POST_FAULTS = (Unauthorized, ShuttingDown)
BODY_FAULTS = (RequestError, RequestTooLarge, BodyTimeout)
EMBEDDING_FAULTS = (TextError, TextTooLong, Overloaded, EngineError, RequestTimeout)


class Exchange:
    """What the dialects share: the models, how a body is read for them, and their vectors within the time there is."""

    def __init__(self, catalog: Catalog, readiness: Readiness, limits: Limits, reload: Reload) -> None:
        self.catalog = catalog
        self.readiness = readiness
        self.reload = reload
        self._limits = limits
        self._parsing = requests.Parsing()
        self._caveats = Caveats()

    async def read(self, request: Request, parse: Callable[[bytes], Result]) -> Result:
        """What `parse` makes of the body."""
        body = await requests.read_body(request, self._limits)
        return await self.parse(len(body), parse, body)

    async def parse(self, size: int, parse: Callable[[Raw], Result], raw: Raw) -> Result:
        """What `parse` makes of what a body of this size holds: others do not wait for a large one."""
        return await self._parsing.run(size, parse, raw)

    async def embed(self, request: Request, model: ServedModel, wanted: EmbeddingsRequest) -> Embeddings:
        """The vectors, if the client stays. `request.state.model` tells middleware which model it was."""
        request.state.model = model.name
        with self.catalog.using(model):
            return await requests.while_connected(request, model.embed(wanted), self._limits)

    def caveats(self, wanted: EmbeddingsRequest, result: Embeddings, model: ServedModel) -> list[str]:
        return self._caveats.of(wanted, result, model.engine.spec.dimensions)


def describe(model: ServedModel, *, owner: str) -> dict[str, object]:
    """OpenAI's model object, and what its vectors are."""
    spec = model.engine.spec
    return {
        "id": model.name,
        "object": "model",
        "created": model.created,
        "owned_by": owner,
        "fingerprint": spec.fingerprint,
        "dimensions": spec.dimensions,
        "max_tokens": spec.max_tokens,
        "prompts": dict(spec.prompts),
        "default_prompt": spec.default_prompt,
    }
