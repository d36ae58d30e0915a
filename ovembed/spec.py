"""ModelSpec: every setting that decides what numbers a text turns into, and the fingerprint made from them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from ovembed.errors import InputError, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

Pooling = Literal["cls", "mean", "last"]
WeightFormat = Literal["fp32", "fp16", "int8", "int4"]
Precision = WeightFormat | Literal["full-int8"]

POOLINGS: tuple[Pooling, ...] = get_args(Pooling)

# What models call the prompt for a question, the usual name first.
QUERY_PROMPTS = ("query", "search_query")

# Where the model came from does not change its vectors; the hash of its weights stands for that.
_NOT_IN_FINGERPRINT = {"source", "revision"}


@dataclass(frozen=True, slots=True)
class Prompts:
    """Texts that a model wants before its inputs, by name; `default` names the one used when nobody chooses."""

    texts: Mapping[str, str]
    default: str | None

    def named(self, name: str | None = None) -> str:
        """The prompt of that name, or the default (often empty). Raises InputError for a name there is not."""
        chosen = name if name is not None else self.default
        if chosen is None:
            return ""
        if chosen not in self.texts:
            known = ", ".join(sorted(self.texts)) or "none"
            raise InputError(f"The model has no prompt {quoted(chosen)} (it has: {known}).")
        return self.texts[chosen]

    @property
    def for_query(self) -> str:
        """The prompt for a question, or the default."""
        return self.named(next((name for name in QUERY_PROMPTS if name in self.texts), None))


@dataclass(frozen=True)
class ModelSpec:
    """What decides a model's vectors.

    `source` is the Hub id or folder name, `revision` its commit where one is known, `weights_sha256` the hash
    of the source weights. `precision` is that of the weights; full-int8 quantizes the activations too, by ranges
    seen on texts whose hash is `calibration_sha256` (None for the others). `max_tokens` counts special tokens.
    `prompts` maps a name to the text put before the input; `default_prompt` names the one used when nobody chooses.
    """

    source: str
    revision: str | None
    weights_sha256: str
    precision: Precision
    calibration_sha256: str | None
    pooling: Pooling
    normalize: bool
    max_tokens: int
    dimensions: int
    prompts: Mapping[str, str]
    default_prompt: str | None

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that differ whenever the vector space does: vectors may be compared only when equal."""
        deciding = {name: value for name, value in self.to_json().items() if name not in _NOT_IN_FINGERPRINT}
        canonical = json.dumps(deciding, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def prompt(self, name: str | None = None) -> str:
        """The text to put before an input: the prompt of that name, or the model's default (often empty).

        Raises InputError for a name the model does not have.
        """
        return self._prompts.named(name)

    @property
    def query_prompt(self) -> str:
        """The text to put before a question to be answered from other texts; often empty."""
        return self._prompts.for_query

    @property
    def _prompts(self) -> Prompts:
        return Prompts(self.prompts, self.default_prompt)

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"prompts": dict(self.prompts)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Raises KeyError when a setting is missing; settings of newer versions are ignored."""
        return cls(**{field.name: data[field.name] for field in fields(cls)})
