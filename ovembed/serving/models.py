"""A model at service: what a request asks for, as Embeddings."""

from __future__ import annotations

import asyncio
import functools
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

from ovembed import admission, vectors
from ovembed.errors import InputError, RequestError, RequestTooLarge
from ovembed.protocols import Embeddings
from ovembed.spec import QUERY_PROMPTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ovembed.admission import Admitted
    from ovembed.protocols import Engine, Tokens
    from ovembed.serving.batcher import Batcher
    from ovembed.spec import ModelSpec
    from ovembed.wire import EmbeddingsRequest, InputType

Input = TypeVar("Input", bound="str | Tokens")
Result = TypeVar("Result")

MOST_INPUTS = 16_384
"""Of a request: its reply is made at one go, while everybody else waits."""

# Tokenizing this much text, or checking so many token ids, takes less time than handing it to another thread and back.
_INLINE_CHARACTERS = 2_000
_INLINE_IDS = 5_000

# The names in use for a model's two prompts. A request's own word is tried first.
_DOCUMENT_PROMPTS = ("document", "passage", "search_document")
_PROMPTS: Mapping[InputType, tuple[str, ...]] = {
    "query": QUERY_PROMPTS,
    "search_query": QUERY_PROMPTS,
    "document": _DOCUMENT_PROMPTS,
    "passage": _DOCUMENT_PROMPTS,
    "search_document": _DOCUMENT_PROMPTS,
}


class OnAdmitted(Protocol):
    """Hears that a request's texts were tokenized, how many of them were cut, and how long it took."""

    def __call__(self, *, truncated: int, took_s: float) -> None: ...


def _hear_nothing(*, truncated: int, took_s: float) -> None:
    pass


def _now() -> int:
    return int(time.time())


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One loaded model and its queue; `name` is what clients call it, `created` when it was made (Unix time)."""

    name: str
    engine: Engine
    batcher: Batcher
    created: int = field(default_factory=_now)
    on_admitted: OnAdmitted = _hear_nothing

    async def embed(self, request: EmbeddingsRequest) -> Embeddings:
        """Raises RequestError, RequestTooLarge, TextError or TextTooLong before any work, Overloaded when the queue
        is full.

        A prompt is put before the texts only when the request asks for one, by `prompt_name` or `input_type`: what
        comes to a drop-in server may have its prompt already.
        """
        self._check_dimensions(request.dimensions)
        _check_count(request.texts or request.token_lists or [])
        began = time.perf_counter()
        admitted = await self._admit(request)
        self.on_admitted(truncated=len(admitted.truncated), took_s=time.perf_counter() - began)
        rows = await self.batcher.embed(admitted.tokens)
        lengths = tuple(map(len, admitted.tokens))
        return Embeddings(
            vectors=vectors.cut(rows, request.dimensions),
            tokens=lengths,
            total_tokens=sum(lengths),
            truncated=admitted.truncated,
            completed=admitted.completed,
            model=self.name,
            fingerprint=self.engine.spec.fingerprint,
        )

    async def lengths(self, request: EmbeddingsRequest) -> list[int]:
        """Tokens of each input, uncut; of one that is far too long, at least as many as the model takes."""
        if request.texts is None:
            return list(map(len, admission.with_special_tokens(self.engine, request.token_lists or [])))
        texts = self._prompted(request.texts, request)
        return await _beside_the_loop(texts, functools.partial(admission.lengths, self.engine))

    async def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """Token ids of each text with special tokens, uncut. Raises RequestTooLarge, or TextTooLong for a text above
        what is read of one.
        """
        _check_count(texts)
        return await _beside_the_loop(texts, functools.partial(admission.tokenize, self.engine))

    def _check_dimensions(self, wanted: int | None) -> None:
        try:
            vectors.check_dimensions(wanted, self.engine.spec.dimensions)
        except InputError as error:
            raise RequestError(str(error), param="dimensions") from error

    async def _admit(self, request: EmbeddingsRequest) -> Admitted:
        if request.texts is None:
            self._refuse_prompt(request)
            admit_ids = functools.partial(admission.admit_tokens, self.engine, truncate=request.truncate)
            return await _beside_the_loop(request.token_lists or [], admit_ids, at_once=_INLINE_IDS)
        prompted = self._prompted(request.texts, request)

        def admit(texts: Sequence[str]) -> Admitted:
            admission.check_texts(texts)
            return admission.admit_texts(self.engine, prompted, truncate=request.truncate)

        return await _beside_the_loop(request.texts, admit)

    def _prompted(self, texts: Sequence[str], request: EmbeddingsRequest) -> Sequence[str]:
        prompt = self._prompt(request)
        return [prompt + text for text in texts] if prompt else texts

    def _prompt(self, request: EmbeddingsRequest) -> str:
        """The prompt that the request asks for; empty when the model has none for its `input_type`."""
        spec = self.engine.spec
        if request.prompt_name is not None:
            try:
                return spec.prompt(request.prompt_name)
            except InputError as error:
                raise RequestError(str(error), param="prompt_name") from error
        return "" if request.input_type is None else prompt_for(spec, request.input_type)

    def _refuse_prompt(self, request: EmbeddingsRequest) -> None:
        if self._prompt(request):
            param = "input_type" if request.prompt_name is None else "prompt_name"
            raise RequestError(f"'{param}' puts a prompt before texts; send texts, not token ids.", param=param)


def prompt_for(spec: ModelSpec, input_type: InputType) -> str:
    """What the model wants before texts of that type; empty when it has no prompt for them."""
    names = (input_type, *_PROMPTS[input_type])
    return next((spec.prompts[name] for name in names if name in spec.prompts), "")


def _check_count(inputs: Sequence[object]) -> None:
    if len(inputs) > MOST_INPUTS:
        raise RequestTooLarge(f"The request has {len(inputs)} inputs, at most {MOST_INPUTS}. Send it in parts.")


async def _beside_the_loop(
    inputs: Sequence[Input], work: Callable[[Sequence[Input]], Result], *, at_once: int = _INLINE_CHARACTERS
) -> Result:
    """Do what takes time for each character, or id: at once for so many, else in another thread."""
    if len(inputs) <= at_once and sum(map(len, inputs)) <= at_once:
        return work(inputs)
    return await asyncio.to_thread(work, inputs)
