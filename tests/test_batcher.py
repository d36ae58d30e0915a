from __future__ import annotations

import random
import threading
from concurrent.futures import wait
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ovembed.errors import EngineError, Overloaded, RequestTooLarge, ShuttingDown
from ovembed.serving.batcher import Batcher, BatchReport, QueueState
from tests.fakes import FakeEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future

    from ovembed.batches import Layout
    from ovembed.protocols import Tokens, Vectors

    MakeBatcher = Callable[..., Batcher]

PATIENCE_S = 30


@pytest.fixture
def batcher() -> Iterator[MakeBatcher]:
    """Makes batchers; each is closed in the end, with its engine set free."""
    made: list[tuple[Batcher, FakeEngine]] = []

    def make(engine: FakeEngine, **settings: Any) -> Batcher:
        made.append((Batcher(engine, **settings), engine))
        return made[-1][0]

    yield make
    for batcher, engine in made:
        engine.gate.set()
        batcher.close()


def tokens(length: int, seed: int = 0) -> Tokens:
    return [(seed * 31 + place) % 256 for place in range(length)]


def hold_first_batch(engine: FakeEngine, batcher: Batcher) -> Future[Vectors]:
    """Keep the engine busy with one text of one token until its gate is opened."""
    engine.gate.clear()
    held = batcher.submit([[9]])
    assert engine.started.wait(PATIENCE_S)
    return held


def assert_rows(engine: FakeEngine, future: Future[Vectors], token_lists: Sequence[Tokens]) -> None:
    rows = future.result(PATIENCE_S)
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, np.stack([engine.row(each) for each in token_lists]))


def test_an_idle_worker_runs_a_request_at_once_and_alone(batcher: MakeBatcher) -> None:
    engine = FakeEngine()
    assert_rows(engine, batcher(engine).submit([[1, 2]]), [[1, 2]])
    assert engine.batches == [[[1, 2]]]


def test_requests_that_wait_share_one_batch(batcher: MakeBatcher) -> None:
    engine = FakeEngine()
    shared = batcher(engine)
    hold_first_batch(engine, shared)
    requests = [[tokens(4, seed)] for seed in range(6)]
    futures = [shared.submit(request) for request in requests]
    engine.gate.set()
    for future, request in zip(futures, requests, strict=True):
        assert_rows(engine, future, request)
    assert engine.batches[1:] == [[each for request in requests for each in request]]


def test_padded_tokens_of_a_batch_stay_in_the_budget_or_below_those_of_one_long_text(batcher: MakeBatcher) -> None:
    engine = FakeEngine()
    bounded = batcher(engine, max_batch_tokens=24)
    hold_first_batch(engine, bounded)
    lengths = [30, *range(1, 25), 40, *range(1, 12)]
    future = bounded.submit([tokens(length) for length in lengths])
    engine.gate.set()
    assert_rows(engine, future, [tokens(length) for length in lengths])
    for batch in engine.batches:
        assert max(map(len, batch)) * len(batch) <= 40
    assert sorted(len(text) for batch in engine.batches[1:] for text in batch) == sorted(lengths)


def test_the_text_that_waited_longest_is_in_the_next_batch_or_the_one_after(batcher: MakeBatcher) -> None:
    engine = FakeEngine()
    fair = batcher(engine, max_batch_tokens=20)
    hold_first_batch(engine, fair)
    by_age = [tokens(length, seed) for seed, length in enumerate([10, 3, 20, 3, 10, 1, 20, 5, 2, 10, 18, 1, 16])]
    futures = [fair.submit([each]) for each in by_age]
    engine.gate.set()
    wait(futures, PATIENCE_S)
    waiting, passed_over = list(by_age), None
    for batch in engine.batches[1:]:
        assert waiting[0] in batch or waiting[0] is not passed_over
        passed_over = waiting[0]
        waiting = [each for each in waiting if each not in batch]
    assert waiting == []


def test_texts_that_fill_less_than_half_a_batch_come_in_turn(batcher: MakeBatcher) -> None:
    engine = FakeEngine()
    fair = batcher(engine, max_batch_tokens=20)
    hold_first_batch(engine, fair)
    by_age = [tokens(length, seed) for seed, length in enumerate([10, 3, 9, 3, 10, 1, 10, 5, 2, 10])]
    futures = [fair.submit([each]) for each in by_age]
    engine.gate.set()
    wait(futures, PATIENCE_S)
    waiting = list(by_age)
    for batch in engine.batches[1:]:
        assert waiting[0] in batch
        waiting = [each for each in waiting if each not in batch]


def test_a_long_text_is_overtaken_once_by_short_ones(batcher: MakeBatcher) -> None:
    engine = FakeEngine()
    fair = batcher(engine, max_batch_tokens=8)
    hold_first_batch(engine, fair)
    futures = [fair.submit([tokens(30)])]
    futures += [fair.submit([tokens(2, seed)]) for seed in range(20)]
    engine.gate.set()
    wait(futures, PATIENCE_S)
    assert [len(batch[0]) for batch in engine.batches[1:4]] == [2, 30, 2]


def test_short_texts_that_pass_a_long_one_may_take_as_long_as_it(batcher: MakeBatcher) -> None:
    engine = FakeEngine()
    fair = batcher(engine, max_batch_tokens=16)
    hold_first_batch(engine, fair)
    futures = [fair.submit([tokens(32)]), *(fair.submit([tokens(4, seed)]) for seed in range(20))]
    engine.gate.set()
    wait(futures, PATIENCE_S)
    assert [len(batch) for batch in engine.batches[1:4]] == [8, 1, 4]


def test_short_texts_do_not_wait_behind_many_long_ones(batcher: MakeBatcher) -> None:
    engine = FakeEngine()
    fair = batcher(engine, max_batch_tokens=16)
    hold_first_batch(engine, fair)
    futures = [fair.submit([tokens(30, seed)]) for seed in range(20)]
    futures += [fair.submit([tokens(4, seed)]) for seed in range(8)]
    engine.gate.set()
    wait(futures, PATIENCE_S)
    assert [len(batch[0]) for batch in engine.batches[1:6]] == [4, 30, 4, 30, 30]


def test_texts_of_like_length_run_together(batcher: MakeBatcher) -> None:
    engine = FakeEngine()
    sorting = batcher(engine, max_batch_tokens=40)
    hold_first_batch(engine, sorting)
    future = sorting.submit([tokens(length) for length in (2, 20, 2, 20, 2, 20, 2, 20)])
    engine.gate.set()
    future.result(PATIENCE_S)
    assert [[len(text) for text in batch] for batch in engine.batches[1:]] == [[2, 2, 2, 2], [20, 20], [20, 20]]


def test_rows_keep_the_order_of_their_request(batcher: MakeBatcher) -> None:
    engine = FakeEngine()
    small = batcher(engine, max_batch_tokens=9)
    request = [tokens(length, seed) for seed, length in enumerate([9, 1, 5, 1, 8, 3, 3, 9, 2])]
    assert_rows(engine, small.submit(request), request)
    assert len(engine.batches) > 2


class InPairs(FakeEngine):
    """Runs a batch only together with another one."""

    def __init__(self) -> None:
        super().__init__(streams=2)
        self.meeting = threading.Barrier(2, timeout=PATIENCE_S)

    def run(self, batch: Sequence[Sequence[int]], layout: Layout | None = None) -> Vectors:
        self.meeting.wait()
        return super().run(batch, layout)


def test_many_texts_of_one_request_wait_in_the_order_of_those_that_come_alone(batcher: MakeBatcher) -> None:
    chance = random.Random(1)
    early, late = ([tokens(chance.randint(1, 9), seed) for seed in range(1_000)] for _ in range(2))
    together, alone = FakeEngine(), FakeEngine()
    for engine, requests in ((together, [early, late]), (alone, [[each] for each in early + late])):
        waiting = batcher(engine, max_batch_tokens=64)
        hold_first_batch(engine, waiting)
        futures = [waiting.submit(request) for request in requests]
        engine.gate.set()
        wait(futures, PATIENCE_S)
    assert together.batches == alone.batches


def test_two_streams_work_at_the_same_time(batcher: MakeBatcher) -> None:
    engine = InPairs()
    request = [tokens(3, seed) for seed in range(4)]
    assert_rows(engine, batcher(engine, max_batch_tokens=3).submit(request), request)


def test_texts_of_a_cancelled_request_do_not_run(batcher: MakeBatcher) -> None:
    engine = FakeEngine()
    shared = batcher(engine)
    hold_first_batch(engine, shared)
    gone = shared.submit([[1, 1], [2, 2, 2, 2, 2, 2]])
    stays = shared.submit([[3, 3]])
    assert gone.cancel()
    engine.gate.set()
    assert_rows(engine, stays, [[3, 3]])
    shared.close()
    assert engine.batches == [[[9]], [[3, 3]]]


def test_a_request_cancelled_while_it_runs_harms_nobody_in_its_batch(batcher: MakeBatcher) -> None:
    engine = FakeEngine()
    shared = batcher(engine)
    held = hold_first_batch(engine, shared)
    gone, stays = shared.submit([[1, 1]]), shared.submit([[2, 2]])
    engine.started.clear()
    held.add_done_callback(lambda _: engine.gate.clear())
    engine.gate.set()
    assert engine.started.wait(PATIENCE_S)
    assert gone.cancel()
    engine.gate.set()
    assert_rows(engine, stays, [[2, 2]])
    assert_rows(engine, shared.submit([[4]]), [[4]])


def test_a_fault_fails_its_batch_and_nothing_else(batcher: MakeBatcher) -> None:
    engine = FaultyFor(7)
    shared = batcher(engine, max_batch_tokens=4)
    hold_first_batch(engine, shared)
    before, failing, after = shared.submit([[1, 1]]), shared.submit([[7] * 4]), shared.submit([[2] * 3])
    engine.gate.set()
    assert_rows(engine, before, [[1, 1]])
    with pytest.raises(EngineError, match="inference failed"):
        failing.result(PATIENCE_S)
    assert_rows(engine, after, [[2] * 3])


def test_a_request_fails_when_one_of_its_batches_does_and_the_rest_of_it_does_not_run(batcher: MakeBatcher) -> None:
    engine = FaultyFor(7)
    small = batcher(engine, max_batch_tokens=2)
    with pytest.raises(EngineError):
        small.submit([[7, 7], [1, 1], [2, 2]]).result(PATIENCE_S)
    small.close()
    assert engine.batches == [[[7, 7]]]


class FaultyFor(FakeEngine):
    """Fails for batches that hold this token."""

    def __init__(self, token: int) -> None:
        super().__init__()
        self._token = token

    def run(self, batch: Sequence[Sequence[int]], layout: Layout | None = None) -> Vectors:
        rows = super().run(batch, layout)
        if any(self._token in text for text in batch):
            raise EngineError("inference failed")
        return rows


@pytest.mark.parametrize("fault", [EngineError("inference failed"), RuntimeError("anything"), MemoryError()])
def test_the_worker_outlives_every_fault(batcher: MakeBatcher, fault: Exception) -> None:
    engine = FakeEngine()
    lasting = batcher(engine)
    engine.fault = fault
    with pytest.raises(type(fault)):
        lasting.submit([[1], [2]]).result(PATIENCE_S)
    engine.fault = None
    assert_rows(engine, lasting.submit([[1], [2]]), [[1], [2]])


class ShortOfARow(FakeEngine):
    def run(self, batch: Sequence[Sequence[int]], layout: Layout | None = None) -> Vectors:
        return super().run(batch, layout)[1:]


def test_a_wrong_number_of_rows_fails_the_batch(batcher: MakeBatcher) -> None:
    with pytest.raises(ValueError, match="shorter"):
        batcher(ShortOfARow()).submit([[1], [2]]).result(PATIENCE_S)


def test_a_request_that_does_not_fit_now_is_refused_whole(batcher: MakeBatcher) -> None:
    engine = FakeEngine()
    full = batcher(engine, max_queued_tokens=10)
    hold_first_batch(engine, full)
    waiting = full.submit([tokens(6)])
    with pytest.raises(Overloaded, match=r"6 tokens wait"):
        full.submit([tokens(2, 1), tokens(3, 2)])
    fitting = full.submit([tokens(4, 3)])
    engine.gate.set()
    wait([waiting, fitting], PATIENCE_S)
    assert sorted(map(len, (text for batch in engine.batches[1:] for text in batch))) == [4, 6]


def test_the_queue_takes_as_much_again_once_it_is_empty(batcher: MakeBatcher) -> None:
    engine = FakeEngine()
    full = batcher(engine, max_queued_tokens=10)
    for seed in range(3):
        assert_rows(engine, full.submit([tokens(10, seed)]), [tokens(10, seed)])


def test_a_cancelled_request_leaves_the_queue(batcher: MakeBatcher) -> None:
    engine = FakeEngine()
    full = batcher(engine, max_queued_tokens=10)
    held = hold_first_batch(engine, full)
    full.submit([tokens(8)]).cancel()
    last = full.submit([tokens(2)])
    engine.gate.set()
    wait([held, last], PATIENCE_S)
    assert_rows(engine, full.submit([tokens(10)]), [tokens(10)])
    assert [len(text) for batch in engine.batches for text in batch] == [1, 2, 10]


def test_a_request_above_the_bound_can_never_run(batcher: MakeBatcher) -> None:
    engine = FakeEngine()
    with pytest.raises(RequestTooLarge, match="11 tokens, the queue takes 10"):
        batcher(engine, max_queued_tokens=10).submit([tokens(11)])
    assert engine.batches == []


def test_no_texts_are_answered_at_once(batcher: MakeBatcher) -> None:
    engine = FakeEngine()
    rows = batcher(engine).submit([]).result(PATIENCE_S)
    assert rows.shape == (0, engine.spec.dimensions)


def test_close_finishes_what_waits_and_then_refuses(batcher: MakeBatcher) -> None:
    engine = FakeEngine()
    closing = batcher(engine, max_batch_tokens=4)
    hold_first_batch(engine, closing)
    futures = [closing.submit([tokens(4, seed)]) for seed in range(5)]
    closer = threading.Thread(target=closing.close)
    closer.start()
    engine.gate.set()
    closer.join(PATIENCE_S)
    assert all(future.done() for future in futures)
    for seed, future in enumerate(futures):
        assert_rows(engine, future, [tokens(4, seed)])
    with pytest.raises(ShuttingDown):
        closing.submit([[1]])


class Notebook:
    """Writes down what a batcher tells."""

    def __init__(self) -> None:
        self.reports: list[BatchReport] = []
        self.dropped = 0

    def batch_ended(self, batch: BatchReport) -> None:
        self.reports.append(batch)

    def texts_dropped(self, count: int) -> None:
        self.dropped += count


def test_observers_hear_of_every_batch_before_its_callers_do(batcher: MakeBatcher) -> None:
    engine, notebook = FakeEngine(), Notebook()
    told = batcher(engine, max_batch_tokens=12, observers=[notebook])
    held = hold_first_batch(engine, told)
    heard: list[int] = []
    held.add_done_callback(lambda _: heard.append(len(notebook.reports)))
    future = told.submit([tokens(4), tokens(2), tokens(3), tokens(9)])
    engine.gate.set()
    future.result(PATIENCE_S)
    assert heard == [1]
    assert [report.lengths for report in notebook.reports] == [(1,), (4, 2, 3), (9,)]
    assert [(report.tokens, report.padding) for report in notebook.reports] == [(1, 0), (9, 3), (9, 0)]
    assert all(report.error is None for report in notebook.reports)
    assert all(len(report.waited_s) == len(report.lengths) for report in notebook.reports)
    assert all(waited >= 0 for report in notebook.reports for waited in report.waited_s)
    assert all(report.inference_s >= 0 for report in notebook.reports)
    assert notebook.dropped == 0


def test_observers_hear_of_faults_and_of_texts_that_nobody_waits_for(batcher: MakeBatcher) -> None:
    engine, notebook = FaultyFor(7), Notebook()
    told = batcher(engine, max_batch_tokens=2, observers=[notebook])
    hold_first_batch(engine, told)
    told.submit([[1, 1], [2, 2], [3]]).cancel()
    failing = told.submit([[7, 7], [4, 4]])
    engine.gate.set()
    with pytest.raises(EngineError):
        failing.result(PATIENCE_S)
    told.close()
    assert [report.error is None for report in notebook.reports] == [True, False]
    assert notebook.dropped == 4


def test_the_queue_tells_what_waits(batcher: MakeBatcher) -> None:
    engine = FakeEngine()
    told = batcher(engine)
    assert told.queue() == QueueState(texts=0, tokens=0, oldest_s=0.0)
    hold_first_batch(engine, told)
    future = told.submit([tokens(4), tokens(2)])
    waiting = told.queue()
    assert (waiting.texts, waiting.tokens) == (2, 6)
    assert waiting.oldest_s >= 0
    engine.gate.set()
    future.result(PATIENCE_S)
    assert told.queue() == QueueState(texts=0, tokens=0, oldest_s=0.0)


def test_close_ends_the_workers(batcher: MakeBatcher) -> None:
    before = threading.active_count()
    closing = batcher(FakeEngine(streams=3))
    assert threading.active_count() == before + 3
    closing.close()
    assert threading.active_count() == before


@pytest.mark.parametrize("seed", range(4))
def test_every_caller_of_a_crowd_gets_its_own_rows(batcher: MakeBatcher, seed: int) -> None:
    engine = FakeEngine(streams=1 + seed % 3)
    crowded = batcher(engine, max_batch_tokens=64)
    outcomes: list[Exception | None] = []

    def call(caller: int) -> None:
        chance = random.Random(f"{seed} {caller}")
        for _ in range(20):
            lengths = [chance.randint(1, 40) for _ in range(chance.randint(1, 6))]
            request = [[chance.randrange(256) for _ in range(length)] for length in lengths]
            future = crowded.submit(request)
            if chance.random() < 0.2:
                future.cancel()
                continue
            try:
                assert_rows(engine, future, request)
                outcomes.append(None)
            except AssertionError as error:
                outcomes.append(error)

    callers = [threading.Thread(target=call, args=(caller,)) for caller in range(12)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(PATIENCE_S)
    crowded.close()
    assert len(outcomes) > 100
    assert [outcome for outcome in outcomes if outcome is not None] == []
    assert all(len(batch) == 1 or max(map(len, batch)) * len(batch) <= 64 for batch in engine.batches)
    assert crowded.queue() == QueueState(texts=0, tokens=0, oldest_s=0)
