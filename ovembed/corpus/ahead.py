"""Work ahead of those who wait for it, in order, and never far ahead."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Generic, TypeVar

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
    for made in parts_ahead(lambda given: (work(given),), inputs, depth):
        yield from made


def parts_ahead(
    work: Callable[[Given], Iterable[Made]], inputs: Iterable[Given | Pause], depth: int
) -> Iterator[list[Made]]:
    """As `ahead`, for work that makes several things, each of use as soon as it is there.

    They come in the order of the inputs: of one, all that is made by then. What is worked on at an early end goes on
    until it has made one thing more.
    """
    abandoned = threading.Event()
    waiting: deque[_Work[Made]] = deque()
    try:
        for begun in _begun(work, inputs, abandoned):
            if begun is not None:
                waiting.append(begun)
            while len(waiting) > (0 if begun is None else depth):
                yield from waiting.popleft().made()
        while waiting:
            yield from waiting.popleft().made()
    finally:
        abandoned.set()


def _begun(
    work: Callable[[Given], Iterable[Made]], inputs: Iterable[Given | Pause], abandoned: threading.Event
) -> Iterator[_Work[Made] | None]:
    """None for a Pause."""
    try:
        for given in inputs:
            yield None if isinstance(given, Pause) else _begin(work, given, abandoned)
    except Exception as error:  # noqa: BLE001  raised where its turn comes
        failed: _Work[Made] = _Work()
        failed.arrived.put(_End(error))
        yield failed


def _begin(work: Callable[[Given], Iterable[Made]], given: Given, abandoned: threading.Event) -> _Work[Made]:
    """In a daemon thread, since the threads of an executor are waited for when the program ends."""
    begun: _Work[Made] = _Work()

    def run() -> None:
        try:
            for made in work(given):
                begun.arrived.put(made)
                if abandoned.is_set():
                    return
            begun.arrived.put(_End())
        except BaseException as error:  # noqa: BLE001  raised where its turn comes
            begun.arrived.put(_End(error))

    threading.Thread(target=run, name="ahead", daemon=True).start()
    return begun


@dataclass(frozen=True, slots=True)
class _End:
    error: BaseException | None = None


class _Work(Generic[Made]):
    """What is made of one input, and its end."""

    def __init__(self) -> None:
        self.arrived: SimpleQueue[Made | _End] = SimpleQueue()

    def made(self) -> Iterator[list[Made]]:
        """Until its end."""
        while True:
            found: list[Made] = []
            each = self.arrived.get()
            while not isinstance(each, _End):
                found.append(each)
                if self.arrived.empty():
                    break
                each = self.arrived.get()
            if found:
                yield found
            if isinstance(each, _End):
                if each.error is not None:
                    raise each.error
                return
