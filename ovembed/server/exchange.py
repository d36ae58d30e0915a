"""What a request goes through in every dialect: its body is read, its model chosen, the work done while it waits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import orjson
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from ovembed.errors import ModelNotFound, RequestError, RequestTooLarge, ShuttingDown

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from starlette.requests import Request

    from ovembed.protocols import Embeddings
    from ovembed.server.models import ServedModel
    from ovembed.wire import EmbeddingsRequest

Result = TypeVar("Result")

WARNING_HEADER = "X-Ovembed-Warning"
COME_BACK = {"Retry-After": "1"}


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
        """A body is refused unread when its header says that it is too large, else as soon as it is."""
        claimed = request.headers.get("content-length", "")
        self._check_size(int(claimed) if claimed.isdecimal() else 0)
        chunks, size = [], 0
        async for chunk in request.stream():
            size += len(chunk)
            self._check_size(size)
            chunks.append(chunk)
        return b"".join(chunks)

    def _check_size(self, size: int) -> None:
        if size > self._max_body_bytes:
            raise RequestTooLarge(f"The body is larger than {self._max_body_bytes} bytes. Send it in parts.")


async def embed(request: Request, model: ServedModel, wanted: EmbeddingsRequest) -> Embeddings:
    """The vectors, if the client stays. `request.state.model` tells middleware which model it was."""
    request.state.model = model.name
    return await _while_connected(request, model.embed(wanted))


async def _while_connected(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """Await the work; when the client goes it is cancelled, and what of it still waits will not run."""
    task, leaving = asyncio.create_task(work), asyncio.create_task(_gone(request))
    try:
        await asyncio.wait((task, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    except asyncio.CancelledError as error:  # the time for requests to end is over
        raise ShuttingDown("The server is shutting down.") from error
    finally:
        task.cancel()
        leaving.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


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


def json_response(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`content` as JSON; bytes are JSON already."""
    body = content if isinstance(content, bytes) else orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, status_code=status, headers=headers, media_type="application/json")


def nearest(table: Mapping[type[Exception], Result], error: Exception) -> Result:
    """The entry for the error's class, or for the nearest of its ancestors."""
    return next(table[kind] for kind in type(error).__mro__ if kind in table)
