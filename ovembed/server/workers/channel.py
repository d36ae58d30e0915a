"""Questions and answers between a supervisor and a worker, both ways at once, over a socket of their own."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import pickle
import struct
from typing import TYPE_CHECKING, Any, NamedTuple, Self

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

_LOG = logging.getLogger(__name__)

_LENGTH = struct.Struct("!I")


class Unanswered(Exception):
    """The process at the other end could not answer, and has logged why."""


class Gone(Unanswered):
    """The process at the other end has ended."""


class _Message(NamedTuple):
    number: int
    is_answer: bool
    content: Any


class Channel:
    """One end. What is sent is pickled: both ends are processes of one server, and nobody else holds the socket."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Callable[[Any], Awaitable[Any]]
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._answer = answer
        self._numbers = itertools.count()
        self._awaited: dict[int, asyncio.Future[Any]] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, end: socket.socket, answer: Callable[[Any], Awaitable[Any]]) -> Self:
        """`answer` is asked what the other end asks."""
        return cls(*await asyncio.open_connection(sock=end), answer)

    async def ask(self, question: Any) -> Any:
        """Raises Gone when the other end has ended, before the question or before its answer; Unanswered."""
        if self._reading.done():
            raise Gone
        number = next(self._numbers)
        self._awaited[number] = asyncio.get_running_loop().create_future()
        self._send(_Message(number, is_answer=False, content=question))
        try:
            answer = await self._awaited[number]
        finally:
            del self._awaited[number]
        if isinstance(answer, Unanswered):
            raise answer
        return answer

    async def closed(self) -> None:
        """Wait until the other end has gone."""
        await asyncio.wait({self._reading})

    def close(self) -> None:
        self._writer.close()

    async def _read(self) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
                message = pickle.loads(await self._reader.readexactly(length))  # noqa: S301  see the class
                if not message.is_answer:
                    task = asyncio.create_task(self._reply(message))
                    self._answering.add(task)
                    task.add_done_callback(self._answering.discard)
                else:
                    self._settle(message)
        for future in self._awaited.values():
            if not future.done():
                future.set_result(Gone())

    def _settle(self, answered: _Message) -> None:
        """Nobody may wait for it any more."""
        future = self._awaited.get(answered.number)
        if future is not None and not future.done():
            future.set_result(answered.content)

    async def _reply(self, asked: _Message) -> None:
        try:
            self._send(_Message(asked.number, is_answer=True, content=await self._answer(asked.content)))
        except Exception:  # noqa: BLE001  whoever asked must hear of it
            _LOG.exception("%s was not answered. This is a bug.", type(asked.content).__name__)
            self._send(_Message(asked.number, is_answer=True, content=Unanswered()))

    def _send(self, message: _Message) -> None:
        packed = pickle.dumps(message)
        self._writer.write(_LENGTH.pack(len(packed)) + packed)
