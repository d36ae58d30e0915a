from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ovembed.batches import Layout, Rows, full_count, layout, packed_width, padded_length


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
def test_packing_never_costs_more_than_rows_of_their_own(lengths: list[int], limit: int) -> None:
    apart = Layout(len(lengths), packed_width(max(lengths), limit), ())
    assert layout(lengths, limit, packs=True).cost <= apart.cost


@given(TEXTS, LIMITS)
def test_rows_are_no_longer_than_the_model_takes(lengths: list[int], limit: int) -> None:
    assert layout(lengths, limit, packs=True).width <= max(*lengths, limit)


def test_few_texts_leave_no_large_gaps() -> None:
    """In rows that are as wide as their longest text, these would compute 224, 128 and 256 tokens."""
    batches = ([100, 60], [20, 30, 25], [60, 50, 50, 30, 20])
    laid = [layout(lengths, 256, packs=True) for lengths in batches]
    assert [(each.rows, each.width) for each in laid] == [(1, 160), (1, 80), (2, 112)]


def test_texts_share_rows_where_that_is_less_to_compute() -> None:
    assert layout([30, 20, 14, 40, 24], 256, packs=True).places == ((0, 0), (0, 30), (0, 50), (1, 0), (1, 40))
    assert layout([60, 60], 256, packs=True).places == ((0, 0), (1, 0))
    assert layout([8], 256, packs=True).tokens == 8


def test_an_engine_that_packs_meets_few_widths() -> None:
    """Each shape costs memory, and the widths that fit vector registers are the fastest."""
    alone = {layout([length], 256, packs=True).width for length in range(1, 257)}
    pairs = {layout([length, length], 256, packs=True).width for length in range(1, 257)}
    assert alone == {*range(8, 81, 8), *range(96, 257, 16)}
    assert pairs == set(range(16, 257, 16))


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
    assert width in {longest, limit} or width % 16 == 0
