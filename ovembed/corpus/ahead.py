"""Work done ahead of those who wait for it, in order, and never far ahead."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Given = TypeVar("Given")
Made = TypeVar("Made")


def ahead(work: Callable[[Given], Made], inputs: Iterable[Given], depth: int) -> Iterator[Made]:
    """`work` of each input, in order. While a result is used, or an input made, so many others are worked on."""
    pool = ThreadPoolExecutor(depth, thread_name_prefix="ahead")
    begun: deque[Future[Made]] = deque()
    try:
        for given in inputs:
            begun.append(pool.submit(work, given))
            if len(begun) > depth:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
