from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from ovembed.admission import LONGEST_TEXT, admit_texts, admit_tokens, check_texts, lengths, tokenize
from ovembed.errors import TextError, TextTooLong
from tests.fakes import FakeEngine, make_spec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ovembed.protocols import Tokens

ENGINE = FakeEngine(make_spec(max_tokens=6))


def test_fitting_texts_pass_as_they_are() -> None:
    admitted = admit_texts(ENGINE, ["ab", "abcd"], truncate=False)
    assert admitted.tokens == [[1, 97, 98, 2], [1, 97, 98, 99, 100, 2]]
    assert admitted.truncated == ()


def test_no_texts() -> None:
    assert admit_texts(ENGINE, [], truncate=False).tokens == []


def test_empty_text_is_refused_by_its_position() -> None:
    with pytest.raises(TextError, match=r"^Input 1: the text is empty") as caught:
        admit_texts(ENGINE, ["a", "", "b"], truncate=True)
    assert caught.value.position == 1


def test_all_texts_at_fault_are_told_at_once() -> None:
    with pytest.raises(TextTooLong, match=r"^Input 1: 7 tokens") as too_long:
        admit_texts(ENGINE, ["a", "abcde", "ab", "abcdef"], truncate=False)
    assert [str(fault).split(",")[0] for fault in too_long.value.others] == ["Input 3: 8 tokens"]
    with pytest.raises(TextError, match=r"^Input 0: the text is empty") as bad:
        check_texts(["", "a", "\udcff", ""])
    assert [fault.position for fault in bad.value.others] == [2, 3]


def test_text_of_undecoded_bytes_is_refused_by_its_position() -> None:
    with pytest.raises(TextError, match=r"^Input 1: the text is not valid Unicode \(character 2\)"):
        check_texts(["a", "ab\udcff"])


def test_too_long_text_is_refused_with_the_numbers_and_the_next_step() -> None:
    with pytest.raises(TextTooLong, match=r"^Input 2: 7 tokens, but the model takes 6\. .*truncate") as caught:
        admit_texts(ENGINE, ["a", "abcd", "abcde", "abcdef"], truncate=False)
    assert caught.value.position == 2
    assert "\n" not in str(caught.value)


def test_cut_text_keeps_its_beginning_and_the_closing_token() -> None:
    admitted = admit_texts(ENGINE, ["ab", "abcdefgh"], truncate=True)
    assert admitted.tokens == [[1, 97, 98, 2], [1, 97, 98, 99, 100, 2]]
    assert admitted.truncated == (1,)


@pytest.mark.parametrize(("closing", "expected"), [(0, [1, 97, 98, 99, 100, 101]), (2, [1, 97, 98, 99, 104, 2])])
def test_cut_text_keeps_as_many_closing_tokens_as_the_model_has(closing: int, expected: list[int]) -> None:
    engine = FakeEngine(make_spec(max_tokens=6))
    engine.closing_tokens = closing
    assert admit_texts(engine, ["abcdefgh"], truncate=True).tokens == [expected]


def test_token_ids_of_a_whole_text_pass_as_they_are() -> None:
    given = [[1, 0, 255, 2], [1, 2]]
    admitted = admit_tokens(ENGINE, given, truncate=False)
    assert (admitted.tokens, admitted.completed) == (given, ())


@pytest.mark.parametrize("tokens", [[97, 98], [1, 97, 98], [97, 98, 2]])
def test_token_ids_get_the_special_tokens_that_they_lack(tokens: list[int]) -> None:
    given = [[1, 99, 2], tokens]
    admitted = admit_tokens(ENGINE, given, truncate=False)
    assert (admitted.tokens, admitted.completed) == (ENGINE.tokenize(["c", "ab"]), (1,))
    assert given == [[1, 99, 2], tokens]


def test_special_tokens_count_for_the_length_of_token_ids() -> None:
    with pytest.raises(TextTooLong, match=r"^Input 0: 7 tokens"):
        admit_tokens(ENGINE, [[97] * 5], truncate=False)
    admitted = admit_tokens(ENGINE, [[97] * 5], truncate=True)
    assert (admitted.tokens, admitted.truncated, admitted.completed) == ([[1, 97, 97, 97, 97, 2]], (0,), (0,))


@pytest.mark.parametrize("token", [-1, 256, 100_277])
def test_token_ids_outside_the_vocabulary_are_refused_with_the_next_step(token: int) -> None:
    with pytest.raises(TextError, match=rf"^Input 1: token id {token} is outside .*\(0 to 255\).* send the text"):
        admit_tokens(ENGINE, [[1, 2], [1, token, 2]], truncate=True)


def test_empty_list_of_token_ids_is_refused() -> None:
    with pytest.raises(TextError, match=r"^Input 0: the list of token ids is empty"):
        admit_tokens(ENGINE, [[]], truncate=False)


def test_too_many_token_ids_are_refused_or_cut() -> None:
    with pytest.raises(TextTooLong, match=r"^Input 0: 8 tokens"):
        admit_tokens(ENGINE, [[1, 3, 4, 5, 6, 7, 8, 2]], truncate=False)
    assert admit_tokens(ENGINE, [[1, 3, 4, 5, 6, 7, 8, 2]], truncate=True).tokens == [[1, 3, 4, 5, 6, 2]]


def test_cutting_leaves_the_callers_lists_alone() -> None:
    given = [[1, 3, 4, 5, 6, 7, 8, 2]]
    admit_tokens(ENGINE, given, truncate=True)
    assert given == [[1, 3, 4, 5, 6, 7, 8, 2]]


class CountingEngine(FakeEngine):
    """Remembers the characters that were tokenized at once; a word of x alone is one token."""

    def __init__(self) -> None:
        super().__init__(make_spec(max_tokens=6))
        self.tokenized: list[int] = []

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        self.tokenized.append(sum(map(len, texts)))
        return super().tokenize([re.sub("x+", "x", text) for text in texts])


def test_of_a_text_far_too_long_only_the_beginning_is_read() -> None:
    engine = CountingEngine()
    with pytest.raises(TextTooLong, match=r"^Input 1: more than \d+ tokens, but the model takes 6\."):
        admit_texts(engine, ["a", "ab" * 1_000_000], truncate=False)
    assert admit_texts(engine, ["ab" * 1_000_000], truncate=True).tokens == [[1, 97, 98, 97, 98, 2]]
    assert lengths(engine, ["ab" * 1_000_000])[0] > 6
    assert max(engine.tokenized) < 10_000


def test_a_text_of_many_characters_and_few_tokens_is_read_whole() -> None:
    engine = CountingEngine()
    admitted = admit_texts(engine, ["a" + "x" * 900_000 + "b"], truncate=False)
    assert (admitted.tokens, admitted.truncated) == ([[1, 97, 120, 98, 2]], ())
    assert lengths(engine, ["x" * LONGEST_TEXT]) == [3]


def test_what_is_not_read_has_to_be_cut() -> None:
    text = "x" * LONGEST_TEXT + "b"
    with pytest.raises(TextTooLong, match=r"^Input 0: 1000001 characters, but at most 1000000 are read\. .*truncate"):
        admit_texts(CountingEngine(), [text], truncate=False)
    admitted = admit_texts(CountingEngine(), ["a", text], truncate=True)
    assert (admitted.tokens, admitted.truncated) == ([[1, 97, 2], [1, 120, 2]], (1,))
    with pytest.raises(TextTooLong, match=r"^Input 1: 1000001 characters"):
        tokenize(CountingEngine(), ["a", text])


@pytest.mark.parametrize("lengths_of_texts", [[400_000] * 7, [1_000_000] * 3, [1] * 5 + [1_000_000] + [2] * 5])
def test_texts_are_tokenized_in_parts_of_bounded_size(lengths_of_texts: list[int]) -> None:
    engine = CountingEngine()
    texts = [chr(97 + number) + "x" * (length - 1) for number, length in enumerate(lengths_of_texts)]
    read = tokenize(engine, texts)
    assert [tokens[1] for tokens in read] == [97 + number for number in range(len(texts))]
    assert sum(engine.tokenized) == sum(lengths_of_texts)
    assert max(engine.tokenized) <= LONGEST_TEXT


def test_texts_that_fit_in_one_part_are_tokenized_together() -> None:
    engine = CountingEngine()
    assert tokenize(engine, []) == []
    assert len(admit_texts(engine, ["a", "b"] * 1_000, truncate=False).tokens) == 2_000
    assert engine.tokenized == [2_000]
