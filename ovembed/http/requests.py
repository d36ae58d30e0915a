"""What a request goes through before its work and while the work is done."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.requests import ClientDisconnect

from ovembed.errors import RequestTooLarge, ShuttingDown

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from starlette.requests import Request

Result = TypeVar("Result")

DEFAULT_BODY_BYTES = 64 * 1024 * 1024


async def read_body(request: Request, max_bytes: int) -> bytes:
    """A body is refused unread when its header says that it is too large, else as soon as it is."""
    claimed = request.headers.get("content-length", "")
    _check_size(int(claimed) if claimed.isdecimal() else 0, max_bytes)
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        _check_size(size, max_bytes)
        chunks.append(chunk)
    return b"".join(chunks)


def _check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise RequestTooLarge(f"The body is larger than {max_bytes} bytes. Send it in parts.")


async def while_connected(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """Await the work; when the client goes it is cancelled, and what of it still waits will not run."""
    task, leaving = asyncio.create_task(work), asyncio.create_task(_gone(request))
    try:
        await asyncio.wait((task, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    except asyncio.CancelledError as error:  # the time for requests to end is over
        raise ShuttingDown("The server is shutting down.") from error
    finally:
        task.cancel()
        leaving.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
