"""The fidelity report on made-up rows with known answers, what is said of a model that is too far, and the choice."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pytest

from ovembed.errors import ExportError
from ovembed.export import calibration
from ovembed.export.trial import Candidate, Trial, fastest
from ovembed.export.verify import DEFAULT_MIN_SIMILARITY, compare, near_enough, probe_texts, too_far
from ovembed.repository import Efficiency, Fidelity, Golden
from ovembed.spec import WeightFormat
from tests.fakes import make_spec

if TYPE_CHECKING:
    from ovembed.protocols import Vectors
    from ovembed.spec import Precision


def at_angles(cosines: list[float]) -> tuple[Vectors, Vectors]:
    """Source rows, and rows that have those cosines to them."""
    angles = np.arccos(np.array(cosines, dtype=np.float64))
    base = np.linspace(0.0, 1.0, len(cosines))
    rows = [np.stack([np.cos(turn), np.sin(turn)], axis=1).astype(np.float32) for turn in (base, base + angles)]
    return rows[0], rows[1]


def random_rows(count: int, dimensions: int = 16) -> Vectors:
    return np.random.default_rng(3).normal(size=(count, dimensions)).astype(np.float32)


def fidelity(mean: float, **changes: Any) -> Fidelity:
    settings = {"texts": 9, "first_percentile": mean, "minimum": mean, "neighbours": 1.0, "batch_minimum": 1.0}
    return Fidelity(mean=mean, **(settings | changes))


class TestCosines:
    def test_mean_lowest_and_count(self) -> None:
        source, exported = at_angles([1.0, 0.9, 0.8, 0.5])
        found = compare(source, exported, exported)
        assert found.texts == 4
        assert found.mean == pytest.approx(0.8, abs=1e-6)
        assert found.minimum == pytest.approx(0.5, abs=1e-6)

    def test_the_first_percentile_of_101_texts_is_the_second_lowest(self) -> None:
        source, exported = at_angles([1.0] * 99 + [0.2, 0.6])
        found = compare(source, exported, exported)
        assert found.first_percentile == pytest.approx(0.6, abs=1e-6)
        assert found.minimum == pytest.approx(0.2, abs=1e-6)

    def test_the_first_percentile_of_few_texts_lies_between_the_two_lowest(self) -> None:
        source, exported = at_angles([1.0, 0.9])
        assert compare(source, exported, exported).first_percentile == pytest.approx(0.901, abs=1e-6)

    def test_equal_rows(self) -> None:
        rows = random_rows(30)
        found = compare(rows, rows, rows)
        measured = (found.mean, found.first_percentile, found.minimum, found.neighbours, found.batch_minimum)
        assert measured == pytest.approx((1.0,) * 5, abs=1e-6)

    def test_length_does_not_count(self) -> None:
        rows = random_rows(30)
        found = compare(rows, 7 * rows, rows / 3)
        assert found.minimum == pytest.approx(1.0, abs=1e-6)
        assert found.neighbours == 1.0

    def test_a_row_of_zeros_is_as_far_as_can_be(self) -> None:
        rows = random_rows(5)
        exported = rows.copy()
        exported[2] = 0
        assert compare(rows, exported, exported).minimum == 0.0

    def test_figures_are_plain_numbers(self) -> None:
        rows = random_rows(5)
        found = compare(rows, rows, rows)
        assert {type(getattr(found, name)) for name in ("mean", "first_percentile", "minimum", "neighbours")} == {float}


class TestBatches:
    def test_the_lowest_of_a_text_alone_to_itself_in_a_batch(self) -> None:
        alone, batched = at_angles([1.0, 0.7, 0.95])
        found = compare(alone, alone, batched)
        assert found.minimum == pytest.approx(1.0, abs=1e-6)
        assert found.batch_minimum == pytest.approx(0.7, abs=1e-6)


class TestNeighbours:
    def test_rows_that_changed_places_share_what_chance_gives(self) -> None:
        rows = random_rows(200)
        swapped = rows[np.random.default_rng(4).permutation(200)]
        assert compare(rows, swapped, swapped).neighbours < 0.15

    def test_a_text_that_turned_round_is_counted_with_those_it_left(self) -> None:
        angles = np.radians([0.0, 10.0, 40.0, 60.0, 100.0, 130.0, 160.0, 190.0, 215.0, 240.0, 270.0, 300.0])
        source = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
        exported = source.copy()
        exported[0] = -exported[0]
        share = compare(source, exported, exported).neighbours
        assert share == pytest.approx(_share_by_hand(source, exported))
        assert 0.8 < share < 1.0

    def test_fewer_texts_than_ten_have_all_the_others_as_neighbours(self) -> None:
        rows = random_rows(5)
        assert compare(rows, rows[::-1].copy(), rows[::-1].copy()).neighbours == 1.0

    def test_a_single_text_has_no_neighbours_to_lose(self) -> None:
        rows = random_rows(1)
        assert compare(rows, -rows, -rows).neighbours == 1.0

    def test_a_text_is_not_its_own_neighbour(self) -> None:
        """Each of twelve equal texts would find itself; of the eleven others, ten are taken in order by both."""
        rows = np.ones((12, 3), dtype=np.float32)
        assert compare(rows, rows, rows).neighbours == 1.0


def _share_by_hand(source: Vectors, exported: Vectors) -> float:
    def ten(rows: Vectors, place: int) -> set[int]:
        cosines = [(float(row @ rows[place]), other) for other, row in enumerate(rows) if other != place]
        return {other for _, other in sorted(cosines, reverse=True)[:10]}

    return sum(len(ten(source, place) & ten(exported, place)) for place in range(len(source))) / (10 * len(source))


class TestRefused:
    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    @pytest.mark.parametrize("where", ["alone", "batched"])
    def test_rows_that_are_not_finite(self, where: str, value: float) -> None:
        rows = random_rows(4)
        bad = rows.copy()
        bad[1, 2] = value
        with pytest.raises(ExportError, match=r"not finite\. Try another --weight-format"):
            compare(rows, bad if where == "alone" else rows, bad if where == "batched" else rows)

    @pytest.mark.parametrize("shape", [(4, 8), (3, 16), (5, 16)])
    def test_rows_of_another_shape(self, shape: tuple[int, int]) -> None:
        rows = random_rows(4)
        other = np.ones(shape, dtype=np.float32)
        with pytest.raises(ExportError) as caught:
            compare(rows, other, other)
        assert str(caught.value) == f"The exported model gives vectors of shape {shape}, its source (4, 16)."


class TestTooFar:
    @pytest.mark.parametrize(
        ("precision", "step"),
        [
            ("fp32", "check the package versions"),
            ("fp16", "Try --weight-format fp32"),
            ("int8", "Try --weight-format fp16"),
            ("full-int8", "Try --weight-format int8, or --calibration with texts like yours"),
            ("int4", "Try --weight-format int8"),
        ],
    )
    def test_it_says_how_far_what_was_wanted_and_what_to_try(self, precision: Precision, step: str) -> None:
        message = str(too_far(fidelity(0.812345), precision, None))
        assert message.startswith(
            "The exported model is too far from its source: mean cosine 0.81234, "
            f"wanted at least {DEFAULT_MIN_SIMILARITY[precision]}. Nothing was kept. "
        )
        assert step in message
        assert message.endswith(", or lower --min-similarity.")
        assert "\n" not in message

    def test_the_floor_that_was_asked_for_is_told(self) -> None:
        assert "wanted at least 0.999." in str(too_far(fidelity(0.99), "int8", 0.999))

    def test_every_precision_has_a_floor(self) -> None:
        assert set(DEFAULT_MIN_SIMILARITY) == {*get_args(WeightFormat), "full-int8"}
        assert all(0 < floor < 1 for floor in DEFAULT_MIN_SIMILARITY.values())

    @pytest.mark.parametrize(
        ("mean", "asked", "enough"),
        [
            (0.98, None, True),
            (0.9799, None, False),
            (0.97, 0.97, True),
            (0.97, 0.971, False),
            (0.0, 0.0, True),
            (0.9999999, 1.0, True),
            (0.99999, 1.0, False),
        ],
    )
    def test_the_floor_itself_is_near_enough(self, mean: float, asked: float | None, enough: bool) -> None:
        assert near_enough(fidelity(mean), "int8", asked) is enough


def trial(precision: Precision, mean: float, tokens_per_s: float) -> Trial:
    golden = Golden((), np.zeros((0, 8), dtype=np.float32), np.zeros((0, 8), dtype=np.float32))
    candidate = Candidate(make_spec(precision=precision), Path("model.xml"), Path("tokenizer.json"), pooled=False)
    return Trial(candidate, golden, fidelity(mean), Efficiency(tokens_per_s, 1.0, 1.0))


class TestFastest:
    FULL, INT8, FP32 = trial("full-int8", 0.99, 300), trial("int8", 0.999, 200), trial("fp32", 1.0, 100)

    @pytest.mark.parametrize(
        ("floor", "best"),
        [(None, FULL), (0.0, FULL), (0.99, FULL), (0.995, INT8), (0.9995, FP32), (1.0, FP32)],
    )
    def test_of_those_that_are_near_enough(self, floor: float | None, best: Trial) -> None:
        assert fastest([self.FULL, self.INT8, self.FP32], floor) is best
        assert fastest([self.FP32, self.INT8, self.FULL], floor) is best

    def test_each_has_the_floor_of_its_own_precision(self) -> None:
        """0.975 is enough for full int8, and too little for int8 weights."""
        assert fastest([trial("int8", 0.975, 300), self.FP32], None) is self.FP32
        full = trial("full-int8", 0.975, 300)
        assert fastest([full, self.FP32], None) is full

    def test_near_does_not_beat_fast(self) -> None:
        quick = trial("fp32", 0.99995, 101)
        assert fastest([self.FP32, quick], None) is quick

    def test_nothing_near_enough(self) -> None:
        assert fastest([self.FULL, self.INT8], 0.9999) is None
        assert fastest([], None) is None


class TestBundledTexts:
    def test_calibration_texts_are_many_and_distinct(self) -> None:
        texts = calibration.bundled().texts
        assert len(texts) >= 300
        assert len(set(texts)) == len(texts)
        assert all(text.strip() == text != "" for text in texts)

    def test_none_of_them_is_a_probe(self) -> None:
        """What is measured on was not calibrated on."""
        normal = {" ".join(text.lower().split()) for text in calibration.bundled().texts}
        assert not normal & {" ".join(text.lower().split()) for text in probe_texts()}

    @pytest.mark.parametrize("name", ["calibration", "probes"])
    def test_they_are_in_many_scripts(self, name: str) -> None:
        text = resources.files("ovembed.export").joinpath(f"{name}.txt").read_text(encoding="utf-8")
        blocks = {
            "Latin": ("A", "z"),
            "Greek": ("\u0370", "\u03ff"),
            "Cyrillic": ("\u0400", "\u04ff"),
            "Hebrew": ("\u0590", "\u05ff"),
            "Arabic": ("\u0600", "\u06ff"),
            "Devanagari": ("\u0900", "\u097f"),
            "Thai": ("\u0e00", "\u0e7f"),
            "Japanese": ("\u3040", "\u30ff"),
            "Chinese": ("\u4e00", "\u9fff"),
            "Korean": ("\uac00", "\ud7a3"),
        }
        missing = [
            script for script, (first, last) in blocks.items() if not any(first <= sign <= last for sign in text)
        ]
        assert missing == []

    @pytest.mark.parametrize("texts", [calibration.bundled().texts, probe_texts()], ids=["calibration", "probes"])
    def test_they_are_short_and_long(self, texts: list[str]) -> None:
        words = sorted(len(text.split()) for text in texts)
        assert words[0] <= 3
        assert words[len(words) // 2] <= 40
        assert words[-1] >= 100

    def test_there_are_enough_probes_for_ten_neighbours(self) -> None:
        assert len(set(probe_texts())) == len(probe_texts()) >= 100
