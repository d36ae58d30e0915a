from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovembed.batches import Layout, padded_length
from ovembed.plans import Batch, plan

LENGTHS = st.lists(st.integers(1, 300), max_size=60)
BUDGETS = st.integers(1, 600)
MOST_TOKENS = 256

# More padding than this is worth a batch of its own.
FAR = 12


def padded(lengths: list[int], budget: int) -> list[list[int]]:
    return [list(batch.positions) for batch in plan(lengths, budget, 1000, packs=False)]


def standing(batch: Batch, lengths: list[int]) -> list[tuple[int, int]]:
    """Row and place of every token in the batch."""
    return [
        (row, token)
        for position, (row, start) in zip(batch.positions, batch.layout.places, strict=True)
        for token in range(start, start + lengths[position])
    ]


@settings(deadline=None)
@given(LENGTHS, BUDGETS, st.booleans())
def test_every_text_runs_exactly_once(lengths: list[int], budget: int, packs: bool) -> None:
    batches = plan(lengths, budget, MOST_TOKENS, packs=packs)
    assert sorted(position for batch in batches for position in batch.positions) == list(range(len(lengths)))


@settings(deadline=None)
@given(LENGTHS, BUDGETS, st.booleans())
def test_no_two_texts_stand_in_one_place(lengths: list[int], budget: int, packs: bool) -> None:
    for batch in plan(lengths, budget, MOST_TOKENS, packs=packs):
        taken = standing(batch, lengths)
        assert len(set(taken)) == len(taken)
        assert all(row < batch.layout.rows and token < batch.layout.width for row, token in taken)
        assert {row for row, _ in taken} == set(range(batch.layout.rows))


@settings(deadline=None)
@given(LENGTHS, BUDGETS, st.booleans())
def test_a_batch_stays_in_the_budget_unless_a_text_is_alone(lengths: list[int], budget: int, packs: bool) -> None:
    for batch in plan(lengths, budget, MOST_TOKENS, packs=packs):
        assert len(batch.positions) == 1 or batch.layout.tokens <= budget


@settings(deadline=None)
@given(LENGTHS, BUDGETS)
def test_padded_texts_have_a_row_each_and_the_longest_come_first(lengths: list[int], budget: int) -> None:
    batches = plan(lengths, budget, MOST_TOKENS, packs=False)
    ordered = [lengths[position] for batch in batches for position in batch.positions]
    assert ordered == sorted(lengths, reverse=True)
    assert all(batch.layout.rows == len(batch.positions) for batch in batches)


@settings(deadline=None)
@given(LENGTHS, BUDGETS)
def test_batches_of_longer_texts_come_first(lengths: list[int], budget: int) -> None:
    longest = [
        max(lengths[position] for position in batch.positions)
        for batch in plan(lengths, budget, MOST_TOKENS, packs=True)
    ]
    assert longest == sorted(longest, reverse=True)


@settings(deadline=None)
@given(LENGTHS, BUDGETS)
def test_a_padded_batch_is_full_or_of_a_power_of_two(lengths: list[int], budget: int) -> None:
    for group in padded(lengths, budget):
        assert padded_length(lengths[group[0]]) * (len(group) + 1) > budget or len(group).bit_count() == 1


@settings(deadline=None)
@given(LENGTHS, BUDGETS)
def test_few_padded_batches_are_not_full_unless_the_next_text_is_much_shorter(lengths: list[int], budget: int) -> None:
    planned = [(len(group), padded_length(lengths[group[0]])) for group in padded(lengths, budget)]
    together = planned[0][1] if planned else 0
    for (count, longest), (next_count, next_longest) in itertools.pairwise(planned):
        if longest * (count + 1) > budget:
            together = next_longest
        elif next_count >= count:
            assert together - next_longest > FAR
            together = next_longest


def test_padding_counts_and_not_only_tokens() -> None:
    lengths = [10, 2, 10, 2, 2, 2]
    groups = padded(lengths, 20)
    assert groups == [[0, 2], [1, 3, 4, 5]]
    assert sum(max(lengths[position] for position in group) * len(group) for group in groups) == sum(lengths)


def test_short_texts_are_not_padded_to_a_long_one() -> None:
    assert padded([5, 100, 7], 1000) == [[1], [2, 0]]


def test_short_texts_fill_up_the_rows_of_long_ones() -> None:
    [batch] = plan([2, 30, 20, 12], 1024, MOST_TOKENS, packs=True)
    assert batch.positions == (1, 0, 2, 3)
    assert batch.layout == Layout(2, 32, ((0, 0), (0, 30), (1, 0), (1, 20)))


def test_rows_that_are_not_shared_are_no_wider_than_it_takes() -> None:
    assert [batch.layout.width for batch in plan([11], 1024, MOST_TOKENS, packs=True)] == [16]
    assert [batch.layout.tokens for batch in plan([30] * 32, 1024, MOST_TOKENS, packs=True)] == [1024]


@pytest.mark.parametrize(("packs", "most_shapes", "most_computed"), [(False, 40, 1.1), (True, 8, 1.05)])
def test_a_long_job_has_few_shapes_and_little_padding(packs: bool, most_shapes: int, most_computed: float) -> None:
    """Each shape costs memory as long as the job lasts."""
    chance = random.Random(7)
    chunks = [[min(30, round(chance.lognormvariate(2.2, 0.3)) + 3) for _ in range(4096)] for _ in range(20)]
    layouts = [batch.layout for lengths in chunks for batch in plan(lengths, 1024, MOST_TOKENS, packs=packs)]
    assert len({(laid.rows, laid.width) for laid in layouts}) <= most_shapes
    assert sum(laid.tokens for laid in layouts) <= most_computed * sum(map(sum, chunks))


def test_a_plan_of_nothing() -> None:
    assert plan([], 100, MOST_TOKENS, packs=True) == plan([], 100, MOST_TOKENS, packs=False) == []
