"""Replies leave in one piece."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ovembed.http.joining import Joining

if TYPE_CHECKING:
    from collections.abc import Callable


class Recorded:
    """Stands for uvloop's transport, which passes every write on at once: what it was given, call by call."""

    def __init__(self) -> None:
        self.calls: list[list[bytes] | str] = []
        self._closing = False

    def writelines(self, parts: list[bytes]) -> None:
        self.calls.append(parts)

    def get_write_buffer_size(self) -> int:
        return 100

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self.calls.append("closed")
        self._closing = True

    def get_extra_info(self, name: str) -> str:
        return name


def calls(*turns: Callable[[Joining], object]) -> list[list[bytes] | str]:
    """What the transport got of what was done in these turns of a loop."""

    async def scenario() -> None:
        joining = Joining(recorded)  # type: ignore[arg-type]
        for turn in turns:
            turn(joining)
            await asyncio.sleep(0)

    recorded = Recorded()
    asyncio.run(scenario())
    return recorded.calls


def both(*doings: Callable[[Joining], object]) -> Callable[[Joining], object]:
    return lambda joining: [doing(joining) for doing in doings]


def write(data: bytes) -> Callable[[Joining], object]:
    return lambda joining: joining.write(data)


def test_what_is_written_in_one_turn_leaves_together() -> None:
    assert calls(both(write(b"head"), write(b"body"))) == [[b"head", b"body"]]


def test_what_is_written_in_another_turn_leaves_apart_and_in_order() -> None:
    assert calls(both(write(b"a"), write(b"b")), write(b"c")) == [[b"a", b"b"], [b"c"]]


def test_closing_loses_nothing_and_nothing_follows() -> None:
    assert calls(both(write(b"last"), Joining.close, write(b"late"))) == [[b"last"], "closed"]


def test_what_waits_counts_as_unwritten() -> None:
    sizes: list[int] = []
    measure = lambda joining: sizes.append(joining.get_write_buffer_size())  # noqa: E731
    calls(both(measure, write(b"1234"), measure), measure)
    assert sizes == [100, 104, 100]


def test_all_else_is_the_transport_s() -> None:
    answers: list[str] = []
    calls(lambda joining: answers.append(joining.get_extra_info("peername")))
    assert answers == ["peername"]
