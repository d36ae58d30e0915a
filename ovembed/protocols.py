"""The two interfaces everything meets at: Engine (tokens to rows) and Embedder (texts to Embeddings)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray

    from ovembed.spec import ModelSpec

    Vectors: TypeAlias = NDArray[np.float32]
    Tokens: TypeAlias = list[int]


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Vectors of some texts, in the order of the texts.

    vectors: float32, shape (n, dimensions), C order; shape (0, dimensions) or (0, 0) for no texts.
    tokens: attended tokens of each text, special tokens included; None where the endpoint does not tell.
    total_tokens: their sum, as the endpoint counts it.
    truncated: positions of the texts that were cut to the model's length.
    fingerprint: of the vector space (see ModelSpec); None where the endpoint does not tell.
    computed_tokens: tokens that were run, padding included; None where the endpoint does not tell.
    """

    vectors: Vectors
    tokens: tuple[int, ...] | None
    total_tokens: int
    truncated: tuple[int, ...]
    model: str
    fingerprint: str | None
    computed_tokens: int | None = None


class Engine(Protocol):
    """A loaded model. Both methods may be called from several threads at once."""

    @property
    def spec(self) -> ModelSpec: ...

    @property
    def vocabulary_size(self) -> int:
        """Token ids run from 0 to this, exclusive."""

    @property
    def closing_tokens(self) -> int:
        """How many special tokens end every text; a cut text keeps them."""

    @property
    def streams(self) -> int:
        """How many calls of `run` make progress at the same time."""

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """Token ids of each text with special tokens, uncut, in the order of the texts."""

    def run(self, batch: Sequence[Sequence[int]]) -> Vectors:
        """One row for each token list: float32 (n, dimensions), pooled, normalized if the spec says so.

        Raises EngineError when inference fails or a row is not finite.
        """


class Embedder(Protocol):
    """Turns texts into vectors, in this process or through an endpoint. May be shared between threads."""

    def embed(self, texts: Sequence[str], *, truncate: bool = False) -> Embeddings:
        """Vectors of the texts as given (a prompt is the caller's to put before them).

        Raises InputError for an empty text and TextTooLong for one with more tokens than the model takes,
        unless `truncate` allows to cut it.
        """

    def prompt(self, name: str | None = None) -> str:
        """The text that the model wants before an input: the named prompt, or its default."""

    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        self.close()
