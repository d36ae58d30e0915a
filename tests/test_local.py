from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ovembed.errors import EngineError, InputError, TextError, TextTooLong
from ovembed.local import LocalEmbedder
from tests.fakes import FakeEngine, make_spec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ovembed.batches import Layout
    from ovembed.protocols import Vectors

MIXED = ["a", "a much longer one", "of", "a much longer two", "some", "a", "middling", "z", "x" * 30]


def make_engine(*, streams: int = 1, max_tokens: int = 40) -> FakeEngine:
    return FakeEngine(make_spec(max_tokens=max_tokens), streams=streams)


@pytest.mark.parametrize("max_batch_tokens", [1, 24, 60, 512])
@pytest.mark.parametrize("streams", [1, 3])
def test_rows_are_in_the_order_of_the_texts(streams: int, max_batch_tokens: int) -> None:
    engine = make_engine(streams=streams)
    with LocalEmbedder(engine, "fake", max_batch_tokens=max_batch_tokens) as embedder:
        result = embedder.embed(MIXED)
    expected = np.stack([engine.row(tokens) for tokens in engine.tokenize(MIXED)])
    np.testing.assert_array_equal(result.vectors, expected)
    assert result.vectors.dtype == np.float32
    assert result.vectors.flags.c_contiguous


def test_batches_stay_in_the_budget_unless_a_text_is_alone() -> None:
    engine = make_engine()
    with LocalEmbedder(engine, "fake", max_batch_tokens=24) as embedder:
        embedder.embed(MIXED)
    assert sum(len(batch) for batch in engine.batches) == len(MIXED)
    assert any(len(batch) > 1 for batch in engine.batches)
    for batch in engine.batches:
        assert len(batch) == 1 or max(map(len, batch)) * len(batch) <= 24


def test_everything_about_the_texts_is_told() -> None:
    engine = make_engine(max_tokens=6)
    with LocalEmbedder(engine, "fake") as embedder:
        result = embedder.embed(["ab", "abcdefgh", "a"], truncate=True)
    assert result.tokens == (4, 6, 3)
    assert result.total_tokens == 13
    assert result.truncated == (1,)
    assert (result.model, result.fingerprint) == ("fake", engine.spec.fingerprint)
    np.testing.assert_array_equal(result.vectors[1], engine.row([1, *b"abcd", 2]))


def test_no_texts_give_no_rows_of_the_right_width() -> None:
    engine = make_engine()
    with LocalEmbedder(engine, "fake") as embedder:
        result = embedder.embed([])
    assert result.vectors.shape == (0, engine.spec.dimensions)
    assert (result.tokens, result.total_tokens, engine.batches) == ((), 0, [])


@pytest.mark.parametrize(("text", "kind"), [("", TextError), ("x" * 99, TextTooLong), ("\udcff", TextError)])
def test_a_text_that_is_refused_runs_nothing(text: str, kind: type[TextError]) -> None:
    engine = make_engine()
    with LocalEmbedder(engine, "fake") as embedder, pytest.raises(kind, match=r"^Input 1: "):
        embedder.embed(["fine", text])
    assert engine.batches == []


def test_a_fault_of_the_engine_surfaces_and_the_next_call_works() -> None:
    engine = make_engine(streams=2)
    with LocalEmbedder(engine, "fake", max_batch_tokens=24) as embedder:
        engine.fault = EngineError("inference failed")
        with pytest.raises(EngineError, match="inference failed"):
            embedder.embed(MIXED)
        engine.fault = None
        assert len(embedder.embed(MIXED).vectors) == len(MIXED)


class ShortOfARow(FakeEngine):
    def run(self, batch: Sequence[Sequence[int]], layout: Layout | None = None) -> Vectors:
        return super().run(batch, layout)[:1]


def test_a_missing_row_is_not_filled_with_another() -> None:
    with LocalEmbedder(ShortOfARow(), "fake") as embedder, pytest.raises(ValueError, match="shorter"):
        embedder.embed(["a", "b"])


class InPairs(FakeEngine):
    """Runs a batch only together with another one."""

    def __init__(self) -> None:
        super().__init__(streams=2)
        self.meeting = threading.Barrier(2, timeout=30)

    def run(self, batch: Sequence[Sequence[int]], layout: Layout | None = None) -> Vectors:
        self.meeting.wait()
        return super().run(batch, layout)


def test_two_streams_run_two_batches_at_the_same_time() -> None:
    engine = InPairs()
    with LocalEmbedder(engine, "fake", max_batch_tokens=1) as embedder:
        embedder.embed(["a", "b", "c", "d"])
    assert len(engine.batches) == 4


def test_calls_from_several_threads_get_their_own_rows() -> None:
    engine = make_engine(streams=2)
    engine.gate.clear()
    results: dict[str, Vectors] = {}
    with LocalEmbedder(engine, "fake") as embedder:
        callers = [
            threading.Thread(target=lambda text=text: results.update({text: embedder.embed([text]).vectors}))
            for text in ("first", "second")
        ]
        for caller in callers:
            caller.start()
        assert engine.started.wait(timeout=30)
        assert results == {}
        engine.gate.set()
        for caller in callers:
            caller.join()
    for text in ("first", "second"):
        np.testing.assert_array_equal(results[text][0], engine.row([1, *text.encode(), 2]))


def test_prompts_are_those_of_the_model() -> None:
    engine = FakeEngine(make_spec(prompts={"query": "find: "}, default_prompt="query"))
    with LocalEmbedder(engine, "fake") as embedder:
        assert embedder.prompt() == "find: "
        with pytest.raises(InputError, match="it has: query"):
            embedder.prompt("title")
