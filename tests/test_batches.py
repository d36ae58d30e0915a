from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ovembed.batches import plan, window

LENGTHS = st.lists(st.integers(1, 60), max_size=40)
BUDGETS = st.integers(1, 200)


@settings(deadline=None)
@given(LENGTHS, BUDGETS)
def test_plan_holds_every_position_exactly_once(lengths: list[int], budget: int) -> None:
    positions = [position for group in plan(lengths, budget) for position in group]
    assert sorted(positions) == list(range(len(lengths)))


@settings(deadline=None)
@given(LENGTHS, BUDGETS)
def test_plan_stays_in_the_budget_unless_a_text_is_alone(lengths: list[int], budget: int) -> None:
    for group in plan(lengths, budget):
        assert len(group) == 1 or max(lengths[position] for position in group) * len(group) <= budget


@settings(deadline=None)
@given(LENGTHS, BUDGETS)
def test_plan_runs_the_longest_first(lengths: list[int], budget: int) -> None:
    ordered = [lengths[position] for group in plan(lengths, budget) for position in group]
    assert ordered == sorted(lengths, reverse=True)


@settings(deadline=None)
@given(LENGTHS, BUDGETS)
def test_plan_fills_each_batch_before_the_next(lengths: list[int], budget: int) -> None:
    groups = plan(lengths, budget)
    for group in groups[:-1]:
        assert lengths[group[0]] * (len(group) + 1) > budget


def test_plan_counts_padding_and_not_only_tokens() -> None:
    lengths = [10, 2, 10, 2, 2]
    groups = plan(lengths, 20)
    assert groups == [[0, 2], [1, 3, 4]]
    assert sum(max(lengths[position] for position in group) * len(group) for group in groups) == sum(lengths)


def test_plan_of_nothing() -> None:
    assert plan([], 100) == []


@st.composite
def windows(draw: st.DrawFn) -> tuple[list[int], int, int]:
    lengths = sorted(draw(st.lists(st.integers(1, 60), min_size=1, max_size=40)))
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
def test_window_cannot_be_extended(case: tuple[list[int], int, int]) -> None:
    lengths, anchor, budget = case
    chosen = window(lengths, anchor, budget)
    if chosen.start > 0:
        assert lengths[chosen[-1]] * (len(chosen) + 1) > budget
    if chosen.stop < len(lengths):
        assert lengths[chosen.stop] * (len(chosen) + 1) > budget


def test_window_prefers_the_neighbour_of_nearer_length() -> None:
    assert window([2, 9, 10, 20], anchor=2, max_batch_tokens=20) == range(1, 3)
    assert window([2, 10, 11, 20], anchor=1, max_batch_tokens=22) == range(1, 3)
    assert window([9, 10, 11], anchor=1, max_batch_tokens=22) == range(2)
