"""What goes through an embed job: texts with their places in, rows of a vector space out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

from ovembed.corpus.precision import PRECISIONS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ovembed.corpus.precision import VectorPrecision
    from ovembed.protocols import Vectors


class _Placed:
    """What stands in a line of the input."""

    __slots__ = ()
    source: str
    line: int

    @property
    def place(self) -> str:
        return f"{self.source} line {self.line}"


@dataclass(frozen=True, slots=True)
class Item(_Placed):
    """A text and where it stands.

    `line` counts from 1: the line that the text begins in, or the row of a table. `offset` counts the characters
    before the text: in its file, or in its cell of a table. `id` is what the input calls it.
    """

    text: str
    source: str
    line: int
    offset: int = 0
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Refused(_Placed):
    """A place of the input that gives no row, and why."""

    source: str
    line: int
    reason: str
    id: str | None = None

    def to_json(self) -> dict[str, Any]:
        known = {} if self.id is None else {"id": self.id}
        return {"source": self.source, "line": self.line, **known, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class Pause:
    """Between the places of an input: nothing more comes for now, so those before need not wait for others."""


@dataclass(frozen=True, slots=True)
class Row:
    """An item that has a vector; `tokens` is None where the endpoint does not tell."""

    item: Item
    tokens: int | None = None
    truncated: bool = False

    def to_json(self) -> dict[str, Any]:
        item = self.item
        named = {} if item.id is None else {"id": item.id}
        return {
            **named,
            "text": item.text,
            "source": item.source,
            "line": item.line,
            "offset": item.offset,
            "tokens": self.tokens,
            "truncated": self.truncated,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Of such an object, or of one that says less: everything but the text has a default."""
        item = Item(
            str(data.get("text") or ""),
            str(data.get("source") or ""),
            int(data.get("line") or 0),
            int(data.get("offset") or 0),
            None if data.get("id") is None else str(data["id"]),
        )
        return cls(item, data.get("tokens"), bool(data.get("truncated")))


@dataclass(frozen=True, slots=True)
class Space:
    """What the vectors are: vectors of two spaces cannot be compared.

    `fingerprint` is None where the endpoint does not tell. `prompt` stood before every text. `limit` is the
    magnitude that int8's largest number stands for, None for the other precisions.
    """

    model: str
    fingerprint: str | None
    dimensions: int
    precision: VectorPrecision = "float32"
    limit: float | None = None
    prompt: str = ""

    def is_same(self, other: Space) -> bool:
        """By the fingerprints where both are known, whatever the models are called, else by the names.

        `limit` does not count: it is how the numbers are written down.
        """
        known = self.fingerprint is not None and other.fingerprint is not None
        made_alike = self.fingerprint == other.fingerprint if known else self.model == other.model
        rest = (self.dimensions, self.precision, self.prompt)
        return made_alike and rest == (other.dimensions, other.precision, other.prompt)

    def to_json(self) -> dict[str, Any]:
        """Model, fingerprint and dimensions; the others where they are not as usual."""
        usual = {"precision": "float32", "limit": None, "prompt": ""}
        rest = {name: getattr(self, name) for name, value in usual.items() if getattr(self, name) != value}
        return {"model": self.model, "fingerprint": self.fingerprint, "dimensions": self.dimensions, **rest}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Raises KeyError where model or dimensions are missing, ValueError where no vectors can be like that."""
        space = cls(
            model=str(data["model"]),
            fingerprint=data.get("fingerprint"),
            dimensions=int(data["dimensions"]),
            precision=data.get("precision", "float32"),
            limit=data.get("limit"),
            prompt=data.get("prompt", ""),
        )
        if space.dimensions < 1 or space.precision not in PRECISIONS:
            raise ValueError(f"{space.precision} vectors of {space.dimensions} dimensions")
        if space.precision == "int8" and not space.limit:
            raise ValueError("int8 vectors without their limit")
        return space


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive rows with their vectors (float32, shape (rows, dimensions)), and what was refused among them."""

    rows: Sequence[Row]
    vectors: Vectors
    refused: Sequence[Refused] = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a job has come.

    `seen` counts the places of the input, with a row or refused, and `digest` tells them from others. `space` is
    None as long as there is no row.
    """

    seen: int = 0
    digest: str = ""
    rows: int = 0
    refused: int = 0
    tokens: int = 0
    truncated: int = 0
    space: Space | None = None
    complete: bool = False

    def to_json(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in self.__slots__}
        return values | {"space": self.space and self.space.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Raises KeyError or TypeError for what is no standing."""
        return cls(**(dict(data) | {"space": data["space"] and Space.from_json(data["space"])}))


class Writer(Protocol):
    """Takes the rows of one job in order."""

    @property
    def standing(self) -> Standing:
        """Where the job stands: at its beginning, or where it broke off."""

    def write(self, block: Block, standing: Standing) -> None:
        """Rows, and how far the job has come with them. A file's rows survive a crash from here on."""

    def finish(self) -> None:
        """Nothing more comes: what belongs at the end is written."""
