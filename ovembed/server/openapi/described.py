"""Routes that say what they take and give. A route without a description cannot be made."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ovembed.http.application import Answered
from ovembed.serving.models import prompt_for
from ovembed.wire import INPUT_TYPES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ovembed.http.application import Endpoint
    from ovembed.serving.models import ServedModel

Schema: TypeAlias = dict[str, Any]
"""JSON Schema 2020-12. One with a title becomes a component of that name."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What the served models take: of several, what at least one of them does.

    prompts: names of prompts; typed_prompts: the input types for which there is a prompt that is not empty.
    """

    models: tuple[str, ...]
    dimensions: int
    vocabulary_size: int
    prompts: tuple[str, ...]
    typed_prompts: tuple[str, ...]

    @classmethod
    def of(cls, models: Mapping[str, ServedModel]) -> Offer:
        engines = [model.engine for model in models.values()]
        specs = [engine.spec for engine in engines]
        return cls(
            models=tuple(models),
            dimensions=max((spec.dimensions for spec in specs), default=1),
            vocabulary_size=max((engine.vocabulary_size for engine in engines), default=1),
            prompts=tuple(sorted({name for spec in specs for name in spec.prompts})),
            typed_prompts=tuple(kind for kind in INPUT_TYPES if any(prompt_for(spec, kind) for spec in specs)),
        )


SchemaOf: TypeAlias = Callable[[Offer], Schema]


@dataclass(frozen=True, slots=True)
class Reply:
    """One way to answer; `about` says when, or what it is.

    schema: of a JSON body. media_type: None without a body.
    headers: names of those that may come with it, beside those that go with its status.
    """

    status: int
    about: str
    schema: SchemaOf | None = None
    media_type: str | None = "application/json"
    headers: tuple[str, ...] = ()


def about(kind: type[Exception]) -> str:
    """What has happened when it is raised."""
    return (inspect.getdoc(kind) or "").partition("\n")[0]


class Described(Answered):
    """A route with what stands about it in the description.

    tag: the dialect. body: what a request must hold, with an example under `examples`. parameters: schemas of what
    stands in the path and, for the rest of the names, in the query; one with `examples` stands in the curl line.
    shown: the path to describe, where the route takes many.
    """

    def __init__(
        self,
        path: str,
        endpoint: Endpoint,
        *,
        tag: str,
        summary: str,
        replies: Iterable[Reply],
        method: Literal["GET", "POST"] = "GET",
        about: str = "",
        body: SchemaOf | None = None,
        parameters: Mapping[str, SchemaOf] | None = None,
        shown: str | None = None,
    ) -> None:
        super().__init__(path, endpoint, method=method)
        self.method = method
        self.tag = tag
        self.summary = summary
        self.about = about
        self.body = body
        self.parameters = parameters or {}
        self.replies: Sequence[Reply] = tuple(replies)
        self.shown = shown or self.path_format
