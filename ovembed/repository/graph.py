"""graph.pbtxt of OVMS's embeddings calculator (`EmbeddingsCalculatorOV`, OVMS 2025.4 and newer)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from ovembed.spec import ModelSpec

FILE_NAME = "graph.pbtxt"

# The stream and side-packet names are fixed in OVMS; the node must have a name. Doubled braces are literal.
_TEMPLATE = """\
input_stream: "REQUEST_PAYLOAD:input"
output_stream: "RESPONSE_PAYLOAD:output"
node {{
  name: "EmbeddingsExecutor"
  calculator: "EmbeddingsCalculatorOV"
  input_side_packet: "EMBEDDINGS_NODE_RESOURCES:embeddings_servable"
  input_stream: "REQUEST_PAYLOAD:input"
  output_stream: "RESPONSE_PAYLOAD:output"
  node_options: {{
    [type.googleapis.com/mediapipe.EmbeddingsCalculatorOVOptions]: {{
      models_path: "./"
      normalize_embeddings: {normalize}
      pooling: {pooling}
      target_device: "{target_device}"
      plugin_config: '{{"NUM_STREAMS": "{num_streams}"}}'
    }}
  }}
}}
"""


def write(folder: Path, spec: ModelSpec, *, target_device: str, num_streams: int) -> None:
    """Every setting that decides the vectors is written out: OVMS's defaults differ between versions."""
    text = _TEMPLATE.format(
        normalize="true" if spec.normalize else "false",
        pooling=spec.pooling.upper(),
        target_device=target_device,
        num_streams=num_streams,
    )
    (folder / FILE_NAME).write_text(text, encoding="utf-8")
