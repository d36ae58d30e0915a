"""Graphs as protobuf text. Importing this module loads protobuf, so it is imported inside functions."""

from __future__ import annotations

import json
import re
from typing import Any

from ovembed.repository import messages
from ovembed.repository.graph import Graph, Servables

# These names, and those of the side packets below, are fixed in OVMS.
_CLASSIC_CALCULATOR = "EmbeddingsCalculator"
_OV_CALCULATOR = "EmbeddingsCalculatorOV"
_SESSION_CALCULATOR = "OpenVINOModelServerSessionCalculator"
_INPUT = "REQUEST_PAYLOAD:input"
_OUTPUT = "RESPONSE_PAYLOAD:output"

# A field whose string has quotes inside and nothing else that is escaped.
_QUOTED_JSON = re.compile(r'^(\s*\w+: )"((?:[^"\\]|\\")*\\"(?:[^"\\]|\\")*)"$', re.MULTILINE)


def write(graph: Graph) -> str:
    nodes = _classic_nodes(graph, graph.servables) if graph.servables else [_ov_node(graph)]
    config = messages.GraphConfig(input_stream=[_INPUT], output_stream=[_OUTPUT], node=nodes)
    return _QUOTED_JSON.sub(_in_single_quotes, messages.to_text(config))


def read(text: str) -> Graph | None:
    """None for a graph without a calculator for embeddings. Raises TypeError or ValueError for a broken one."""
    return _found_in(messages.from_text(text))


def _ov_node(graph: Graph) -> Any:
    node = messages.GraphConfig.Node(
        name="EmbeddingsExecutor",  # OVMS wants one
        calculator=_OV_CALCULATOR,
        input_side_packet=["EMBEDDINGS_NODE_RESOURCES:embeddings_servable"],
        input_stream=[_INPUT],
        output_stream=[_OUTPUT],
    )
    node.node_options.add().Pack(messages.OvOptions(**graph.options()))
    return node


def _classic_nodes(graph: Graph, servables: Servables) -> list[Any]:
    node = messages.GraphConfig.Node(
        calculator=_CLASSIC_CALCULATOR,
        input_side_packet=["TOKENIZER_SESSION:tokenizer", "EMBEDDINGS_SESSION:embeddings"],
        input_stream=[_INPUT],
        output_stream=[_OUTPUT],
    )
    node.node_options.add().Pack(messages.ClassicOptions(**graph.options()))
    return [_session("tokenizer", servables.tokenizer), _session("embeddings", servables.encoder), node]


def _session(packet: str, servable: str) -> Any:
    node = messages.GraphConfig.Node(calculator=_SESSION_CALCULATOR, output_side_packet=[f"SESSION:{packet}"])
    node.node_options.add().Pack(messages.SessionOptions(servable_name=servable))
    return node


def _in_single_quotes(line: re.Match[str]) -> str:
    """JSON stays readable: '{"NUM_STREAMS": "1"}'. Single quotes within are escaped by protobuf, and not matched."""
    return f"{line[1]}'{line[2].replace(chr(92), '')}'"


def _found_in(config: Any) -> Graph | None:
    for node in config.node:
        if node.calculator == _OV_CALCULATOR:
            return _ov_graph(node)
        if node.calculator == _CLASSIC_CALCULATOR:
            return _classic_graph(node, config)
    return None


def _ov_graph(node: Any) -> Graph:
    options = messages.options_of(node, messages.OvOptions)
    if options is None:
        raise ValueError(f"the {_OV_CALCULATOR} node has no options.")
    return Graph(
        normalize=_normalizes(options),
        pooling=messages.OvOptions.Pooling.Name(options.pooling).lower() if options.HasField("pooling") else None,
        truncate=options.truncate,
        target_device=options.target_device if options.HasField("target_device") else None,
        plugin_config=_plugin_config(options.plugin_config),
        models_path=options.models_path,
    )


def _classic_graph(node: Any, config: Any) -> Graph:
    options = messages.options_of(node, messages.ClassicOptions) or messages.ClassicOptions()
    servables = Servables(_servable(node, "TOKENIZER_SESSION", config), _servable(node, "EMBEDDINGS_SESSION", config))
    return Graph(normalize=_normalizes(options), servables=servables)


def _normalizes(options: Any) -> bool:
    """On by default, in every version of both calculators."""
    return bool(options.normalize_embeddings) if options.HasField("normalize_embeddings") else True


def _servable(node: Any, tag: str, config: Any) -> str:
    """The model whose session comes to `node` in the side packet of that tag."""
    packets = [packet.partition(":")[2] for packet in node.input_side_packet if packet.startswith(f"{tag}:")]
    for session in config.node:
        if any(f"SESSION:{packet}" in session.output_side_packet for packet in packets):
            options = messages.options_of(session, messages.SessionOptions)
            if options is not None:
                return str(options.servable_name)
    raise ValueError(f"no session reaches the {_CLASSIC_CALCULATOR} node as {tag}.")


def _plugin_config(text: str) -> dict[str, str]:
    """OVMS takes JSON values that are no strings as well; they become the text that OpenVINO reads them as."""
    content = json.loads(text) if text else {}
    if not isinstance(content, dict):
        raise TypeError("plugin_config is not a JSON object.")
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in content.items()}
