"""The two interfaces everything meets at: Engine (tokens to rows) and Embedder (texts to Embeddings)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Protocol, Self, TypeAlias

from ovembed.errors import InputError, TextError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray

    from ovembed.batches import Layout
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
    completed: positions of the lists of token ids that lacked the model's special tokens and were given them.
    """

    vectors: Vectors
    tokens: tuple[int, ...] | None
    total_tokens: int
    truncated: tuple[int, ...]
    model: str
    fingerprint: str | None
    computed_tokens: int | None = None
    completed: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Portion:
    """Some of a list of texts: their `positions` in it, and their Embeddings, in the order of the positions."""

    positions: Sequence[int]
    embeddings: Embeddings


@dataclass(frozen=True, slots=True)
class TokenSpans:
    """The tokens of a text by the characters they stand for.

    spans: (start, stop) of each token, special tokens left out, in the order of the text; tokens that share a
    character have the same span. words: which word each belongs to, counted as the tokenizer splits them. total: how
    many tokens the model counts, special tokens and a prompt included.
    """

    spans: Sequence[tuple[int, int]]
    words: Sequence[int]
    total: int

    def by_word(self) -> Iterator[tuple[int, int, int]]:
        """(start, stop, tokens) of each word."""
        for _, tokens in groupby(zip(self.words, self.spans, strict=True), key=lambda token: token[0]):
            spans = [span for _, span in tokens]
            yield spans[0][0], spans[-1][1], len(spans)


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

    @property
    def packs(self) -> bool:
        """Whether texts share the rows of a batch (see batches), so that they need not be of like length."""

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """Token ids of each text with special tokens, uncut, in the order of the texts."""

    def spans(self, text: str) -> TokenSpans:
        """Where each token stands in the text. Raises InputError when the tokenizer does not tell."""

    def run(self, batch: Sequence[Sequence[int]], layout: Layout | None = None) -> Vectors:
        """One row for each token list: float32 (n, dimensions), pooled, normalized if the spec says so.

        Without a `layout` the texts stand where `batches.layout` puts them.

        Raises EngineError when inference fails or a row is not finite.
        """


class Embedder(Protocol):
    """Turns texts into vectors, in this process or through an endpoint. May be shared between threads."""

    def embed(self, texts: Sequence[str], *, truncate: bool = False) -> Embeddings:
        """Vectors of the texts as given (a prompt is the caller's to put before them).

        Raises TextError for an empty text and TextTooLong for one with more tokens than the model takes, unless
        `truncate` allows to cut it.
        """

    def embed_each(
        self, texts: Sequence[str], *, truncate: bool = False, strict: bool = False
    ) -> Iterator[Portion | TextError]:
        """The vectors in portions, as they come and in any order, and an error for each text that cannot be embedded.

        `strict` ends at the first of these: what comes tells of all texts up to it, and perhaps of others. Of several
        calls the first is served first. Raises what `embed` does, but no TextError.
        """
        positions = list(range(len(texts)))
        while positions:
            try:
                yield Portion(positions, self.embed([texts[position] for position in positions], truncate=truncate))
            except TextError as error:
                faults = sorted((error, *error.others), key=lambda fault: fault.position)
                told = {fault.position for fault in faults}
                for fault in faults[:1] if strict else faults:
                    yield type(fault)(positions[fault.position], fault.problem)
                kept = range(faults[0].position) if strict else range(len(positions))
                positions = [positions[place] for place in kept if place not in told]
            else:
                return

    def prompt(self, name: str | None = None) -> str:
        """The text that the model wants before an input: the named prompt, or its default."""

    def query_prompt(self) -> str:
        """The text that the model wants before a question; empty where it has none."""

    def spans(self, text: str, *, prompt: str = "") -> TokenSpans:  # noqa: ARG002
        """The tokens of a text that will stand behind `prompt`. Raises InputError where they are not known."""
        raise InputError(
            "An endpoint does not tell its tokens: split by line, paragraph or file, or use a local model."
        )

    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        self.close()
