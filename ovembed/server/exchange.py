"""What a request goes through in every dialect: its body is read, its model chosen, the work done while it waits."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request

    from ovembed.http.requests import Limits
    from ovembed.protocols import Embeddings
    from ovembed.server.catalog import Catalog
    from ovembed.server.readiness import Readiness
    from ovembed.server.reload import Reload
    from ovembed.serving.models import ServedModel
    from ovembed.wire import EmbeddingsRequest

_LOG = logging.getLogger(__name__)

WARNING_HEADER = "X-Ovembed-Warning"

_FOREIGN_IDS = (
    "ids of another tokenizer get meaningless vectors: send texts "
    "(LangChain: OpenAIEmbeddings(check_embedding_ctx_length=False))"
)

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
        self._warned_of: set[str] = set()

    async def read_body(self, request: Request) -> bytes:
        return await requests.read_body(request, self._limits)

    async def embed(self, request: Request, model: ServedModel, wanted: EmbeddingsRequest) -> Embeddings:
        """The vectors, if the client stays. `request.state.model` tells middleware which model it was."""
        request.state.model = model.name
        with self.catalog.using(model):
            return await requests.while_connected(request, model.embed(wanted), self._limits)

    def warnings(self, wanted: EmbeddingsRequest, model: ServedModel) -> list[str]:
        """What is likely to be a mistake of the client's, though its request was answered."""
        warnings = []
        if wanted.dimensions not in (None, model.engine.spec.dimensions):  # no model's files declare it Matryoshka
            warnings.append("dimensions cut from a model that is not declared Matryoshka")
        if lacking := model.lacking_special_tokens(wanted):
            self._log_foreign_ids(model)
            warnings.append(
                f"{lacking} of {len(wanted.token_lists or [])} lists of token ids had to be given the model's special "
                f"tokens; {_FOREIGN_IDS}"
            )
        return warnings

    def _log_foreign_ids(self, model: ServedModel) -> None:
        """Once: what sends them mostly shows nobody the headers of the replies."""
        if model.name not in self._warned_of:
            self._warned_of.add(model.name)
            _LOG.warning("%s gets token ids without its special tokens, which are added; %s.", model.name, _FOREIGN_IDS)


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


def warn(warnings: Sequence[str]) -> dict[str, str]:
    """The header that tells them, if there are any."""
    return {WARNING_HEADER: "; ".join(warnings)} if warnings else {}
