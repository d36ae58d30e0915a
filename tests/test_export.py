from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from ovembed import ExportRequest, ModelRepository, export_model
from ovembed.cli.main import main
from ovembed.errors import InputError, MissingExtra
from ovembed.hub import DEFAULT_MODEL
from tests import models

if TYPE_CHECKING:
    from pathlib import Path

    from ovembed.repository import ModelEntry

FILES = {
    "openvino_model.xml",
    "openvino_model.bin",
    "openvino_tokenizer.xml",
    "openvino_tokenizer.bin",
    "tokenizer.json",
    "tokenizer_config.json",
    "config.json",
    "graph.pbtxt",
    "ovembed.json",
    "golden.npz",
}


def hashes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def origins(entry: ModelEntry) -> dict[str, tuple[str, str]]:
    return {decision.setting: (decision.value, decision.origin) for decision in entry.decisions}


def export(source: Path | str, repository: ModelRepository, **settings: Any) -> ModelEntry:
    return export_model(ExportRequest(str(source), **({"precision": "fp32"} | settings)), repository)


@pytest.fixture
def own(tmp_path: Path) -> ModelRepository:
    return ModelRepository(tmp_path / "models")


@pytest.fixture(scope="module")
def last(tmp_path_factory: pytest.TempPathFactory) -> ModelEntry:
    """Last-token pooling and no Normalize, as the model's files say, in fp16."""
    folder = tmp_path_factory.mktemp("last")
    source = models.save_tiny_bert(folder / "tiny-last", pooling="last", normalize=False, max_seq_length=20)
    return export(source, ModelRepository(folder / "models"), precision="fp16")


@pytest.fixture(scope="module")
def overridden(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelEntry:
    """Every setting of the recipe decided by a flag."""
    repository = ModelRepository(tmp_path_factory.mktemp("overridden") / "models")
    return export(tiny_bert, repository, pooling="cls", normalize=False, max_tokens=48, num_streams=3)


class TestFolder:
    def test_it_holds_the_files_of_the_newest_layout_and_no_others(self, repository: ModelRepository) -> None:
        for name in ("tiny", "minilm"):
            assert {path.name for path in repository.get(name).folder.iterdir()} == FILES

    def test_the_graph_says_what_was_decided(self, overridden: ModelEntry) -> None:
        assert (overridden.folder / "graph.pbtxt").read_text(encoding="utf-8") == (
            "# OVMS_GRAPH_QUEUE_MAX_SIZE: AUTO\n"
            'input_stream: "REQUEST_PAYLOAD:input"\n'
            'output_stream: "RESPONSE_PAYLOAD:output"\n'
            "node {\n"
            '  name: "EmbeddingsExecutor"\n'
            '  calculator: "EmbeddingsCalculatorOV"\n'
            '  input_side_packet: "EMBEDDINGS_NODE_RESOURCES:embeddings_servable"\n'
            '  input_stream: "REQUEST_PAYLOAD:input"\n'
            '  output_stream: "RESPONSE_PAYLOAD:output"\n'
            "  node_options {\n"
            "    [type.googleapis.com/mediapipe.EmbeddingsCalculatorOVOptions] {\n"
            '      models_path: "./"\n'
            "      normalize_embeddings: false\n"
            "      pooling: CLS\n"
            '      target_device: "CPU"\n'
            '      plugin_config: \'{"NUM_STREAMS": "3"}\'\n'
            "    }\n"
            "  }\n"
            "}\n"
        )

    def test_the_graph_of_the_default_model_pools_and_normalizes_as_its_files_say(
        self, repository: ModelRepository
    ) -> None:
        graph = (repository.get("minilm").folder / "graph.pbtxt").read_text(encoding="utf-8")
        assert "pooling: MEAN\n" in graph
        assert "normalize_embeddings: true\n" in graph

    @pytest.mark.parametrize(("name", "limit"), [("tiny", 32), ("minilm", 256)])
    def test_config_json_carries_the_decided_limit(self, name: str, limit: int, repository: ModelRepository) -> None:
        config = json.loads((repository.get(name).folder / "config.json").read_text(encoding="utf-8"))
        assert config["max_position_embeddings"] == limit

    def test_the_config_file_serves_every_model(self, repository: ModelRepository) -> None:
        assert json.loads(repository.config_path.read_text(encoding="utf-8")) == {
            "model_config_list": [],
            "mediapipe_config_list": [
                {"name": "tiny", "base_path": "tiny"},
                {"name": "minilm", "base_path": "minilm"},
                {"name": "minilm-fp32", "base_path": "minilm-fp32"},
            ],
        }

    def test_nothing_is_left_in_the_staging_folder(self, repository: ModelRepository) -> None:
        assert [path.name for path in (repository.folder / ".staging").iterdir()] == [".lock"]

    def test_what_was_exported_can_be_read_back(self, last: ModelEntry) -> None:
        assert ModelRepository(last.folder.parent).get("tiny-last") == last

    def test_the_versions_that_made_it_are_noted(self, last: ModelEntry) -> None:
        assert {"openvino", "optimum-intel", "torch", "transformers", "ovembed"} <= set(last.versions)


class TestRecipe:
    def test_everything_comes_from_the_files_of_the_model(self, repository: ModelRepository) -> None:
        entry = repository.get("tiny")
        assert (entry.spec.pooling, entry.spec.normalize, entry.spec.max_tokens) == ("mean", True, 32)
        assert entry.spec.dimensions == 32
        assert entry.spec.prompts == {"query": "find: ", "document": ""}
        told = origins(entry)
        assert told["pooling"] == ("mean", "1_Pooling/config.json")
        assert told["normalize"] == ("yes", "modules.json")
        assert told["max tokens"] == ("32", "sentence_bert_config.json")
        assert told["prompts"][1] == "config_sentence_transformers.json"

    def test_last_token_pooling_without_normalize(self, last: ModelEntry) -> None:
        assert (last.spec.pooling, last.spec.normalize, last.spec.max_tokens) == ("last", False, 20)
        assert origins(last)["normalize"] == ("no", "modules.json has no Normalize module")

    def test_flags_override_the_files_and_are_named(self, overridden: ModelEntry) -> None:
        assert (overridden.spec.pooling, overridden.spec.normalize, overridden.spec.max_tokens) == ("cls", False, 48)
        told = origins(overridden)
        assert told["pooling"] == ("cls", "--pooling")
        assert told["normalize"] == ("no", "--no-normalize")
        assert told["max tokens"] == ("48", "--max-length")

    @pytest.mark.parametrize(("limit", "words"), [(65, "more than the model's 64 positions"), (2, "must be 3 or more")])
    def test_a_limit_that_cannot_be_is_refused(
        self, limit: int, words: str, tiny_bert: Path, own: ModelRepository
    ) -> None:
        with pytest.raises(InputError, match=f"--max-length .*{words}"):
            export(tiny_bert, own, max_tokens=limit)

    def test_the_default_model_has_its_known_recipe(self, repository: ModelRepository) -> None:
        spec = repository.get("minilm").spec
        assert (spec.source, spec.pooling, spec.normalize) == (DEFAULT_MODEL, "mean", True)
        assert (spec.max_tokens, spec.dimensions, spec.precision) == (256, 384, "int8")


class TestPrecision:
    def test_int8_weights_are_about_a_quarter_of_fp32(self, repository: ModelRepository) -> None:
        share = repository.get("minilm").size_bytes / repository.get("minilm-fp32").size_bytes
        assert 0.2 < share < 0.35

    def test_fp16_weights_are_smaller_than_fp32(self, last: ModelEntry, repository: ModelRepository) -> None:
        weights = [(entry.folder / "openvino_model.bin").stat().st_size for entry in (last, repository.get("tiny"))]
        assert weights[0] < 0.6 * weights[1]

    def test_fidelity_is_measured_and_kept(self, repository: ModelRepository) -> None:
        exact, rounded = repository.get("minilm-fp32").fidelity, repository.get("minilm").fidelity
        assert exact.texts == rounded.texts >= 32
        assert exact.minimum > 0.9999
        assert 0.99 < rounded.minimum < rounded.mean < 0.99999


class TestFingerprint:
    def test_the_same_export_has_the_same_and_leaves_its_source_untouched(
        self, tiny_bert: Path, repository: ModelRepository, own: ModelRepository
    ) -> None:
        before = hashes(tiny_bert)
        assert export(tiny_bert, own, name="again").spec.fingerprint == repository.get("tiny").spec.fingerprint
        assert hashes(tiny_bert) == before

    def test_precision_and_recipe_change_it(self, repository: ModelRepository, overridden: ModelEntry) -> None:
        assert repository.get("minilm").spec.fingerprint != repository.get("minilm-fp32").spec.fingerprint
        assert overridden.spec.weights_sha256 == repository.get("tiny").spec.weights_sha256
        assert overridden.spec.fingerprint != repository.get("tiny").spec.fingerprint


class TestNames:
    def test_a_folder_gives_its_name(self, last: ModelEntry, overridden: ModelEntry) -> None:
        assert last.name == "tiny-last"
        assert overridden.name == "tiny-bert"

    def test_a_hub_id_is_the_name(self, own: ModelRepository) -> None:
        target = own.folder / DEFAULT_MODEL
        target.mkdir(parents=True)
        with pytest.raises(InputError, match=f"{DEFAULT_MODEL} exists"):
            export(DEFAULT_MODEL, own)

    def test_a_taken_name_is_refused_before_any_work(self, tiny_bert: Path, repository: ModelRepository) -> None:
        steps: list[str] = []
        with pytest.raises(InputError, match=r"tiny exists already\. Replace it with --overwrite"):
            export_model(ExportRequest(str(tiny_bert), name="tiny"), repository, on_step=steps.append)
        assert steps == ["Looking for the model"]

    def test_overwriting_replaces_the_model_and_keeps_its_place(
        self, tiny_bert: Path, repository: ModelRepository, own: ModelRepository
    ) -> None:
        shutil.copytree(repository.folder, own.folder)
        new = export(tiny_bert, own, name="tiny", pooling="cls", overwrite=True)
        assert own.get("tiny") == new
        assert own.get("tiny").spec.pooling == "cls"
        assert own.names() == repository.names()
        assert {path.name for path in new.folder.iterdir()} == FILES


def test_a_missing_extra_is_named(
    tiny_bert: Path, own: ModelRepository, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "nncf" else find_spec(name, *rest)
    )
    with pytest.raises(MissingExtra, match=r"pip install 'ovembed\[export\]'"):
        export(tiny_bert, own)
    assert run(monkeypatch, "export", str(tiny_bert), "-r", str(own.folder)) == 1
    assert capsys.readouterr().err == (
        "ovembed: Exporting a model needs the 'export' extra. Install it: pip install 'ovembed[export]'\n"
    )
    assert not own.folder.exists()


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The command in this process; its exit code."""
    monkeypatch.setattr(sys, "argv", ["ovembed", *arguments])
    with pytest.raises(SystemExit) as exit_:
        main()
    return int(exit_.value.code or 0)


class TestCommand:
    def test_json_alone_on_stdout_and_only_our_lines_on_stderr(self, tiny_bert: Path, tmp_path: Path) -> None:
        """A process of its own: chatter of the libraries goes past Python's streams, and comes with imports."""
        done = subprocess.run(
            [sys.executable, "-m", "ovembed", "export", str(tiny_bert), "-r", str(tmp_path / "models"), "--json"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0
        told = json.loads(done.stdout)
        assert set(told) == {
            "format",
            "name",
            "fingerprint",
            "spec",
            "decisions",
            "pooled",
            "fast_tokenizer",
            "ovms_version",
            "fidelity",
            "efficiency",
            "tried",
            "versions",
            "folder",
            "size_bytes",
        }
        entry = ModelRepository(tmp_path / "models").get("tiny-bert")
        assert told == entry.to_json() | {"folder": str(entry.folder), "size_bytes": entry.size_bytes}
        labels = [line.rsplit("  ", 1)[0].strip() for line in done.stderr.splitlines()]
        assert labels == [
            "Looking for the model",
            "Converting to OpenVINO",
            "Running the source model",
            "Writing int8 weights",
            "Comparing with the source model",
            "Publishing",
        ]

    def test_spellings_of_the_export_script_of_ovms(
        self,
        tiny_bert: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        models_path, config = tmp_path / "served", tmp_path / "config.json"
        arguments = (
            "export",
            *("--source_model", str(tiny_bert)),
            *("--model_name", "org/tiny"),
            *("--model_repository_path", str(models_path)),
            *("--config_file_path", str(config)),
            *("--num_streams", "2"),
            *("--target_device", "GPU"),
            "--skip_normalize",
        )
        assert run(monkeypatch, *arguments) == 0
        assert run(monkeypatch, *arguments, "--overwrite_models") == 0
        entry = ModelRepository(models_path, config).get("org/tiny")
        assert not entry.spec.normalize
        graph = (entry.folder / "graph.pbtxt").read_text(encoding="utf-8")
        assert 'target_device: "GPU"' in graph
        assert '"NUM_STREAMS": "2"' in graph
        assert json.loads(config.read_text(encoding="utf-8"))["mediapipe_config_list"] == [
            {"name": "org/tiny", "base_path": "served/org/tiny"}
        ]
        out, err = capfd.readouterr()
        assert out == ""
        assert "--no-normalize" in err
        assert err.splitlines()[-1] == f"Next: ovembed serve --repository {models_path} --model org/tiny"

    def test_a_taken_name_is_one_line_and_exit_code_1(
        self, repository: ModelRepository, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        code = run(monkeypatch, "export", DEFAULT_MODEL, "-r", str(repository.folder), "--name", "tiny", "--quiet")
        assert code == 1
        out, err = capfd.readouterr()
        assert out == ""
        assert err == (
            f"ovembed: {repository.folder}/tiny exists already. "
            "Replace it with --overwrite, or choose another --name.\n"
        )

    @pytest.mark.parametrize(
        "arguments",
        [
            (),
            ("x", "--weight-format", "fp8"),
            ("x", "--pooling", "max"),
            ("x", "--max-length", "2"),
            ("x", "--num-streams", "0"),
            ("x", "--min-similarity", "1.5"),
            ("x", "--nonsense"),
            ("x", "y"),
        ],
        ids=" ".join,
    )
    def test_wrong_usage_is_exit_code_2(
        self, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        assert run(monkeypatch, "export", *arguments) == 2
        out, err = capfd.readouterr()
        assert out == ""
        assert err.startswith("Usage: ")
