from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from ovembed.batches import padded_length, plan, window

LENGTHS = st.lists(st.integers(1, 60), max_size=40)
BUDGETS = st.integers(1, 200)


# More padding than this is worth a batch of its own.
FAR = 8


@given(st.integers(1, 10_000))
def test_a_padded_length_is_near_and_one_of_few(length: int) -> None:
    padded = padded_length(length)
    assert length <= padded < max(length + 1, length * 1.125)
    assert padded_length(padded) == padded


def test_lengths_make_eight_steps_to_each_power_of_two() -> None:
    padded = sorted({padded_length(length) for length in range(1, 513)})
    assert padded == [
        *range(1, 17),
        *range(18, 33, 2),
        *range(36, 65, 4),
        *range(72, 129, 8),
        *range(144, 257, 16),
        *range(288, 513, 32),
    ]


@settings(deadline=None)
@given(LENGTHS, BUDGETS)
def test_plan_holds_every_position_exactly_once(lengths: list[int], budget: int) -> None:
    positions = [position for group in plan(lengths, budget) for position in group]
    assert sorted(positions) == list(range(len(lengths)))


@settings(deadline=None)
@given(LENGTHS, BUDGETS)
def test_plan_stays_in_the_budget_unless_a_text_is_alone(lengths: list[int], budget: int) -> None:
    for group in plan(lengths, budget):
        assert len(group) == 1 or padded_length(lengths[group[0]]) * len(group) <= budget


@settings(deadline=None)
@given(LENGTHS, BUDGETS)
def test_plan_runs_the_longest_first(lengths: list[int], budget: int) -> None:
    ordered = [lengths[position] for group in plan(lengths, budget) for position in group]
    assert ordered == sorted(lengths, reverse=True)


@settings(deadline=None)
@given(LENGTHS, BUDGETS)
def test_plan_ends_a_batch_only_when_it_is_full_or_the_next_text_much_shorter(lengths: list[int], budget: int) -> None:
    groups = plan(lengths, budget)
    for group, following in itertools.pairwise(groups):
        longest, next_length = padded_length(lengths[group[0]]), padded_length(lengths[following[0]])
        assert longest * (len(group) + 1) > budget or longest - next_length > FAR


def test_plan_counts_padding_and_not_only_tokens() -> None:
    lengths = [10, 2, 10, 2, 2]
    groups = plan(lengths, 20)
    assert groups == [[0, 2], [1, 3, 4]]
    assert sum(max(lengths[position] for position in group) * len(group) for group in groups) == sum(lengths)


def test_plan_does_not_pad_short_texts_to_a_long_one() -> None:
    assert plan([5, 100, 7], 1000) == [[1], [2, 0]]


def test_plan_of_nothing() -> None:
    assert plan([], 100) == []


@st.composite
def windows(draw: st.DrawFn) -> tuple[list[int], int, int]:
    lengths = sorted(map(padded_length, draw(st.lists(st.integers(1, 60), min_size=1, max_size=40))))
    return lengths, draw(st.integers(0, len(lengths) - 1)), draw(BUDGETS)


@settings(deadline=None)
@given(windows())
def test_window_holds_the_anchor_and_lies_within_the_list(case: tuple[list[int], int, int]) -> None:
    lengths, anchor, budget = case
    chosen = window(lengths, anchor, budget)
    assert chosen.step == 1
    assert 0 <= chosen.start <= anchor < chosen.stop <= len(lengths)


@settings(deadline=None)
@given(windows())
def test_window_stays_in_the_budget_unless_the_anchor_is_alone(case: tuple[list[int], int, int]) -> None:
    lengths, anchor, budget = case
    chosen = window(lengths, anchor, budget)
    assert len(chosen) == 1 or lengths[chosen[-1]] * len(chosen) <= budget


@settings(deadline=None)
@given(windows())
def test_window_takes_one_of_few_counts(case: tuple[list[int], int, int]) -> None:
    assert len(window(*case)) in {1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48}


@settings(deadline=None)
@given(windows())
def test_window_pads_no_text_by_more_than_a_batch_costs(case: tuple[list[int], int, int]) -> None:
    lengths, *_ = case
    chosen = window(*case)
    assert lengths[chosen[-1]] - lengths[chosen[0]] <= FAR


def test_window_grows_until_the_budget_is_full() -> None:
    assert window([10] * 9, anchor=0, max_batch_tokens=80) == range(8)
    assert window([10] * 9, anchor=8, max_batch_tokens=40) == range(5, 9)


def test_window_prefers_the_neighbour_of_nearer_length() -> None:
    assert window([2, 9, 10, 20], anchor=2, max_batch_tokens=20) == range(1, 3)
    assert window([2, 10, 11, 20], anchor=1, max_batch_tokens=22) == range(1, 3)
    assert window([9, 10, 11], anchor=1, max_batch_tokens=22) == range(2)


def test_window_leaves_the_longest_where_the_count_is_none_of_the_ladder() -> None:
    assert window([10, 10, 10, 10, 12], anchor=0, max_batch_tokens=1000) == range(4)
    assert window([10, 12, 12, 12, 12], anchor=4, max_batch_tokens=1000) == range(1, 5)


def test_window_leaves_those_alone_that_would_make_all_others_longer() -> None:
    assert window([10, 10, 10, 18], anchor=0, max_batch_tokens=1000) == range(3)
    assert window([10, 18], anchor=0, max_batch_tokens=1000) == range(2)
