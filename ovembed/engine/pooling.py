"""Pooling and normalization as part of an OpenVINO model, so that they run inside the compiled one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from ovembed.errors import EngineError

if TYPE_CHECKING:
    from ovembed.spec import Pooling


def with_pooling(model: ov.Model, pooling: Pooling | None, *, normalize: bool) -> ov.Model:
    """The encoder with one output: float32 (batch, dimensions).

    `pooling` is None for an encoder that pools its tokens itself, into (batch, 1, dimensions) or the same at every
    token. Raises EngineError for what is no text encoder.
    """
    hidden, mask = encoder_ends(model)
    pooled = pool(hidden, mask, pooling or "cls")
    if normalize:
        pooled = ops.normalize_l2(pooled, ops.constant([1]), 1e-12, "max")
    return ov.Model([pooled], model.get_parameters(), "embedder")


def encoder_ends(model: ov.Model) -> tuple[ov.Output, ov.Node]:
    """The hidden states, float32 (batch, tokens, dimensions), and the attention mask (batch, tokens)."""
    inputs = {parameter.output(0).any_name: parameter for parameter in model.get_parameters()}
    unknown = set(inputs) - {"input_ids", "attention_mask", "token_type_ids"}
    if unknown or "attention_mask" not in inputs:
        raise EngineError(f"the model's inputs ({', '.join(inputs)}) are not those of a text encoder")
    hidden = next((port for port in model.outputs if port.partial_shape.rank.get_length() == 3), None)
    if hidden is None:
        raise EngineError("the model has no output of shape (batch, tokens, dimensions)")
    return hidden.node.input_value(0), inputs["attention_mask"]


def embedding_rows(model: ov.Model) -> int:
    """How many token ids the encoder has embeddings for. Raises EngineError where it looks none up."""
    waiting = [port for port in model.inputs if port.any_name == "input_ids"]
    while waiting:
        for target in waiting.pop().get_target_inputs():
            node = target.get_node()
            if node.get_type_name() == "Gather":
                return int(node.input_value(0).get_partial_shape()[0].get_length())
            if node.get_type_name() in {"Convert", "Reshape", "Unsqueeze"}:
                waiting.extend(node.outputs())
    raise EngineError("the model looks up no embeddings of its input_ids")


def pool(hidden: ov.Output, mask: ov.Node, pooling: Pooling) -> ov.Node:
    """One vector for each text, float32 (batch, dimensions), of its attended tokens."""
    return _POOLING[pooling](hidden, mask)


def _pool_cls(hidden: ov.Output, _mask: ov.Node) -> ov.Node:
    return ops.gather(hidden, ops.constant(0), ops.constant(1))


def _pool_mean(hidden: ov.Output, mask: ov.Node) -> ov.Node:
    weights = ops.unsqueeze(ops.convert(mask, "f32"), ops.constant(-1))
    total = ops.reduce_sum(ops.multiply(hidden, weights), ops.constant([1]), keep_dims=False)
    count = ops.reduce_sum(weights, ops.constant([1]), keep_dims=False)
    return ops.divide(total, ops.maximum(count, ops.constant(np.float32(1e-9))))


def _pool_last(hidden: ov.Output, mask: ov.Node) -> ov.Node:
    """The last attended token, whichever side the padding is on."""
    length = ops.gather(ops.shape_of(mask), ops.constant(1), ops.constant(0))
    places = ops.range(ops.constant(np.int64(0)), length, ops.constant(np.int64(1)), "i64")
    last = ops.reduce_max(ops.multiply(mask, places), ops.constant([1]), keep_dims=True)
    return ops.gather_nd(hidden, last, batch_dims=1)


_POOLING = {"cls": _pool_cls, "mean": _pool_mean, "last": _pool_last}
