from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ovembed.errors import InputError, RepositoryError
from ovembed.repository import (
    SUPPORTED,
    Graph,
    Layout,
    OvmsVersion,
    ServingOptions,
    check_options,
    find_layout,
    ovms_version,
    read_serving,
    write_serving_files,
)
from ovembed.repository.layout import encoder, tokenizer
from ovembed.repository.subconfig import Subconfig, read, render, servables_of
from tests.fakes import make_spec

GOLDEN = Path(__file__).parent / "golden"

CLASSIC = {"servable_name", "normalize_embeddings"}
FIRST_OV = {"models_path", "normalize_embeddings", "target_device", "plugin_config"}
FULL = FIRST_OV | {"pooling"}

# What the golden files may say, release by release, as OVMS's own definitions have it: calculator, options, pooling.
SAID = {
    "2025.0": ("EmbeddingsCalculator", CLASSIC, None),
    "2025.1": ("EmbeddingsCalculator", CLASSIC, None),
    "2025.2": ("EmbeddingsCalculatorOV", FIRST_OV, None),
    "2025.3": ("EmbeddingsCalculatorOV", FULL, "CLS"),
    "2025.4": ("EmbeddingsCalculatorOV", FULL, "MEAN"),
    "2026.0": ("EmbeddingsCalculatorOV", FULL, "MEAN"),
    "2026.1": ("EmbeddingsCalculatorOV", FULL, "MEAN"),
    "2026.2": ("EmbeddingsCalculatorOV", FULL, "MEAN"),
    "2026.3": ("EmbeddingsCalculatorOV", FULL, "MEAN"),
}
OF_THE_GRAPH = {"name", "calculator", "input_stream", "output_stream", "input_side_packet", "output_side_packet"}

each_version = pytest.mark.parametrize("version", SUPPORTED, ids=lambda version: version.name)


def write_files(folder: Path, version: OvmsVersion, options: ServingOptions | None = None, **spec: object) -> None:
    made = make_spec(**spec)
    pooled = not version.pools(made.pooling)
    write_serving_files(folder, "org/minilm", made, version, options or ServingOptions(), pooled=pooled)


def texts_of(folder: Path) -> dict[str, str]:
    return {path.name: path.read_bytes().decode() for path in folder.iterdir()}


class TestGolden:
    """A mean-pooled and normalized model, served as org/minilm."""

    @each_version
    def test_the_files_are_those_byte_for_byte(self, version: OvmsVersion, tmp_path: Path) -> None:
        write_files(tmp_path, version, pooling="mean", normalize=True)
        assert texts_of(tmp_path) == texts_of(GOLDEN / version.name)

    def test_there_is_one_for_each_release(self) -> None:
        assert {path.name for path in GOLDEN.iterdir()} == set(SAID) == {version.name for version in SUPPORTED}

    @pytest.mark.parametrize("name", SAID)
    def test_they_say_what_that_release_knows_and_nothing_else(self, name: str) -> None:
        calculator, options, pooling = SAID[name]
        text = (GOLDEN / name / "graph.pbtxt").read_text(encoding="utf-8")
        fields = re.findall(r"^ *(\w+): (.*)$", text, re.MULTILINE)
        assert {field for field, _ in fields} - OF_THE_GRAPH == options
        assert ("calculator", f'"{calculator}"') in fields
        assert dict(fields).get("pooling") == pooling
        types = [f"{calculator}Options"]
        if calculator == "EmbeddingsCalculator":
            types = ["OpenVINOModelServerSessionCalculatorOptions"] * 2 + types
        assert re.findall(r"\[type\.googleapis\.com/mediapipe\.(\w+)\]", text) == types

    @pytest.mark.parametrize("name", SAID)
    def test_only_the_newest_keeps_graphs(self, name: str) -> None:
        first, *others = (GOLDEN / name / "graph.pbtxt").read_text(encoding="utf-8").splitlines()
        assert (first == "# OVMS_GRAPH_QUEUE_MAX_SIZE: AUTO") == (name == "2026.3")
        assert not any(line.startswith("#") for line in others)

    @pytest.mark.parametrize("name", ["2025.0", "2025.1"])
    def test_a_classic_subconfig_defines_the_models_of_the_graph(self, name: str) -> None:
        content = json.loads((GOLDEN / name / "subconfig.json").read_text(encoding="utf-8"))
        assert content == {
            "model_config_list": [
                {"config": {"name": "org/minilm_tokenizer_model", "base_path": "tokenizer"}},
                {
                    "config": {
                        "name": "org/minilm_embeddings_model",
                        "base_path": "embeddings",
                        "target_device": "CPU",
                        "plugin_config": {"NUM_STREAMS": 1},
                    }
                },
            ]
        }

    @pytest.mark.parametrize("name", sorted(SAID.keys() - {"2025.0", "2025.1"}))
    def test_an_ov_subconfig_is_empty_and_there_only_for_servers_that_would_take_another_file(self, name: str) -> None:
        path = GOLDEN / name / "subconfig.json"
        assert path.exists() == (name in {"2025.2", "2025.3"})
        if path.exists():
            assert json.loads(path.read_text(encoding="utf-8")) == {"model_config_list": []}


class TestServingFiles:
    @each_version
    @pytest.mark.parametrize("pooling", ["cls", "mean", "last"])
    def test_they_say_what_the_model_needs(self, version: OvmsVersion, pooling: str, tmp_path: Path) -> None:
        options = ServingOptions("GPU.1", num_streams=4)
        write_files(tmp_path, version, options, pooling=pooling, normalize=False)
        served = read_serving(tmp_path)
        assert not served.normalize
        assert (served.layout, served.target_device) == (version.layout, "GPU.1")
        assert served.plugin_config == {"NUM_STREAMS": "4"}
        if "pooling" in version.graph_options:
            assert served.pooling == (pooling if pooling in version.poolings else "cls")
        else:
            assert served.pooling is None

    def test_a_model_that_pools_itself_is_read_at_its_first_token(self, tmp_path: Path) -> None:
        version = ovms_version("2026.3")
        write_serving_files(tmp_path, "a", make_spec(pooling="last"), version, ServingOptions(), pooled=True)
        assert read_serving(tmp_path).pooling == "cls"

    def test_token_vectors_are_not_given_to_a_server_that_pools_otherwise(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"OVMS 2025\.3 needs a model that does mean pooling itself"):
            write_serving_files(
                tmp_path, "a", make_spec(pooling="mean"), ovms_version("2025.3"), ServingOptions(), pooled=False
            )
        assert not list(tmp_path.iterdir())


class TestTruncation:
    @pytest.mark.parametrize("name", ["2025.3", "2025.4", "2026.0", "2026.1", "2026.2"])
    def test_is_an_option_of_the_graph(self, name: str, tmp_path: Path) -> None:
        write_files(tmp_path, ovms_version(name), ServingOptions(truncate=True))
        assert read_serving(tmp_path).truncate

    @pytest.mark.parametrize("name", ["2025.0", "2025.1"])
    def test_is_not_in_a_classic_graph_as_the_tokenizer_does_it(self, name: str, tmp_path: Path) -> None:
        write_files(tmp_path, ovms_version(name), ServingOptions(truncate=True))
        assert not read_serving(tmp_path).truncate

    @pytest.mark.parametrize(("name", "fact"), [("2025.2", "is not known to"), ("2026.3", "has no effect on")])
    def test_is_refused_where_it_would_not_happen(self, name: str, fact: str, tmp_path: Path) -> None:
        problem = rf"'truncate' {fact} OVMS {name}: .*: 2025\.0, 2025\.1, 2025\.3, 2025\.4, 2026\.0, 2026\.1, 2026\.2\."
        with pytest.raises(InputError, match=problem):
            check_options(ovms_version(name), ServingOptions(truncate=True))
        with pytest.raises(InputError, match=problem):
            write_files(tmp_path, ovms_version(name), ServingOptions(truncate=True))
        assert not list(tmp_path.iterdir())

    @each_version
    def test_nobody_minds_that_it_is_not_asked_for(self, version: OvmsVersion) -> None:
        check_options(version, ServingOptions())


class TestFolders:
    @pytest.mark.parametrize(
        ("layout", "model", "tokens"),
        [
            ("ov", "openvino_model.xml", "openvino_tokenizer.xml"),
            ("classic", "embeddings/1/model.xml", "tokenizer/1/model.xml"),
        ],
    )
    def test_where_the_models_lie(self, layout: Layout, model: str, tokens: str, tmp_path: Path) -> None:
        assert encoder(tmp_path, layout) == tmp_path / model
        assert tokenizer(tmp_path, layout) == tmp_path / tokens
        assert find_layout(tmp_path) is None
        encoder(tmp_path, layout).parent.mkdir(parents=True, exist_ok=True)
        encoder(tmp_path, layout).touch()
        assert find_layout(tmp_path) is None
        (tmp_path / "graph.pbtxt").touch()
        assert find_layout(tmp_path) == layout

    def test_a_graph_without_a_model_has_no_layout(self, tmp_path: Path) -> None:
        (tmp_path / "graph.pbtxt").touch()
        assert find_layout(tmp_path) is None

    def test_a_folder_that_is_not_there_has_none(self, tmp_path: Path) -> None:
        assert find_layout(tmp_path / "gone") is None


class TestSubconfig:
    SERVABLES = servables_of("m")

    def test_round_trip(self, tmp_path: Path) -> None:
        subconfig = Subconfig(self.SERVABLES, "GPU", {"NUM_STREAMS": "2", "CACHE_DIR": "/tmp/é"})
        (tmp_path / "subconfig.json").write_text(render(subconfig), encoding="utf-8")
        assert read(tmp_path / "subconfig.json", self.SERVABLES) == subconfig

    def test_what_is_left_out_is_left_to_the_server(self, tmp_path: Path) -> None:
        (tmp_path / "subconfig.json").write_text(render(Subconfig(self.SERVABLES)), encoding="utf-8")
        assert read(tmp_path / "subconfig.json", self.SERVABLES) == Subconfig(self.SERVABLES)

    def test_strings_and_integers_are_read_alike(self, tmp_path: Path) -> None:
        path = tmp_path / "subconfig.json"
        for value in ("3", 3):
            entry: dict[str, Any] = {"name": "m_embeddings_model", "plugin_config": {"NUM_STREAMS": value}, "nireq": 2}
            path.write_text(json.dumps({"model_config_list": [{"config": entry}]}), encoding="utf-8")
            assert read(path, self.SERVABLES).plugin_config == {"NUM_STREAMS": "3"}

    @pytest.mark.parametrize("content", ["", "[]", "{}", '{"model_config_list": []}', '{"model_config_list": [{}]}'])
    def test_a_file_without_the_model_is_named(self, content: str, tmp_path: Path) -> None:
        (tmp_path / "subconfig.json").write_text(content, encoding="utf-8")
        with pytest.raises(RepositoryError, match=r"subconfig\.json does not define the model 'm_embeddings_model'"):
            read(tmp_path / "subconfig.json", self.SERVABLES)

    def test_a_classic_folder_without_the_file_cannot_be_read(self, tmp_path: Path) -> None:
        write_files(tmp_path, ovms_version("2025.0"))
        (tmp_path / "subconfig.json").unlink()
        with pytest.raises(RepositoryError, match=r"subconfig\.json cannot be read: No such file"):
            read_serving(tmp_path)


def test_serving_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_files(tmp_path, ovms_version("2026.2"), ServingOptions("NPU", 2, truncate=True), pooling="last")
    assert read_serving(tmp_path) == Graph(
        normalize=True, pooling="last", truncate=True, target_device="NPU", plugin_config={"NUM_STREAMS": "2"}
    )
