"""Results of other threads, brought to an event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

Result = TypeVar("Result")


class Handover:
    """To the loop that runs where it is made: as asyncio.wrap_future, but all that have arrived share a wake-up."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._arrived: deque[asyncio.Future[None]] = deque()
        self._woken = False

    def is_here(self) -> bool:
        """Whether its loop is the running one."""
        return asyncio.get_running_loop() is self._loop

    async def result_of(self, future: Future[Result]) -> Result:
        """Cancelled, it cancels the future too."""
        arrival: asyncio.Future[None] = self._loop.create_future()
        future.add_done_callback(lambda _: self._tell(arrival))
        try:
            await arrival
        except asyncio.CancelledError:
            future.cancel()
            raise
        return future.result()

    def _tell(self, arrival: asyncio.Future[None]) -> None:
        """In whichever thread the future was settled."""
        self._arrived.append(arrival)
        if not self._woken and not self._loop.is_closed():
            self._woken = True
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._woken = False
        while self._arrived:
            arrival = self._arrived.popleft()
            if not arrival.done():
                arrival.set_result(None)
