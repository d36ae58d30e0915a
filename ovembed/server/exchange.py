"""What a request goes through in every dialect: its body is read, its model chosen, the work done while it waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ovembed.errors import ModelNotFound, RequestError
from ovembed.http import requests

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from ovembed.protocols import Embeddings
    from ovembed.serving.models import ServedModel
    from ovembed.wire import EmbeddingsRequest

WARNING_HEADER = "X-Ovembed-Warning"


class Served:
    """The models that are served, by the names clients call them, and how much of a body is read for them."""

    def __init__(self, models: Mapping[str, ServedModel], max_body_bytes: int) -> None:
        self.models = models
        self._max_body_bytes = max_body_bytes

    def named(self, name: str) -> ServedModel:
        """Raises ModelNotFound, which lists those there are."""
        if name not in self.models:
            raise ModelNotFound(f"No model '{name}' here; this server has: {', '.join(self.models)}.")
        return self.models[name]

    def choose(self, name: str | None) -> ServedModel:
        """The only model need not be named. Raises RequestError when there are several."""
        if name is not None:
            return self.named(name)
        if len(self.models) > 1:
            raise RequestError(f"'model' is missing; this server has: {', '.join(self.models)}.", param="model")
        return next(iter(self.models.values()))

    async def read_body(self, request: Request) -> bytes:
        return await requests.read_body(request, self._max_body_bytes)


async def embed(request: Request, model: ServedModel, wanted: EmbeddingsRequest) -> Embeddings:
    """The vectors, if the client stays. `request.state.model` tells middleware which model it was."""
    request.state.model = model.name
    return await requests.while_connected(request, model.embed(wanted))


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
    }


def cut_warning(wanted: EmbeddingsRequest, model: ServedModel) -> dict[str, str]:
    """The header that goes with fewer dimensions than the model has: no model's files declare it Matryoshka."""
    if wanted.dimensions is None or wanted.dimensions == model.engine.spec.dimensions:
        return {}
    return {WARNING_HEADER: "dimensions cut from a model that is not declared Matryoshka"}
