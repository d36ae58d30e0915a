"""`--quant-mode auto` on a tiny model: all candidates are tried and told, the fastest that is near enough is kept."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from ovembed import ExportRequest, ModelRepository, export_model
from ovembed.cli.main import main
from ovembed.errors import EngineError, ExportError
from ovembed.export import quantize, reference, speed, trial
from ovembed.repository import Tried
from tests.folders import visible, workplaces

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ovembed.engine import OpenVINOEngine
    from ovembed.repository import ModelEntry
    from ovembed.spec import Precision

Speeds = dict[str, float]


@pytest.fixture
def own(tmp_path: Path) -> ModelRepository:
    return ModelRepository(tmp_path / "models")


def said_speeds(monkeypatch: pytest.MonkeyPatch) -> Speeds:
    """Tokens per second that are said to be measured, for each precision."""
    said = {"full-int8": 300.0, "int8": 200.0, "fp32": 100.0}

    def tokens_per_s(engines: Sequence[OpenVINOEngine]) -> list[float]:
        return [said[engine.spec.precision] for engine in engines]

    monkeypatch.setattr(speed, "tokens_per_s", tokens_per_s)
    return said


@pytest.fixture
def speeds(monkeypatch: pytest.MonkeyPatch) -> Speeds:
    return said_speeds(monkeypatch)


@pytest.fixture(scope="module")
def few_texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As many as calibration needs, so that it does not take long."""
    path = tmp_path_factory.mktemp("calibration") / "texts.txt"
    path.write_text("\n".join(f"the river and house number {number}" for number in range(100)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def chosen(tiny_bert: Path, few_texts: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelEntry:
    """The choice when a low floor leaves all of them."""
    request = ExportRequest(str(tiny_bert), name="tiny", precision="auto", calibration=few_texts, min_similarity=0.5)
    with pytest.MonkeyPatch.context() as monkeypatch:
        said_speeds(monkeypatch)
        return export_model(request, ModelRepository(tmp_path_factory.mktemp("chosen") / "models"))


@pytest.fixture
def auto(tiny_bert: Path, few_texts: Path, own: ModelRepository, speeds: Speeds) -> Callable[..., ModelEntry]:
    def export(**settings: Any) -> ModelEntry:
        request = ExportRequest(str(tiny_bert), name="tiny", precision="auto", calibration=few_texts, **settings)
        return export_model(request, own)

    return export


def tried(entry: ModelEntry) -> dict[Precision, Tried]:
    return {row.precision: row for row in entry.tried}


def fail_on(precision: Precision, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Making that precision raises the error."""
    really = quantize.quantize

    def quantize_or_fail(source: Path, target: Path, made: Precision, calibration: Sequence[Any] = ()) -> None:
        if made == precision:
            raise error
        really(source, target, made, calibration)

    monkeypatch.setattr(quantize, "quantize", quantize_or_fail)


class TestChoice:
    def test_the_fastest_that_is_near_enough(self, chosen: ModelEntry) -> None:
        entry = chosen
        assert entry.spec.precision == "full-int8"
        assert entry.spec.calibration_sha256 is not None
        assert ModelRepository(entry.folder.parent).get("tiny") == entry
        rows = tried(entry)
        assert list(rows) == ["full-int8", "int8", "fp32"]
        assert rows["full-int8"].fidelity == entry.fidelity
        assert rows["full-int8"].efficiency == entry.efficiency
        assert all(row.problem is None for row in entry.tried)
        assert {name: row.efficiency and row.efficiency.speedup for name, row in rows.items()} == {
            "full-int8": 3.0,
            "int8": 2.0,
            "fp32": 1.0,
        }
        sizes = [row.efficiency.size_ratio for row in entry.tried if row.efficiency]
        assert sizes[2] == 1.0 > max(sizes[:2])
        assert [decision.origin for decision in entry.decisions if decision.setting == "precision"] == [
            "--quant-mode auto: the fastest that is near enough"
        ]

    def test_a_faster_one_wins_over_a_nearer_or_smaller_one(
        self, auto: Callable[..., ModelEntry], speeds: Speeds
    ) -> None:
        speeds["int8"] = 301.0
        entry = auto(min_similarity=0.5)
        assert entry.spec.precision == "int8"
        assert entry.spec.calibration_sha256 is None
        assert not any(decision.setting == "calibration" for decision in entry.decisions)

    def test_a_similarity_of_one_leaves_fp32(
        self, auto: Callable[..., ModelEntry], repository: ModelRepository
    ) -> None:
        entry = auto(min_similarity=1.0)
        assert entry.spec.precision == "fp32"
        assert len(entry.tried) == 3
        assert entry.efficiency.speedup == entry.efficiency.size_ratio == 1.0
        assert entry.spec.fingerprint == repository.get("tiny").spec.fingerprint

    def test_files_are_those_of_the_choice_alone(self, chosen: ModelEntry, repository: ModelRepository) -> None:
        files, usual = ({path.name for path in entry.folder.iterdir()} for entry in (chosen, repository.get("tiny")))
        assert files == usual
        assert workplaces(chosen.folder.parent) == []


class TestFailing:
    def test_a_candidate_that_cannot_be_made_is_told_and_does_not_count(
        self, auto: Callable[..., ModelEntry], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fail_on("full-int8", monkeypatch, RuntimeError("no such instruction\nat line 3"))
        entry = auto(min_similarity=0.5)
        assert entry.spec.precision == "int8"
        assert tried(entry)["full-int8"] == Tried(
            "full-int8", problem="full-int8 weights could not be made: no such instruction"
        )
        assert len(entry.tried) == 3

    def test_a_candidate_that_cannot_be_run_is_told(
        self, auto: Callable[..., ModelEntry], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        really = trial.try_out

        def try_out(candidate: trial.Candidate, *rest: Any) -> trial.Trial:
            if candidate.spec.precision != "fp32":
                raise EngineError("tiny gave a vector that is not finite.")
            return really(candidate, *rest)

        monkeypatch.setattr(trial, "try_out", try_out)
        entry = auto()
        assert entry.spec.precision == "fp32"
        assert [row.problem for row in entry.tried] == ["tiny gave a vector that is not finite."] * 2 + [None]

    def test_none_that_is_usable_keeps_nothing(
        self, auto: Callable[..., ModelEntry], own: ModelRepository, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> trial.Trial:
            raise EngineError("This processor is too old.")

        monkeypatch.setattr(trial, "try_out", fail)
        with pytest.raises(ExportError, match=r"^No precision gave a usable model\. This processor is too old\.$"):
            auto()
        assert visible(own.folder) == {}
        assert workplaces(own.folder) == []

    def test_none_that_is_near_enough_tells_of_the_nearest(
        self, auto: Callable[..., ModelEntry], own: ModelRepository, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Vectors of another model stand for a conversion that went wrong."""
        really = reference.source_vectors
        monkeypatch.setattr(reference, "source_vectors", lambda *args, **rest: really(*args, **rest)[::-1].copy())
        with pytest.raises(ExportError, match=r"too far from its source: mean cosine 0\.\d+, wanted at least 0\.999\."):
            auto(min_similarity=0.999)
        assert visible(own.folder) == {}

    def test_full_int8_alone_that_cannot_be_made_fails_in_one_line(
        self, tiny_bert: Path, own: ModelRepository, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fail_on("full-int8", monkeypatch, RuntimeError("no such instruction\nat line 3"))
        with pytest.raises(ExportError, match=r"^full-int8 weights could not be made: no such instruction$"):
            export_model(ExportRequest(str(tiny_bert), precision="full-int8"), own)
        assert visible(own.folder) == {}


def test_the_command_shows_the_table(
    tiny_bert: Path,
    own: ModelRepository,
    speeds: Speeds,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    fail_on("full-int8", monkeypatch, RuntimeError("no such instruction"))
    options = ["--name", "tiny", "--quant-mode", "auto", "--min-similarity", "0.5"]
    out, err = run(monkeypatch, capfd, "export", str(tiny_bert), "-r", str(own.folder), *options)
    assert out == ""
    for told in (err, run(monkeypatch, capfd, "models", "show", "tiny", "-r", str(own.folder))[0]):
        rows = [line.split() for line in told.splitlines()]
        assert ["full-int8", "failed"] in rows
        assert any(row[:2] == [">", "int8"] and row[-2] == "2.00x" for row in rows)
        assert any(row[:1] == ["fp32"] and row[-2:] == ["1.00x", "100%"] for row in rows)
        assert "full-int8 failed: full-int8 weights could not be made: no such instruction" in told
    told = json.loads(run(monkeypatch, capfd, "models", "show", "tiny", "-r", str(own.folder), "--json")[0])
    assert [row["precision"] for row in told["tried"]] == ["full-int8", "int8", "fp32"]
    assert set(told["tried"][0]) == {"precision", "fidelity", "efficiency", "problem"}
    assert told["tried"][1]["fidelity"] == told["fidelity"]


def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, str]:
    """The command in this process, which must do its work; what it writes."""
    monkeypatch.setattr(sys, "argv", ["ovembed", *arguments])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert not exit_.value.code
    return capfd.readouterr()
