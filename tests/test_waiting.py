from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from ovembed.batches import full_count, layout, packed_width, padded_length
from ovembed.serving.waiting import Waiting

LENGTHS = st.lists(st.integers(1, 90), min_size=1, max_size=60)
BUDGETS = st.integers(1, 200)
PACKED = st.sampled_from([None, 16, 90, 512])
LIKE = 3


def waiting(lengths: list[int], budget: int, packed_to: int | None = None) -> Waiting[int]:
    """Texts of so many tokens, each a request of its own; the job is its place."""
    queue: Waiting[int] = Waiting(budget, packed_to)
    for place, length in enumerate(lengths):
        queue.add(place, [[7] * length])
    return queue


def batches_of(lengths: list[int], budget: int, packed_to: int | None = None) -> list[list[int]]:
    """The places of the texts, batch by batch."""
    queue, taken = waiting(lengths, budget, packed_to), []
    while queue.texts:
        taken.append([text.job for text in queue.take()])
    return taken


@settings(deadline=None)
@given(LENGTHS, BUDGETS, PACKED)
def test_every_text_is_taken_once(lengths: list[int], budget: int, packed_to: int | None) -> None:
    assert sorted(itertools.chain(*batches_of(lengths, budget, packed_to))) == list(range(len(lengths)))


@settings(deadline=None)
@given(LENGTHS, BUDGETS, PACKED)
def test_the_oldest_is_in_the_next_batch_or_the_one_after(
    lengths: list[int], budget: int, packed_to: int | None
) -> None:
    left, passed_over = list(range(len(lengths))), None
    for batch in batches_of(lengths, budget, packed_to):
        assert left[0] in batch or left[0] != passed_over
        passed_over = left[0]
        left = [place for place in left if place not in batch]


@settings(deadline=None)
@given(LENGTHS, BUDGETS)
def test_a_batch_is_alike_and_in_the_budget_unless_it_passes_a_longer_text(lengths: list[int], budget: int) -> None:
    left = list(range(len(lengths)))
    for batch in batches_of(lengths, budget):
        padded = [padded_length(lengths[place]) for place in batch]
        oldest = padded_length(lengths[left[0]])
        bound, spread = (budget, LIKE) if left[0] in batch else (oldest, oldest // 8)
        assert len(batch) == 1 or max(padded) * len(batch) <= bound
        assert max(padded) - min(padded) <= spread
        assert left[0] in batch or oldest > budget
        left = [place for place in left if place not in batch]


@settings(deadline=None)
@given(LENGTHS, BUDGETS)
def test_a_batch_has_one_of_few_counts(lengths: list[int], budget: int) -> None:
    assert all(len(batch) == full_count(len(batch)) for batch in batches_of(lengths, budget))


@settings(deadline=None)
@given(LENGTHS, BUDGETS)
def test_a_packed_batch_is_in_the_budget_unless_it_is_one_row_or_passes_a_longer_text(
    lengths: list[int], budget: int
) -> None:
    """And a row that texts share is as wide as every such row, however small the budget."""
    left = list(range(len(lengths)))
    for batch in batches_of(lengths, budget, 512):
        tokens = [lengths[place] for place in batch]
        laid = layout(tokens, 512, packs=True)
        bound = budget if left[0] in batch else padded_length(lengths[left[0]])
        assert sum(tokens) <= bound or len(batch) == 1
        assert laid.tokens <= max(bound, packed_width(max(tokens), 512)) or len(batch) == 1
        left = [place for place in left if place not in batch]


def test_packed_texts_go_by_age_whatever_their_length() -> None:
    assert batches_of([10, 40, 3, 20, 50, 10, 1], 128, 512) == [[0, 1, 2, 3, 5, 6], [4]]


def test_much_shorter_texts_pass_one_that_is_longer_than_a_batch_once() -> None:
    assert batches_of([300, 20, 300, 10, 10], 128, 512) == [[1, 3, 4], [0], [2]]


def test_of_texts_that_are_alike_the_oldest_go_first() -> None:
    assert batches_of([10, 13, 10, 12, 11, 10], budget=39) == [[0, 1, 2], [3, 4, 5]]
    assert batches_of([10, 10, 14, 13, 10], budget=100) == [[0, 1, 3, 4], [2]]


def test_a_text_that_does_not_fit_is_no_hindrance_to_shorter_ones() -> None:
    assert batches_of([10, 10, 13, 10], budget=30) == [[0, 1, 3], [2]]


def test_the_youngest_wait_where_the_count_is_none_of_the_ladder() -> None:
    assert batches_of([5] * 9 + [6] * 2, budget=1000) == [list(range(10)), [10]]
    assert batches_of([5, 6, 5] * 3, budget=1000) == [list(range(8)), [8]]


def test_what_was_put_back_keeps_its_turn() -> None:
    queue = waiting([5] * 9, 1000)
    queue.take()
    queue.add(9, [[7] * 5])
    assert [text.job for text in queue.take()] == [8, 9]


def test_it_counts_what_waits() -> None:
    queue = waiting([5, 40, 5], 1000)
    assert (queue.texts, queue.tokens) == (3, 50)
    queue.take()
    assert (queue.texts, queue.tokens) == (1, 40)
    queue.take()
    assert (queue.texts, queue.tokens, queue.oldest_s()) == (0, 0, 0)
