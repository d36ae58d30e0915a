from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovembed.errors import InputError, RepositoryError
from ovembed.repository import NEWEST, SUPPORTED, Graph, OvmsVersion, ovms_version
from ovembed.repository.graph import Servables, parse, read, render

if TYPE_CHECKING:
    from pathlib import Path

# Graphs as OVMS's own exporters write them: spaces in the type, commas, options that we have no name for.
CLASSIC_BY_OTHERS = """\
input_stream: "REQUEST_PAYLOAD:input"
output_stream: "RESPONSE_PAYLOAD:output"
node {
  calculator: "OpenVINOModelServerSessionCalculator"
  output_side_packet: "SESSION:second"
  node_options: {
    [type.googleapis.com / mediapipe.OpenVINOModelServerSessionCalculatorOptions]: {
      servable_name: "encoder"
      servable_version: "3"
    }
  }
}
node {
  calculator: "OpenVINOModelServerSessionCalculator"
  output_side_packet: "SESSION:first"
  node_options: {
    [type.googleapis.com / mediapipe.OpenVINOModelServerSessionCalculatorOptions]: {
      servable_name: "tokens"
    }
  }
}
node {
  input_side_packet: "TOKENIZER_SESSION:first"
  input_side_packet: "EMBEDDINGS_SESSION:second"
  calculator: "EmbeddingsCalculator"
  input_stream: "REQUEST_PAYLOAD:input"
  output_stream: "RESPONSE_PAYLOAD:output"
  node_options: {
    [type.googleapis.com / mediapipe.EmbeddingsCalculatorOptions]: {
      normalize_embeddings: false,
      mean_pooling: true,
    }
  }
}
"""
OV_BY_OTHERS = """
# File created with: OpenVINO Model Server
input_stream: "REQUEST_PAYLOAD:input"
output_stream: "RESPONSE_PAYLOAD:output"
num_threads: 3
node {
  name: "org/model"
  calculator: "EmbeddingsCalculatorOV"
  input_side_packet: "EMBEDDINGS_NODE_RESOURCES:embeddings_servable"
  input_stream: "REQUEST_PAYLOAD:input"
  output_stream: "RESPONSE_PAYLOAD:output"
  input_stream_handler { input_stream_handler: "SyncSetInputStreamHandler" }
  node_options: {
    [type.googleapis.com / mediapipe.EmbeddingsCalculatorOVOptions]: {
      models_path: "/elsewhere",
      OPTIONS
    }
  }
}
"""


def by_others(options: str) -> Graph:
    return parse(OV_BY_OTHERS.replace("OPTIONS", options))


def sayable(version: OvmsVersion) -> st.SearchStrategy[Graph]:
    """Every graph that the version can say."""
    words = st.text(st.characters(exclude_categories=("Cs",)))
    if version.layout == "classic":
        return st.builds(Graph, normalize=st.booleans(), servables=st.builds(Servables, words, words))
    options: dict[str, Any] = {
        "normalize": st.booleans(),
        "models_path": words,
        "target_device": st.none() | words,
        "plugin_config": st.dictionaries(words, words, max_size=3),
    }
    if "pooling" in version.graph_options:
        options["pooling"] = st.sampled_from([None, *sorted(version.poolings)])
    if "truncate" in version.graph_options:
        options["truncate"] = st.booleans()
    return st.builds(Graph, **options)


class TestRoundTrip:
    @given(st.data())
    def test_what_is_written_is_read_again(self, data: st.DataObject) -> None:
        version = data.draw(st.sampled_from(SUPPORTED))
        graph = data.draw(sayable(version))
        text = render(graph, version)
        assert parse(text) == graph
        assert parse(text).layout == version.layout

    def test_settings_stay_readable(self) -> None:
        text = render(Graph(normalize=True, plugin_config={"NUM_STREAMS": "2", "CACHE_DIR": "é"}), NEWEST)
        assert """plugin_config: '{"NUM_STREAMS": "2", "CACHE_DIR": "é"}'\n""" in text

    @pytest.mark.parametrize("version", SUPPORTED, ids=lambda version: version.name)
    def test_the_directive_has_a_line_of_its_own_from_2026_3_on(self, version: OvmsVersion) -> None:
        servables = Servables("a", "b") if version.layout == "classic" else None
        lines = render(Graph(normalize=True, servables=servables), version).splitlines()
        assert ("# OVMS_GRAPH_QUEUE_MAX_SIZE: AUTO" in lines) == (version.name == "2026.3")


class TestWhatAVersionCannotSay:
    @pytest.mark.parametrize(
        ("name", "graph", "problem"),
        [
            ("2025.2", Graph(normalize=True, pooling="cls"), "OVMS 2025.2 has no graph option 'pooling'"),
            ("2025.2", Graph(normalize=True, truncate=True), "OVMS 2025.2 has no graph option 'truncate'"),
            ("2025.3", Graph(normalize=True, pooling="mean"), "'pooling' of OVMS 2025.3 does not know 'mean'"),
            ("2025.1", Graph(normalize=True), "A graph of the ov layout is not for OVMS 2025.1"),
            ("2025.2", Graph(normalize=True, servables=Servables("a", "b")), "of the classic layout is not for OVMS"),
            (
                "2025.0",
                Graph(normalize=True, target_device="CPU", servables=Servables("a", "b")),
                "OVMS 2025.0 has no graph option 'target_device'",
            ),
        ],
    )
    def test_is_refused(self, name: str, graph: Graph, problem: str) -> None:
        with pytest.raises(InputError, match=problem):
            render(graph, ovms_version(name))


class TestGraphsByOthers:
    def test_a_classic_one_names_its_models_whatever_the_packets_are_called(self) -> None:
        graph = parse(CLASSIC_BY_OTHERS)
        assert graph == Graph(normalize=False, servables=Servables(tokenizer="tokens", encoder="encoder"))
        assert graph.layout == "classic"

    def test_what_is_left_out_is_left_to_the_server(self) -> None:
        assert by_others("") == Graph(normalize=True, models_path="/elsewhere")

    def test_options_we_do_not_know_are_passed_over(self) -> None:
        graph = by_others('mean_pooling: true\n brand_new { deep: 1 text: "x" }\n pooling: LAST\n truncate: true')
        assert graph == Graph(normalize=True, pooling="last", truncate=True, models_path="/elsewhere")

    def test_settings_that_are_no_strings_become_the_text_that_openvino_reads(self) -> None:
        graph = by_others("""plugin_config: '{"NUM_STREAMS": 2, "PERF_COUNT": true, "HINT": "LATENCY"}',""")
        assert graph.plugin_config == {"NUM_STREAMS": "2", "PERF_COUNT": "true", "HINT": "LATENCY"}

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("", "none of their calculators"),
            ("node {", "is not a graph for embeddings"),
            ('something: "else"', "none of their calculators"),
            ("\x00", "is not a graph for embeddings"),
            ('node { calculator: "EmbeddingsCalculatorOV" }', "the EmbeddingsCalculatorOV node has no options"),
            ('node { calculator: "EmbeddingsCalculator" }', "no session reaches the EmbeddingsCalculator node as TOK"),
            (OV_BY_OTHERS.replace("OPTIONS", "pooling: MAX"), "Pooling"),
            (OV_BY_OTHERS.replace("OPTIONS", "plugin_config: '['"), "is not a graph for embeddings"),
            (OV_BY_OTHERS.replace("OPTIONS", "plugin_config: '[]'"), "plugin_config is not a JSON object"),
            (CLASSIC_BY_OTHERS.replace("SESSION:second", "SESSION:third", 1), "as EMBEDDINGS_SESSION"),
            (
                'node { calculator: "LLM" node_options { [type.googleapis.com/mediapipe.LLMCalculatorOptions] {} } }',
                "LLMCalculatorOptions",
            ),
            (
                (
                    'node { calculator: "EmbeddingsCalculatorOV" node_options { value: "broken" '
                    'type_url: "type.googleapis.com/mediapipe.EmbeddingsCalculatorOVOptions" } }'
                ),
                "EmbeddingsCalculatorOVOptions",
            ),
        ],
    )
    def test_what_is_no_embeddings_graph_is_refused_in_one_line(self, text: str, problem: str) -> None:
        with pytest.raises(RepositoryError, match=problem) as caught:
            parse(text, "models/x/graph.pbtxt")
        assert str(caught.value).startswith("models/x/graph.pbtxt is not a graph for embeddings: ")
        assert "\n" not in str(caught.value)


class TestRead:
    def test_a_file(self, tmp_path: Path) -> None:
        graph = Graph(normalize=False, pooling="mean", target_device="GPU")
        (tmp_path / "graph.pbtxt").write_text(render(graph, NEWEST), encoding="utf-8")
        assert read(tmp_path / "graph.pbtxt") == graph
        assert read(tmp_path / "graph.pbtxt") != replace(graph, normalize=True)

    def test_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(RepositoryError, match=r"graph\.pbtxt cannot be read: No such file"):
            read(tmp_path / "graph.pbtxt")

    def test_a_file_that_is_no_text(self, tmp_path: Path) -> None:
        (tmp_path / "graph.pbtxt").write_bytes(b"\xff")
        with pytest.raises(RepositoryError, match=r"graph\.pbtxt is not a graph for embeddings: it is no UTF-8"):
            read(tmp_path / "graph.pbtxt")


def test_protobuf_loads_with_the_first_graph() -> None:
    script = (
        "import sys\n"
        "from ovembed.repository import NEWEST, Graph\n"
        "from ovembed.repository.graph import render\n"
        "assert 'google.protobuf' not in sys.modules\n"
        "render(Graph(normalize=True), NEWEST)\n"
        "assert 'google.protobuf' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
