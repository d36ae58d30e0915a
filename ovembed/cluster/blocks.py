"""What goes to a worker and what comes back: files of a folder that every machine of the cluster sees."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from itertools import count, islice
from typing import TYPE_CHECKING, Any, Self

import orjson

from ovembed.corpus import Item, Refused, Row, Space
from ovembed.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from ovembed.corpus import Options

# A second or so of work for a core: little is lost with a worker, and little time goes into handing out.
BLOCK_TEXTS = 4096
_KEY_BYTES = 16
_RESULTS = "result-*.json"


@dataclass(frozen=True, slots=True)
class Task:
    """What workers do with all blocks: the folder of the model and its name, and how texts become rows.

    limit: of int8 vectors, the same for all workers; None for the other precisions.
    """

    model: str
    name: str
    options: Options
    limit: float | None


@dataclass(frozen=True, slots=True)
class Block:
    """`count` consecutive texts, waiting in `texts`; their rows belong in `part`, which is there only when whole.

    `result` is written after the part: a block that has one is done. `key` differs whenever texts, or what is made of
    them, do.
    """

    number: int
    count: int
    folder: Path
    key: str

    @property
    def texts(self) -> Path:
        return self.folder / f"texts-{self.number:08}.jsonl"

    @property
    def part(self) -> Path:
        return self.folder / part_name(self.number)

    @property
    def result(self) -> Path:
        return self.folder / _RESULTS.replace("*", f"{self.number:08}")


@dataclass(frozen=True, slots=True)
class Embedded:
    """What became of the block of that number and key; `space` is None when none of its texts has a row.

    tokens, repeated: as in a Summary.
    """

    number: int
    key: str
    space: Space | None
    rows: int
    tokens: int
    truncated: int
    truncated_places: tuple[str, ...]
    refused: tuple[Refused, ...]
    repeated: int = 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"space": self.space and self.space.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Raises KeyError or TypeError for what is no such object."""
        read = {
            "space": data["space"] and Space.from_json(data["space"]),
            "truncated_places": tuple(data["truncated_places"]),
            "refused": tuple(Refused(**each) for each in data["refused"]),
        }
        return cls(**(dict(data) | read))


def part_name(number: int) -> str:
    return f"part-{number:08}.parquet"


def write_blocks(items: Iterable[Item], folder: Path, kind: str) -> Iterator[Block]:
    """`kind` goes into the keys: it tells what is made of the texts. Raises OSError as files do."""
    remaining = iter(items)
    for number in count():
        texts = list(islice(remaining, BLOCK_TEXTS))
        if not texts:
            return
        lines = b"".join(orjson.dumps(Row(item).to_json(), option=orjson.OPT_APPEND_NEWLINE) for item in texts)
        key = hashlib.blake2b(kind.encode() + lines, digest_size=_KEY_BYTES).hexdigest()
        block = Block(number, len(texts), folder, key)
        block.texts.write_bytes(lines)
        yield block


def read_texts(block: Block) -> Iterator[Item]:
    with block.texts.open("rb") as file:
        for line in file:
            yield Row.from_json(orjson.loads(line)).item


def write_result(embedded: Embedded, path: Path) -> None:
    path.write_bytes(orjson.dumps(embedded.to_json()))


def read_results(folder: Path) -> dict[int, Embedded]:
    """What was done so far, by the numbers of the blocks. Raises InputError for what cannot be read."""
    try:
        found = [Embedded.from_json(orjson.loads(path.read_bytes())) for path in folder.glob(_RESULTS)]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder} is damaged. Start over with --force.") from error
    return {embedded.number: embedded for embedded in found}
