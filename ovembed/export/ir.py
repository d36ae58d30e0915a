"""OpenVINO's files: what a model itself tells, the vectors it makes as it is, and how to change it in place."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ovembed import vectors as arithmetic
from ovembed.engine.tokenizer import load_tokenizer
from ovembed.errors import ExportError
from ovembed.export.words import in_one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import openvino as ov

    from ovembed.protocols import Vectors
    from ovembed.spec import ModelSpec, Pooling, Precision

# Element types of the constants, the coarsest first, and the precision they make.
_PRECISIONS: tuple[tuple[set[str], Precision], ...] = (
    ({"i4", "u4", "nf4"}, "int4"),
    ({"i8", "u8"}, "int8"),
    ({"f16", "bf16"}, "fp16"),
)
# Constants below it are biases, scales and shapes, whose type tells nothing of the weights.
_WEIGHTS_FROM = 1024


@dataclass(frozen=True, slots=True)
class Facts:
    """`pooled` tells that the output has one token; `config` are the keys of config.json that the IR brings."""

    precision: Precision
    pooled: bool
    config: Mapping[str, Any]


def read_facts(path: Path) -> Facts:
    """Raises ExportError for a model that cannot be read, or that gives nothing of rank 3."""
    model = _read(path)
    output = _hidden_output(model, path)
    return Facts(_precision(model), bool(output.partial_shape[1] == 1), _config(model))


def weights_sha256(path: Path) -> str:
    with path.with_suffix(".bin").open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def vectors(path: Path, tokenizer: Path, spec: ModelSpec, texts: Sequence[str], *, pooled: bool) -> Vectors:
    """What the model makes of the texts as it is: float32 (n, dimensions), normalized if the spec says so.

    One text at a time, nothing quantized on the way, pooled outside of the graph.
    """
    import openvino as ov

    from ovembed.engine.runtime import core

    model = _read(path)
    hidden = _hidden_output(model, path).node.input_value(0)
    settings = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
    compiled = core().compile_model(ov.Model([hidden], model.get_parameters(), "own"), "CPU", settings)
    loaded = load_tokenizer(tokenizer)
    rows = []
    for ids in loaded.encode(texts):
        states = compiled(_feed(_cut(ids, spec.max_tokens, loaded.closing_tokens), compiled))[0][0]
        rows.append(_pool(states, "cls" if pooled else spec.pooling))
    result = np.stack(rows).astype(np.float32)
    return arithmetic.normalize(result) if spec.normalize else result


def rewrite(path: Path, change: Callable[[ov.Model], ov.Model | None]) -> None:
    """Change a model in its file; `change` may return another one in its place."""
    import openvino as ov

    model = ov.Core().read_model(path)
    changed = path.with_stem("changed")
    ov.save_model(change(model) or model, changed, compress_to_fp16=False)
    for suffix in (".bin", ".xml"):
        changed.with_suffix(suffix).replace(path.with_suffix(suffix))


def _read(path: Path) -> ov.Model:
    import openvino as ov

    try:
        return ov.Core().read_model(path)
    except RuntimeError as error:
        raise ExportError(f"{path} cannot be read: {in_one_line(error)}") from error


def _hidden_output(model: ov.Model, path: Path) -> ov.Output:
    for port in model.outputs:
        if port.partial_shape.rank.is_static and port.partial_shape.rank.get_length() == 3:
            return port
    raise ExportError(f"{path} has no output of shape (batch, tokens, dimensions); is this a text encoder?")


def _precision(model: ov.Model) -> Precision:
    types = set()
    for node in model.get_ops():
        kind = node.get_type_name()
        if kind == "FakeQuantize" and node.input_value(0).get_node().get_type_name() != "Constant":
            return "full-int8"
        if kind == "Constant" and int(np.prod(node.get_output_shape(0))) >= _WEIGHTS_FROM:
            types.add(node.get_output_element_type(0).get_type_name())
    return next((precision for names, precision in _PRECISIONS if names & types), "fp32")


def _config(model: ov.Model) -> Mapping[str, Any]:
    """OVMS's exporter copies config.json into rt_info, section model_info, of its classic encoders: values as text."""
    if not model.has_rt_info("model_info"):
        return {}
    told = model.get_rt_info("model_info").astype(dict)
    return {key: _value(value.astype(str)) for key, value in told.items()}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _feed(ids: Sequence[int], compiled: ov.CompiledModel) -> dict[str, Any]:
    row = np.array([ids], dtype=np.int64)
    feed = {"input_ids": row, "attention_mask": np.ones_like(row), "token_type_ids": np.zeros_like(row)}
    return {port.any_name: feed[port.any_name] for port in compiled.inputs}


def _cut(ids: list[int], limit: int, closing: int) -> list[int]:
    return ids if len(ids) <= limit else ids[: limit - closing] + ids[len(ids) - closing :]


def _pool(states: Vectors, pooling: Pooling) -> Vectors:
    """One text alone has no padding: every state (tokens, dimensions) is attended."""
    match pooling:
        case "cls":
            row = states[0]
        case "mean":
            row = states.mean(axis=0)
        case "last":
            row = states[-1]
    return np.asarray(row, dtype=np.float32)
