"""Results of a batcher's threads, brought to an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import pytest

from ovembed.serving.handover import Handover

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE_S = 30


class Problem(Exception):
    pass


def elsewhere(work: Callable[[], object]) -> None:
    """Do it in another thread, while the loop of this one stands still."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, PATIENCE_S))


async def begun(*coroutines: Coroutine[Any, Any, int]) -> list[asyncio.Task[int]]:
    tasks = [asyncio.create_task(each) for each in coroutines]
    await asyncio.sleep(0)
    return tasks


def test_results_that_arrive_together_wake_the_loop_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        wake, wakes = loop.call_soon_threadsafe, []

        def counting(*arguments: Any) -> asyncio.Handle:
            wakes.append(arguments)
            return wake(*arguments)

        monkeypatch.setattr(loop, "call_soon_threadsafe", counting)
        handover, futures = Handover(), [Future[int]() for _ in range(5)]
        tasks = await begun(*map(handover.result_of, futures))
        for round_of_futures in (futures[:3], futures[3:]):
            elsewhere(lambda settled=round_of_futures: [future.set_result(futures.index(future)) for future in settled])
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        assert await asyncio.gather(*tasks) == [0, 1, 2, 3, 4]
        assert len(wakes) == 2

    run(scenario())


def test_a_result_that_is_there_already_is_given() -> None:
    async def scenario() -> None:
        future = Future[int]()
        future.set_result(7)
        assert await Handover().result_of(future) == 7

    run(scenario())


def test_errors_are_raised() -> None:
    async def scenario() -> None:
        future = Future[int]()
        [task] = await begun(Handover().result_of(future))
        elsewhere(lambda: future.set_exception(Problem()))
        with pytest.raises(Problem):
            await task

    run(scenario())


def test_who_is_cancelled_wants_no_result_and_the_others_get_theirs() -> None:
    async def scenario() -> None:
        handover, gone, stays = Handover(), Future[int](), Future[int]()
        leaving, staying = await begun(handover.result_of(gone), handover.result_of(stays))
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert gone.cancelled()
        elsewhere(lambda: stays.set_result(1))
        assert await staying == 1

    run(scenario())


def test_a_result_for_a_loop_that_has_ended_is_nobody_s(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        waiting.append(Handover().result_of(future))
        waiting[0].send(None)

    future, waiting = Future[int](), list[Coroutine[Any, Any, int]]()
    run(scenario())
    elsewhere(lambda: future.set_result(1))
    waiting[0].close()
    assert not caplog.records


def test_a_loop_has_a_handover_of_its_own() -> None:
    async def made() -> Handover:
        handover = Handover()
        assert handover.is_here()
        return handover

    async def scenario() -> None:
        assert not handover.is_here()

    handover = asyncio.run(made())
    run(scenario())
