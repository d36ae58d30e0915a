"""Texts of so many tokens, by the tokenizers of real and tiny models."""

from __future__ import annotations

import io
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ovembed.corpus import Inputs, Item, Reading, Split
from ovembed.corpus.document import Document
from ovembed.corpus.token_runs import token_runs
from ovembed.engine.tokenizer import FastTokenizer
from ovembed.errors import InputError
from tests import models

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ovembed.protocols import TokenSpans

    Measure = Callable[[str], TokenSpans]

PROSE = (
    "Embeddings of unbelievably long documents, naïve ones too — 日本語の文章も読みます。\n\n"
    "👩‍👩‍👧‍👦 family; e\u0301clair, ﷽ and Straße.  The cat sat in the house by the river. "
)
TEXT = st.text(st.characters(codec="utf-8"), max_size=300)


@pytest.fixture(scope="module", params=["bert", "roberta", "xlm-roberta", "gemma3_text"])
def measure(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Measure:
    folder = models.save_tiny(tmp_path_factory.mktemp("tokenizer") / "model", request.param)
    return FastTokenizer(folder / "tokenizer.json").spans


# Their tokens never reach over a space, so that it is clear what a word costs.
of_words = pytest.mark.parametrize("measure", ["bert", "roberta", "xlm-roberta"], indirect=True)


def runs(text: str, measure: Measure, size: int, overlap: int = 0) -> list[Item]:
    return list(token_runs(Document("a", text.splitlines(keepends=True)), measure, size, overlap))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TEXT, st.integers(8, 30), st.integers(0, 7))
def test_every_run_fits_and_nothing_that_has_tokens_is_left_out(
    measure: Measure, text: str, size: int, overlap: int
) -> None:
    found = runs(text, measure, size, overlap)
    covered = set()
    for item in found:
        assert item.text == text[item.offset : item.offset + len(item.text)]
        assert item.text
        assert len(item.text) == 1 or measure(item.text).total <= size
        assert item.line == 1 + text.count("\n", 0, item.offset)
        covered.update(range(item.offset, item.offset + len(item.text)))
    for start, stop, _ in measure(text).by_word():
        assert all(place in covered or text[place].isspace() for place in range(start, stop))
    starts = [item.offset for item in found]
    stops = [item.offset + len(item.text) for item in found]
    assert starts == sorted(set(starts))
    assert stops == sorted(set(stops))


@of_words
def test_runs_are_as_long_as_they_may_be(measure: Measure) -> None:
    words = "cat dog house river bridge train library book city market " * 30
    found = runs(words, measure, 20)
    for item, following in pairwise(found):
        longer = f"{item.text} {following.text.split()[0]}"
        assert measure(longer).total > 20


@of_words
def test_runs_overlap_by_whole_words(measure: Measure) -> None:
    found = runs("cat dog house river bridge train library book city market " * 10, measure, 20, overlap=6)
    for item, following in pairwise(found):
        shared = item.offset + len(item.text) - following.offset
        assert shared > 0
        assert following.text.startswith(item.text[-shared:])
        in_place = list(measure(f"x {item.text[-shared:]}").by_word())[1:]
        assert sum(tokens for _, _, tokens in in_place) <= 6


def test_characters_that_people_see_stay_whole(measure: Measure) -> None:
    characters = [seen for seen in ("👩‍👩‍👧‍👦", "e\u0301", "🇩🇪", "👍🏽", "\u1112\u1161\u11ab", "❤️") for _ in range(40)]
    borders = {0, *accumulate(map(len, characters))}
    for item in runs("".join(characters), measure, 8):
        assert {item.offset, item.offset + len(item.text)} <= borders


def test_a_word_keeps_the_marks_behind_its_last_letter(measure: Measure) -> None:
    text = "cafe\u0301 noir I ❤️ it " * 20
    words = {word for item in runs(text, measure, 8) for word in item.text.split()}
    assert words <= set(text.split())


def test_a_document_longer_than_memory_is_cut_as_it_comes(measure: Measure) -> None:
    """What is read ahead of the runs is bounded, whether there are spaces or not."""
    given_out = 0

    def pieces() -> object:
        nonlocal given_out
        while True:
            given_out += 1
            yield "the cat " * 50 + "x" * 400

    found = token_runs(Document("a", pieces()), measure, 30, 5)  # type: ignore[arg-type]
    for _ in range(200):
        next(found)
    assert given_out < 1000


def test_a_document_cut_as_it_comes_has_the_runs_of_the_whole(measure: Measure) -> None:
    text = PROSE * 700  # several windows
    pieces = [text[start : start + 1000] for start in range(0, len(text), 1000)]
    assert list(token_runs(Document("a", pieces), measure, 50, 10)) == list(
        token_runs(Document("a", [text]), measure, 50, 10)
    )


def test_too_few_tokens_are_told(measure: Measure) -> None:
    with pytest.raises(InputError, match="leave no room"):
        runs("a", measure, 1)


def test_ids_and_rows_are_kept(tmp_path: Path, measure: Measure) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('"one"\n"cat dog house river bridge train library book city market music child"\n', "utf-8")
    found = list(Inputs([str(path)], io.BytesIO(), Reading(split=Split("tokens", 9))).entries(measure))
    assert {item.line for item in found} == {1, 2}
    assert len(found) > 2
