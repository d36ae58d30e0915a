"""What goes to a worker and what comes back: files of a folder that every machine of the cluster sees."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count, islice
from typing import TYPE_CHECKING

import orjson

from ovembed.corpus import Item, Row

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from ovembed.corpus import Refused, Space

# A second or so of work for a core: little is lost with a worker, and little time goes into handing out.
BLOCK_TEXTS = 4096


@dataclass(frozen=True, slots=True)
class Block:
    """`count` consecutive texts, waiting in `texts`; their rows belong in `part`, which is there only when whole."""

    number: int
    count: int
    folder: Path

    @property
    def texts(self) -> Path:
        return self.folder / f"texts-{self.number:08}.jsonl"

    @property
    def part(self) -> Path:
        return self.folder / part_name(self.number)


@dataclass(frozen=True, slots=True)
class Embedded:
    """What became of a block; `space` is None when none of its texts has a row."""

    number: int
    space: Space | None
    rows: int
    tokens: int
    truncated: int
    truncated_places: tuple[str, ...]
    refused: tuple[Refused, ...]


def part_name(number: int) -> str:
    return f"part-{number:08}.parquet"


def write_blocks(items: Iterable[Item], folder: Path) -> Iterator[Block]:
    """Raises OSError as files do."""
    remaining = iter(items)
    for number in count():
        texts = list(islice(remaining, BLOCK_TEXTS))
        if not texts:
            return
        block = Block(number, len(texts), folder)
        with block.texts.open("wb") as file:
            file.writelines(orjson.dumps(Row(item).to_json(), option=orjson.OPT_APPEND_NEWLINE) for item in texts)
        yield block


def read_texts(block: Block) -> Iterator[Item]:
    with block.texts.open("rb") as file:
        for line in file:
            yield Row.from_json(orjson.loads(line)).item
