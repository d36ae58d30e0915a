"""What a caller may not expect of its vectors, though its request was answered."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ovembed.protocols import Embeddings
    from ovembed.wire import EmbeddingsRequest

_LOG = logging.getLogger(__name__)

_FOREIGN_IDS = (
    "ids of another tokenizer get meaningless vectors: send texts "
    "(LangChain: OpenAIEmbeddings(check_embedding_ctx_length=False))"
)


class Caveats:
    """The log tells of token ids too, once for each model: what sends them mostly shows nobody headers of replies."""

    def __init__(self) -> None:
        self._told_of: set[str] = set()

    def of(self, wanted: EmbeddingsRequest, result: Embeddings, dimensions: int) -> list[str]:
        """What is likely to be a mistake of the client's; `dimensions` are those of the model."""
        caveats = []
        if wanted.dimensions not in (None, dimensions):  # no model's files declare it Matryoshka
            caveats.append("dimensions cut from a model that is not declared Matryoshka")
        if result.completed:
            self._log_foreign_ids(result.model)
            caveats.append(
                f"{len(result.completed)} of {len(result.vectors)} lists of token ids had to be given the model's "
                f"special tokens; {_FOREIGN_IDS}"
            )
        return caveats

    def _log_foreign_ids(self, model: str) -> None:
        if model not in self._told_of:
            self._told_of.add(model)
            _LOG.warning("%s gets token ids without its special tokens, which are added; %s.", model, _FOREIGN_IDS)
