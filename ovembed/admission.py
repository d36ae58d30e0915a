"""Which token lists a model takes: checked against its vocabulary and length, cut where that is allowed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ovembed.errors import TextError, TextTooLong

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ovembed.protocols import Engine, Tokens

LONGEST_TEXT = 1_000_000
"""Characters. What stands behind them is not read."""

# So many characters are tokenized at once: it takes up to 200 bytes for each.
_PART_CHARACTERS = LONGEST_TEXT

# A text of more characters than this for each token that the model takes is read from its beginning first. When that
# has so many tokens more than the model takes that the word it ends in cannot matter, the rest need not be read.
_CHARACTERS_PER_TOKEN = 32
_SPARE_TOKENS = 128


_HOW_TO_FIT = "Shorten the text, or allow cutting it with truncate (--truncate on the command line)."


@dataclass(frozen=True, slots=True)
class Admitted:
    """Token lists that the model takes as they are, and the positions of those that were cut for it, or were given
    special tokens.
    """

    tokens: list[Tokens]
    truncated: tuple[int, ...]
    completed: tuple[int, ...] = ()


def admit_texts(engine: Engine, texts: Sequence[str], *, truncate: bool) -> Admitted:
    """Tokenize and admit.

    Raises TextError as `check_texts` does, TextTooLong unless `truncate` is set, with all others that are too long.
    """
    check_texts(texts)
    limit = engine.spec.max_tokens
    admitted, truncated, faults = [], [], []
    for position, reading in enumerate(_read(engine, texts)):
        tokens = reading.tokens
        if not reading.complete or len(tokens) > limit:
            if not truncate:
                faults.append(TextTooLong(position, reading.excess(limit) + _HOW_TO_FIT))
                continue
            tokens = _cut(tokens, limit, engine.closing_tokens)
            truncated.append(position)
        admitted.append(tokens)
    _raise_first(faults)
    return Admitted(admitted, tuple(truncated))


def lengths(engine: Engine, texts: Sequence[str]) -> list[int]:
    """Tokens of each text; of one that is far too long, at least as many as the model takes."""
    return [len(reading.tokens) for reading in _read(engine, texts)]


def tokenize(engine: Engine, texts: Sequence[str]) -> list[Tokens]:
    """Tokens of each text, uncut. Raises TextTooLong for one that is not read to its end."""
    for position, text in enumerate(texts):
        if len(text) > LONGEST_TEXT:
            raise TextTooLong(
                position, f"{len(text)} characters, but at most {LONGEST_TEXT} are read. Shorten the text."
            )
    return [tokens for part in _parts(texts, LONGEST_TEXT) for tokens in engine.tokenize(part)]


@dataclass(frozen=True, slots=True)
class _Reading:
    """Tokens of a text's beginning; `complete` when that is all of it. `characters` are those of the whole text."""

    tokens: Tokens
    complete: bool
    characters: int

    def excess(self, limit: int) -> str:
        if len(self.tokens) <= limit:
            return f"{_unread(self.characters)}. "
        return f"{'' if self.complete else 'more than '}{len(self.tokens)} tokens, but the model takes {limit}. "


def _unread(characters: int) -> str:
    return f"{characters} characters, but at most {LONGEST_TEXT} are read"


def _read(engine: Engine, texts: Sequence[str]) -> Iterator[_Reading]:
    """Each text as far as is needed to know whether it is too long."""
    enough = engine.spec.max_tokens + _SPARE_TOKENS
    beginning = min(enough * _CHARACTERS_PER_TOKEN, LONGEST_TEXT)
    for part in _parts(texts, beginning):
        for text, tokens in zip(part, engine.tokenize([text[:beginning] for text in part]), strict=True):
            if len(text) <= beginning or len(tokens) > enough:
                yield _Reading(tokens, len(text) <= beginning, len(text))
            else:
                [tokens_of_more] = engine.tokenize([text[:LONGEST_TEXT]])
                yield _Reading(tokens_of_more, len(text) <= LONGEST_TEXT, len(text))


def _parts(texts: Sequence[str], longest: int) -> Iterator[Sequence[str]]:
    """The texts in parts of at most _PART_CHARACTERS, where a text counts as `longest` at most."""
    start = characters = 0
    for position, text in enumerate(texts):
        characters += min(len(text), longest)
        if characters > _PART_CHARACTERS:
            yield texts[start:position]
            start, characters = position, min(len(text), longest)
    if start < len(texts):
        yield texts[start:]


def check_texts(texts: Sequence[str]) -> None:
    """Raises TextError, with all others, for a text that is empty or holds what UTF-8 cannot say (bytes that were not
    decoded).
    """
    problems = ((position, _problem(text)) for position, text in enumerate(texts))
    _raise_first([TextError(position, problem) for position, problem in problems if problem is not None])


def _problem(text: str) -> str | None:
    if not text:
        return "the text is empty, which has no meaningful vector."
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"the text is not valid Unicode (character {error.start})."
    return None


def _raise_first(faults: Sequence[TextError]) -> None:
    if faults:
        faults[0].others = faults[1:]
        raise faults[0]


def admit_tokens(engine: Engine, token_lists: Sequence[Tokens], *, truncate: bool) -> Admitted:
    """Admit token ids made elsewhere, with the special tokens that stand around every text where they lack them.

    Raises TextError for an empty list or an id outside the model's vocabulary, TextTooLong unless `truncate`
    is set.
    """
    for position, tokens in enumerate(token_lists):
        _check_ids(engine, position, tokens)
    whole = with_special_tokens(engine, token_lists)
    pairs = enumerate(zip(token_lists, whole, strict=True))
    completed = tuple(position for position, (given, tokens) in pairs if tokens is not given)
    return replace(_fit(engine, whole, truncate=truncate), completed=completed)


def _check_ids(engine: Engine, position: int, tokens: Tokens) -> None:
    if not tokens:
        raise TextError(position, "the list of token ids is empty.")
    size = engine.vocabulary_size
    if min(tokens) < 0 or max(tokens) >= size:
        foreign = next(token for token in tokens if not 0 <= token < size)
        raise TextError(
            position,
            f"token id {foreign} is outside the model's vocabulary (0 to {size - 1}). "
            "Ids of another tokenizer cannot be used: send the text "
            "(LangChain: OpenAIEmbeddings(check_embedding_ctx_length=False)).",
        )


def with_special_tokens(engine: Engine, token_lists: Sequence[Tokens]) -> list[Tokens]:
    """Every list begins and ends with the tokens that the tokenizer puts around a text; complete ones stay as they are.

    Without them, ids would get other vectors than the text they stand for. Clients that tokenize by themselves often
    leave them out.
    """
    opening, closing = special_tokens(engine)
    completed = []
    for tokens in token_lists:
        before = [] if tokens[: len(opening)] == opening else opening
        after = [] if tokens[len(tokens) - len(closing) :] == closing else closing
        completed.append([*before, *tokens, *after] if before or after else tokens)
    return completed


def special_tokens(engine: Engine) -> tuple[Tokens, Tokens]:
    """What the tokenizer puts before and after every text."""
    [around_nothing] = engine.tokenize([""])
    opening = len(around_nothing) - engine.closing_tokens
    return around_nothing[:opening], around_nothing[opening:]


def _fit(engine: Engine, token_lists: Sequence[Tokens], *, truncate: bool) -> Admitted:
    limit = engine.spec.max_tokens
    too_long = tuple(position for position, tokens in enumerate(token_lists) if len(tokens) > limit)
    if too_long and not truncate:
        first = too_long[0]
        raise TextTooLong(first, f"{len(token_lists[first])} tokens, but the model takes {limit}. {_HOW_TO_FIT}")
    fitting = list(token_lists)
    for position in too_long:
        fitting[position] = _cut(fitting[position], limit, engine.closing_tokens)
    return Admitted(fitting, too_long)


def _cut(tokens: Tokens, limit: int, closing: int) -> Tokens:
    """The first tokens that fit, ending with the special tokens that close every text."""
    if len(tokens) <= limit:
        return tokens
    return tokens[: limit - closing] + tokens[len(tokens) - closing :]
