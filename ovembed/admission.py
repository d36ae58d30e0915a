"""Which token lists a model takes: checked against its vocabulary and length, cut where that is allowed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ovembed.errors import TextError, TextTooLong

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ovembed.protocols import Engine, Tokens


@dataclass(frozen=True, slots=True)
class Admitted:
    """Token lists that the model takes as they are, and the positions of those that were cut for it."""

    tokens: list[Tokens]
    truncated: tuple[int, ...]


def admit_texts(engine: Engine, texts: Sequence[str], *, truncate: bool) -> Admitted:
    """Tokenize and admit. Raises TextError as `check_texts` does, TextTooLong unless `truncate` is set."""
    check_texts(texts)
    return _fit(engine, engine.tokenize(texts), truncate=truncate)


def check_texts(texts: Sequence[str]) -> None:
    """Raises TextError for a text that is empty, or holds what UTF-8 cannot say (bytes that were not decoded)."""
    for position, text in enumerate(texts):
        if not text:
            raise TextError(position, "the text is empty, which has no meaningful vector.")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise TextError(position, f"the text is not valid Unicode (character {error.start}).") from error


def admit_tokens(engine: Engine, token_lists: Sequence[Tokens], *, truncate: bool) -> Admitted:
    """Admit token ids made elsewhere, used as they are.

    Raises TextError for an empty list or an id outside the model's vocabulary, TextTooLong unless `truncate`
    is set.
    """
    for position, tokens in enumerate(token_lists):
        if not tokens:
            raise TextError(position, "the list of token ids is empty.")
        foreign = next((token for token in tokens if not 0 <= token < engine.vocabulary_size), None)
        if foreign is not None:
            raise TextError(
                position,
                f"token id {foreign} is outside the model's vocabulary (0 to {engine.vocabulary_size - 1}). "
                "Ids of another tokenizer cannot be used: send the text "
                "(LangChain: OpenAIEmbeddings(check_embedding_ctx_length=False)).",
            )
    return _fit(engine, token_lists, truncate=truncate)


def _fit(engine: Engine, token_lists: Sequence[Tokens], *, truncate: bool) -> Admitted:
    limit = engine.spec.max_tokens
    too_long = tuple(position for position, tokens in enumerate(token_lists) if len(tokens) > limit)
    if too_long and not truncate:
        first = too_long[0]
        raise TextTooLong(
            first,
            f"{len(token_lists[first])} tokens, but the model takes {limit}. "
            "Shorten the text, or allow cutting it with truncate (--truncate on the command line).",
        )
    fitting = list(token_lists)
    for position in too_long:
        fitting[position] = _cut(fitting[position], limit, engine.closing_tokens)
    return Admitted(fitting, too_long)


def _cut(tokens: Tokens, limit: int, closing: int) -> Tokens:
    """The first tokens that fit, ending with the special tokens that close every text."""
    return tokens[: limit - closing] + tokens[len(tokens) - closing :]
