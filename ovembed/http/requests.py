"""What a request goes through before its work and while the work is done."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.requests import ClientDisconnect

from ovembed.errors import BodyTimeout, RequestTimeout, RequestTooLarge, ShuttingDown

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from starlette.requests import Request

Raw = TypeVar("Raw")
Result = TypeVar("Result")

# Parsing so much takes 2 ms at most. Above, nobody notices what a thread costs.
_INLINE_BYTES = 131_072


@dataclass(frozen=True, slots=True)
class Limits:
    """body_bytes: the largest body; body_s: each wait for a further part of it, and for a client that does not read;
    request_s: a request in all.
    """

    body_bytes: int = 16 * 1024 * 1024
    body_s: float = 20
    request_s: float = 300


async def read_body(request: Request, limits: Limits) -> bytes:
    """Raises RequestTooLarge, unread when its header says so, else as soon as it is; BodyTimeout; ClientDisconnect.

    The time of `while_connected` begins here.
    """
    claimed = request.headers.get("content-length", "")
    _check_size(int(claimed) if claimed.isdecimal() else 0, limits)
    now = asyncio.get_running_loop().time
    request.state.deadline = now() + limits.request_s
    chunks, size, more = [], 0, True
    while more:
        try:
            async with asyncio.timeout_at(min(request.state.deadline, now() + limits.body_s)):
                message = await request.receive()
        except TimeoutError as error:
            raise BodyTimeout(
                f"The body did not arrive in time (--body-timeout {limits.body_s:g}, --timeout {limits.request_s:g})."
            ) from error
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        _check_size(size, limits)
        more = message.get("more_body", False)
    return b"".join(chunks)


def _check_size(size: int, limits: Limits) -> None:
    if size > limits.body_bytes:
        raise RequestTooLarge(f"The body is larger than {limits.body_bytes} bytes. Send it in parts.")


class Parsing:
    """What takes time for each byte of a body: done at once for a small one, else in a thread, while the loop goes on
    with others. One at a time, for what is parsed is many times as large.
    """

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def run(self, size: int, parse: Callable[[Raw], Result], raw: Raw) -> Result:
        """`raw`: the body, or what has been made of it so far; `size`: bytes of the body."""
        if size <= _INLINE_BYTES:
            return parse(raw)
        async with self._turn:
            return await asyncio.to_thread(parse, raw)


async def while_connected(request: Request, work: Coroutine[Any, Any, Result], limits: Limits) -> Result:
    """Await the work of a request whose body was read by `read_body`.

    When client or time go it is cancelled, and what of it still waits will not run. Raises ClientDisconnect,
    RequestTimeout, ShuttingDown when the server is at its end.
    """
    task, leaving = asyncio.create_task(work), asyncio.create_task(_gone(request))
    left_s = request.state.deadline - asyncio.get_running_loop().time()
    try:
        await asyncio.wait((task, leaving), timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if leaving.done():
            raise ClientDisconnect
        raise RequestTimeout(
            f"The request took longer than {limits.request_s:g} s. Send less at once, or try again later."
        )
    except asyncio.CancelledError as error:  # the time for requests to end is over
        raise ShuttingDown() from error
    finally:
        task.cancel()
        leaving.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
