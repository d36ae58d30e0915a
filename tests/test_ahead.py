"""Work ahead of those who wait for it, when it ends early."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from ovembed.corpus.ahead import ahead
from ovembed.corpus.rows import Pause
from ovembed.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

DEPTH = 2


def test_an_error_of_the_inputs_comes_after_what_was_begun() -> None:
    def inputs() -> Iterator[int]:
        yield from range(DEPTH)
        raise InputError("bad")

    results = ahead(str, inputs(), DEPTH)
    assert [next(results) for _ in range(DEPTH)] == ["0", "1"]
    with pytest.raises(InputError, match="bad"):
        next(results)


def test_an_early_end_waits_for_nothing() -> None:
    answer, finished = threading.Event(), []

    def work(number: int) -> int:
        if number:
            answer.wait(10)
            finished.append(number)
        return number

    results: Generator[int] = ahead(work, range(9), DEPTH)  # type: ignore[assignment]
    assert next(results) == 0
    results.close()
    assert finished == []
    answer.set()


def test_at_a_pause_nothing_is_kept_back() -> None:
    def inputs() -> Iterator[int | Pause]:
        yield from (1, 2, Pause())
        pytest.fail("More was asked for before the results were there.")

    results = ahead(str, inputs(), 5)
    assert [next(results), next(results)] == ["1", "2"]
