"""Work done ahead of those who wait for it, in order, and never far ahead."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

from ovembed.corpus.rows import Pause

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Given = TypeVar("Given")
Made = TypeVar("Made")


def ahead(work: Callable[[Given], Made], inputs: Iterable[Given | Pause], depth: int) -> Iterator[Made]:
    """`work` of each input, in order. While a result is used, or an input made, so many others are worked on.

    At a Pause all results so far are waited for before the next input is. An error of the inputs comes after the
    results of those before it. Whoever ends early, or by an error, waits for nothing that is still worked on.
    """
    waiting: deque[Future[Made]] = deque()
    for begun in _begun(work, inputs):
        if begun is not None:
            waiting.append(begun)
        while len(waiting) > (0 if begun is None else depth):
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _begun(work: Callable[[Given], Made], inputs: Iterable[Given | Pause]) -> Iterator[Future[Made] | None]:
    """None for a Pause."""
    try:
        for given in inputs:
            yield None if isinstance(given, Pause) else _begin(work, given)
    except Exception as error:  # noqa: BLE001  raised where its turn comes
        failed: Future[Made] = Future()
        failed.set_exception(error)
        yield failed


def _begin(work: Callable[[Given], Made], given: Given) -> Future[Made]:
    """In a daemon thread, since the threads of an executor are waited for when the program ends."""
    future: Future[Made] = Future()

    def run() -> None:
        try:
            future.set_result(work(given))
        except BaseException as error:  # noqa: BLE001  raised where its turn comes
            future.set_exception(error)

    threading.Thread(target=run, name="ahead", daemon=True).start()
    return future
