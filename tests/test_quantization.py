"""Full int8, int4 and their kin: how near they stay, how small they get, and the texts they are calibrated on."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ovembed import ExportRequest, ModelRepository, export_model
from ovembed.cli.main import main
from ovembed.engine import EngineSettings, OpenVINOEngine
from ovembed.engine.tokenizer import load_tokenizer
from ovembed.errors import InputError
from ovembed.export import calibration
from ovembed.export.quantize import quantize
from ovembed.export.trial import Candidate
from ovembed.local import LocalEmbedder
from ovembed.vectors import cosine
from tests.folders import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ovembed.protocols import Vectors
    from ovembed.repository import ModelEntry
    from ovembed.spec import Precision

Quantized = dict[str, Candidate]


@pytest.fixture(scope="module")
def exact(repository: ModelRepository) -> ModelEntry:
    return repository.get("minilm-fp32")


@pytest.fixture(scope="module")
def quantized(exact: ModelEntry, tmp_path_factory: pytest.TempPathFactory) -> Quantized:
    """The default model in full int8 and int4, from the fp32 one that is exported already."""
    folder = tmp_path_factory.mktemp("quantized")
    encoded = load_tokenizer(exact.tokenizer_path).encode(calibration.bundled().texts)
    tokens = [ids[: exact.spec.max_tokens] for ids in encoded]
    made = {}
    for precision in ("full-int8", "int4"):
        path = folder / precision / "openvino_model.xml"
        path.parent.mkdir()
        quantize(exact.model_path, path, precision, tokens if precision == "full-int8" else ())
        made[precision] = Candidate(exact.spec, path, exact.tokenizer_path, exact.pooled)
    return made


def embed(model: Any, texts: Sequence[str]) -> Vectors:
    with LocalEmbedder(OpenVINOEngine.load(model, EngineSettings()), "tried") as embedder:
        return embedder.embed(texts, truncate=True).vectors


def spearman(left: Vectors, right: Vectors) -> float:
    """Times 100."""
    return 100 * float(np.corrcoef(_ranks(left), _ranks(right))[0, 1])


def _ranks(values: Vectors) -> Vectors:
    """Equal values share the mean of their ranks."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(count)
    return ((2 * ends - count - 1) / 2)[place]


class TestDefaultModel:
    def test_full_int8_on_the_sts_benchmark(
        self, quantized: Quantized, exact: ModelEntry, sts_sentences: list[str], sts_scores: Vectors
    ) -> None:
        """Each fifth pair; the whole is for the bench, which measures the same."""
        places = [place for pair in range(0, len(sts_scores), 5) for place in (2 * pair, 2 * pair + 1)]
        sentences = [sts_sentences[place] for place in places]
        wanted, got = embed(exact, sentences), embed(quantized["full-int8"], sentences)
        cosines = cosine(got, wanted)
        assert cosines.mean() >= 0.997
        assert np.percentile(cosines, 1) >= 0.985
        people = sts_scores[::5]
        ours, theirs = (spearman(cosine(rows[::2], rows[1::2]), people) for rows in (got, wanted))
        assert abs(ours - theirs) <= 0.35

    def test_int4_is_rougher_and_still_of_use(self, quantized: Quantized, exact: ModelEntry) -> None:
        texts = [text for text in calibration.bundled().texts if text.isascii()][:80]
        cosines = cosine(embed(quantized["int4"], texts), embed(exact, texts))
        assert 0.93 < cosines.mean() < 0.999

    def test_sizes(self, quantized: Quantized, exact: ModelEntry) -> None:
        sizes = {name: candidate.size_bytes / exact.size_bytes for name, candidate in quantized.items()}
        assert 0.24 < sizes["full-int8"] < 0.28
        assert sizes["int4"] < sizes["full-int8"]

    def test_activations_are_quantized_too(self, quantized: Quantized) -> None:
        """FakeQuantize in front of the multiplications; weight compression has none."""
        layers = {name: candidate.model_path.read_text("utf-8") for name, candidate in quantized.items()}
        assert layers["full-int8"].count('type="FakeQuantize"') > 20
        assert layers["int4"].count('type="FakeQuantize"') == 0
        assert 'element_type="u4"' in layers["int4"]


def test_spearman_is_the_known_one() -> None:
    assert spearman(np.array([1.0, 2.0, 3.0]), np.array([10.0, 20.0, 30.0])) == pytest.approx(100)
    assert spearman(np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0])) == pytest.approx(-100)
    assert spearman(np.array([1.0, 2.0, 2.0, 4.0]), np.array([1.0, 2.0, 3.0, 4.0])) == pytest.approx(94.868, abs=1e-3)


@pytest.fixture(scope="module")
def exports(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelEntry]:
    """The tiny model in each precision that is not exported elsewhere, and calibrated on texts of one's own."""
    folder = tmp_path_factory.mktemp("tiny")
    texts = folder / "texts.txt"
    texts.write_text("\n".join(f"the river and house number {number}" for number in range(150)), encoding="utf-8")
    made = ModelRepository(folder / "models")
    requests: dict[str, tuple[Precision, Path | None]] = {
        "int8": ("int8", None),
        "int4": ("int4", None),
        "full": ("full-int8", None),
        "full-own": ("full-int8", texts),
    }
    return {
        name: export_model(
            ExportRequest(str(tiny_bert), name=name, precision=precision, calibration=own, min_similarity=0.5), made
        )
        for name, (precision, own) in requests.items()
    }


class TestExported:
    def test_every_vector_space_has_its_own_fingerprint(
        self, exports: dict[str, ModelEntry], repository: ModelRepository
    ) -> None:
        entries = [*exports.values(), repository.get("tiny")]
        assert len({entry.spec.fingerprint for entry in entries}) == len(entries)
        assert len({entry.spec.weights_sha256 for entry in entries}) == 1

    def test_the_calibration_is_told_and_its_hash_kept_where_there_was_one(
        self, exports: dict[str, ModelEntry]
    ) -> None:
        assert exports["full"].spec.calibration_sha256 == calibration.bundled().sha256
        told = {name: _told(entry).get("calibration") for name, entry in exports.items()}
        count = len(calibration.bundled().texts)
        assert told.pop("full") == (f"{count} texts", "bundled texts")
        value, origin = told.pop("full-own") or ("", "")
        assert value == "150 texts"
        assert origin.startswith("--calibration ")
        assert origin.endswith("texts.txt")
        assert told == {"int8": None, "int4": None}
        assert exports["int8"].spec.calibration_sha256 is exports["int4"].spec.calibration_sha256 is None

    def test_other_texts_give_other_ranges(self, exports: dict[str, ModelEntry]) -> None:
        texts = ["the old house by the river", "a b c"]
        assert not np.array_equal(embed(exports["full"], texts), embed(exports["full-own"], texts))

    def test_only_a_choice_has_a_table_of_what_was_tried(self, exports: dict[str, ModelEntry]) -> None:
        assert {entry.tried for entry in exports.values()} == {()}

    def test_the_report_measures_every_probe(self, exports: dict[str, ModelEntry]) -> None:
        for entry in exports.values():
            fidelity, efficiency = entry.fidelity, entry.efficiency
            assert fidelity.texts >= 100
            assert 0.5 < fidelity.minimum <= fidelity.first_percentile <= fidelity.mean < 1
            assert 0 < fidelity.neighbours <= 1
            assert fidelity.batch_minimum > 0.99
            assert 0 < efficiency.size_ratio < 1.5
            assert efficiency.tokens_per_s > 0 < efficiency.speedup


def _told(entry: ModelEntry) -> dict[str, tuple[str, str]]:
    return {decision.setting: (decision.value, decision.origin) for decision in entry.decisions}


class TestCalibrationFile:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "texts.txt"

    def test_every_line_is_a_text_and_blank_ones_are_none(self, path: Path) -> None:
        path.write_text("".join(f"text {number}\r\n\n  \n" for number in range(100)), encoding="utf-8")
        read = calibration.read(path)
        assert read.texts == tuple(f"text {number}" for number in range(100))
        assert read.origin == f"--calibration {path}"

    @pytest.mark.parametrize("count", [3, 99])
    def test_too_few_texts_are_counted(self, count: int, path: Path) -> None:
        path.write_text("text\n\n" * count, encoding="utf-8")
        with pytest.raises(InputError) as caught:
            calibration.read(path)
        assert str(caught.value) == (
            f"{path} holds {count} texts; calibration needs 100 or more, one on each line. "
            "Leave --calibration out to use the bundled ones."
        )

    def test_a_missing_file(self, path: Path) -> None:
        with pytest.raises(InputError) as caught:
            calibration.read(path)
        assert str(caught.value) == f"No file {path}. Leave --calibration out to use the bundled texts."

    def test_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="No files in"):
            calibration.read(tmp_path)
        (tmp_path / "texts.txt").write_text("text\n" * 120, encoding="utf-8")
        assert len(calibration.read(tmp_path).texts) == 120

    @pytest.mark.parametrize("content", [b"", b"\n \n\n"])
    def test_an_empty_file(self, content: bytes, path: Path) -> None:
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"texts\.txt line 1: the file holds no text"):
            calibration.read(path)

    def test_another_encoding_than_utf8(self, path: Path) -> None:
        path.write_bytes(b"text\n" * 150 + "caf\u00e9\n".encode("latin-1"))
        assert calibration.read(path).texts[-1] == "caf\u00e9"

    def test_no_text_in_any_encoding(self, path: Path) -> None:
        path.write_bytes(bytes(range(128, 256)) * 40)
        with pytest.raises(InputError, match=r"texts\.txt line 1: .* no text in any known encoding"):
            calibration.read(path)

    @pytest.mark.parametrize("count", [1000, 1001, 1999, 2500, 100_000])
    def test_of_many_texts_a_thousand_are_taken_evenly(self, count: int, path: Path) -> None:
        path.write_text("".join(f"{number}\n" for number in range(count)), encoding="utf-8")
        numbers = [int(text) for text in calibration.read(path).texts]
        assert len(set(numbers)) == 1000
        steps = np.diff(numbers)
        assert numbers[0] == 0
        assert set(steps) <= {count // 1000, -(-count // 1000)}
        assert numbers[-1] >= count - 1 - count // 1000

    def test_stdin(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from pathlib import Path

        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"text\n" * 120)))
        assert len(calibration.read(Path("-")).texts) == 120

    def test_the_hash_tells_texts_and_their_order_apart(self) -> None:
        made = [calibration.Calibration(texts, "here") for texts in (("a", "b"), ("b", "a"), ("a b",), ("a",))]
        assert len({texts.sha256 for texts in made}) == 4
        assert made[0].sha256 == calibration.Calibration(("a", "b"), "there").sha256


class TestCommand:
    @pytest.fixture
    def run(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> Callable[..., tuple[int, str]]:
        """`ovembed export`, which must fail and leave no folder; its exit code and what it says."""

        def run(*arguments: str) -> tuple[int, str]:
            monkeypatch.setattr(sys, "argv", ["ovembed", "export", *arguments, "-r", str(tmp_path / "models")])
            with pytest.raises(SystemExit) as exit_:
                main()
            out, err = capfd.readouterr()
            assert out == ""
            assert visible(tmp_path / "models") == {}
            return int(exit_.value.code or 0), err

        return run

    @pytest.mark.parametrize("mode", ["int8", "auto"])
    def test_weight_format_and_quant_mode_exclude_each_other(
        self, mode: str, run: Callable[..., tuple[int, str]]
    ) -> None:
        code, err = run("x", "--weight-format", "int8", "--quant-mode", mode)
        assert code == 2
        assert "choose --weight-format or --quant-mode, not both" in err

    @pytest.mark.parametrize("options", [("--quant-mode", "int4"), ("--calibration", "x.txt"), ("--weight-format", "")])
    def test_wrong_usage(self, options: tuple[str, ...], run: Callable[..., tuple[int, str]]) -> None:
        assert run("x", *options)[0] == 2

    def test_a_calibration_file_of_three_lines_fails_before_any_work(
        self, tiny_bert: Path, tmp_path: Path, run: Callable[..., tuple[int, str]]
    ) -> None:
        path = tmp_path / "three.txt"
        path.write_text("one\ntwo\nthree\n", encoding="utf-8")
        code, err = run(str(tiny_bert), "--quant-mode", "int8", "--calibration", str(path))
        assert code == 1
        assert err.startswith(f"ovembed: {path} holds 3 texts; calibration needs 100 or more")
        assert err.count("\n") == 1

    def test_a_floor_that_is_not_reached_says_what_to_try(
        self, tiny_bert: Path, run: Callable[..., tuple[int, str]]
    ) -> None:
        code, err = run(str(tiny_bert), "--quant-mode", "int8", "--min-similarity", "1.0", "--quiet")
        assert code == 1
        assert err.count("\n") == 1
        assert "Nothing was kept. Try --weight-format int8, or --calibration with texts like yours" in err
