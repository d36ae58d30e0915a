from __future__ import annotations

import itertools
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from ovembed.batches import Rows, full_count, layout, packed_width, padded_length, plan

LENGTHS = st.lists(st.integers(1, 60), max_size=40)
BUDGETS = st.integers(1, 200)


# More padding than this is worth a batch of its own.
FAR = 12


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
def test_a_batch_of_a_plan_is_full_or_of_a_power_of_two(lengths: list[int], budget: int) -> None:
    for group in plan(lengths, budget):
        assert padded_length(lengths[group[0]]) * (len(group) + 1) > budget or len(group).bit_count() == 1


@settings(deadline=None)
@given(LENGTHS, BUDGETS)
def test_few_batches_of_a_plan_are_not_full_unless_the_next_text_is_much_shorter(
    lengths: list[int], budget: int
) -> None:
    planned = [(len(group), padded_length(lengths[group[0]])) for group in plan(lengths, budget)]
    together = planned[0][1] if planned else 0
    for (count, longest), (next_count, next_longest) in itertools.pairwise(planned):
        if longest * (count + 1) > budget:
            together = next_longest
        elif next_count >= count:
            assert together - next_longest > FAR
            together = next_longest


def test_plan_counts_padding_and_not_only_tokens() -> None:
    lengths = [10, 2, 10, 2, 2, 2]
    groups = plan(lengths, 20)
    assert groups == [[0, 2], [1, 3, 4, 5]]
    assert sum(max(lengths[position] for position in group) * len(group) for group in groups) == sum(lengths)


def test_plan_does_not_pad_short_texts_to_a_long_one() -> None:
    assert plan([5, 100, 7], 1000) == [[1], [2, 0]]


def test_many_plans_together_have_few_shapes() -> None:
    """Each costs memory as long as the job lasts."""
    chance = random.Random(7)
    chunks = [[min(30, round(chance.lognormvariate(2.2, 0.3)) + 3) for _ in range(4096)] for _ in range(50)]
    few, many = (
        {(len(batch), padded_length(lengths[batch[0]])) for lengths in some for batch in plan(lengths, 1024)}
        for some in (chunks[:5], chunks)
    )
    assert len(many) <= 1.5 * len(few)


def test_plan_of_nothing() -> None:
    assert plan([], 100) == []


@given(st.integers(1, 10_000))
def test_a_full_count_is_near_and_one_of_few(count: int) -> None:
    full = full_count(count)
    assert 0.8 * count < full <= count
    assert full == full_count(full)


def test_counts_make_four_steps_to_each_power_of_two() -> None:
    counts = sorted({full_count(count) for count in range(1, 33)})
    assert counts == [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32]


TEXTS = st.lists(st.integers(1, 300), min_size=1, max_size=40)
LIMITS = st.integers(1, 512)


@given(TEXTS, LIMITS, st.booleans())
def test_no_two_texts_of_a_batch_stand_in_one_place(lengths: list[int], limit: int, packs: bool) -> None:
    laid = layout(lengths, limit, packs=packs)
    taken = [
        (row, token)
        for (row, start), length in zip(laid.places, lengths, strict=True)
        for token in range(start, start + length)
    ]
    assert len(set(taken)) == sum(lengths)
    assert all(row < laid.rows and token < laid.width for row, token in taken)


@given(TEXTS, LIMITS)
def test_padded_texts_have_a_row_each(lengths: list[int], limit: int) -> None:
    laid = layout(lengths, limit, packs=False)
    assert laid.places == tuple((row, 0) for row in range(len(lengths)))
    assert laid.width == max(*lengths, min(padded_length(max(lengths)), limit))


@given(TEXTS, LIMITS)
def test_packing_never_computes_more_than_padding(lengths: list[int], limit: int) -> None:
    assert layout(lengths, limit, packs=True).tokens <= layout(lengths, limit, packs=False).tokens


def test_texts_share_rows_where_that_is_less_to_compute() -> None:
    assert layout([30, 20, 14, 40, 24], 256, packs=True).places == ((0, 0), (0, 30), (0, 50), (1, 0), (1, 40))
    assert layout([60, 60], 256, packs=True).places == ((0, 0), (1, 0))
    assert layout([8], 256, packs=True).tokens == 8


def test_a_text_goes_where_it_leaves_the_least_room() -> None:
    rows = Rows(64, 2)
    places = [rows.place(length) for length in (40, 50, 20, 10, 5, 4)]
    assert places == [(0, 0), (1, 0), (0, 40), (1, 50), None, (0, 60)]


@given(st.integers(1, 2000), LIMITS)
def test_rows_to_share_are_wide_enough_and_within_the_model(longest: int, limit: int) -> None:
    width = packed_width(longest, limit)
    assert width >= longest
    assert width == longest or width <= limit
    assert longest > limit or limit < 64 or width >= 64
