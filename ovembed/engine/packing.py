"""Sequence packing: several texts share a row of the batch, and no token attends to one of another text.

The exported model knows nothing of it. Here its attention is confined to the text that a token belongs to, positions
are counted within that text, and pooling is told which tokens are whose. Rotary and relative positions need no change:
only the distance of two tokens of the same text matters to them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from ovembed.engine.pooling import encoder_ends

if TYPE_CHECKING:
    from ovembed.spec import ModelSpec

# Where attention is decided: the input that says, (rows, heads or 1, width, width), what each token sees.
_ATTENTION = {"ScaledDotProductAttention": 3, "Softmax": 0}


def with_packing(model: ov.Model, spec: ModelSpec) -> ov.Model | None:
    """The encoder for packed texts, with one output: float32 (texts, dimensions). None where its attention is hidden.

    Of its inputs, token_type_ids stay where there are any; attention_mask gives way to
    segments, int32 (rows, width): which text of the row a token belongs to; padding is a text of its own;
    position_ids, int64 (rows, width): of each token in its text;
    pooling_weights, float32 (texts, rows * width): the weight of each token in the vector of each text. There may be
    more rows than texts, as long as the vectors of those are passed over.
    """
    hidden, mask = encoder_ends(model)
    attentions = [node for node in model.get_ops() if node.get_type_name() in _ATTENTION]
    if not attentions or not all(map(_shows_what_is_seen, attentions)):
        return None
    segments = _parameter("segments", np.int32)
    positions = _parameter("position_ids", np.int64)
    weights = _parameter("pooling_weights", np.float32)
    dimensions = hidden.get_partial_shape()[2].get_length()
    _confine(attentions, segments)
    _count_positions(model, positions, (spec.max_tokens, dimensions))
    _replace(mask.output(0), _ones_like_the_ids(model))
    tokens = ops.reshape(hidden, ops.constant([-1, dimensions]), special_zero=False)
    rows = ops.matmul(weights, tokens, transpose_a=False, transpose_b=False)
    if spec.normalize:
        rows = ops.normalize_l2(rows, ops.constant([1]), 1e-12, "max")
    kept = [node for node in model.get_parameters() if node.output(0).any_name != "attention_mask"]
    return ov.Model([rows], [*kept, segments, positions, weights], "packed_embedder")


def _parameter(name: str, kind: type[np.number[Any]]) -> ov.Node:
    parameter = ops.parameter([-1, -1], kind, name=name)
    parameter.output(0).set_names({name})
    return parameter


def _replace(old: ov.Output, new: ov.Node) -> None:
    for target in old.get_target_inputs():
        target.replace_source_output(new.output(0))


def _ones_like_the_ids(model: ov.Model) -> ov.Node:
    """The attention mask of a batch without padding: what is padding here has a segment of its own."""
    ids = next(port for port in model.inputs if port.any_name == "input_ids")
    return ops.broadcast(ops.constant(np.int64(1)), ops.shape_of(ids))


def _shows_what_is_seen(attention: ov.Node) -> bool:
    place = _ATTENTION[attention.get_type_name()]
    if attention.get_attributes().get("causal") or attention.get_input_size() <= place:
        return False
    return bool(attention.input_value(place).get_partial_shape().rank == 4)


def _confine(attentions: list[ov.Node], segments: ov.Node) -> None:
    """Let the tokens of each text see one another as before, and nothing else."""
    one, other = ops.unsqueeze(segments, ops.constant([1, 3])), ops.unsqueeze(segments, ops.constant([1, 2]))
    same = ops.equal(one, other)  # (rows, 1, width, width)
    for attention in attentions:
        port = attention.input(_ATTENTION[attention.get_type_name()])
        seen = port.get_source_output()
        kind = seen.get_element_type()
        if kind == ov.Type.boolean:
            confined = ops.logical_and(seen, same)
        else:
            confined = ops.select(same, seen, ops.constant(np.finfo(kind.to_dtype()).min, kind))
        port.replace_source_output(confined.output(0))


def _count_positions(model: ov.Model, positions: ov.Node, table: tuple[int, int]) -> None:
    """Look absolute positions up by those in the text, whichever way the model counted them along the row."""
    for node in model.get_ordered_ops():
        if node.get_type_name() == "CumSum" and node.output(0).get_partial_shape().rank.get_length() == 2:
            counted = ops.add(positions, ops.constant(np.int64(1)))
            _replace(node.output(0), ops.convert(counted, node.get_element_type()))
        elif node.get_type_name() == "Gather" and _looks_positions_up(node, table):
            node.input(1).replace_source_output(positions.output(0))


def _looks_positions_up(gather: ov.Node, table: tuple[int, int]) -> bool:
    """In a table of at least so many rows of just so many columns, without looking at any token id."""
    rows, columns = table
    shape = gather.input_value(0).get_partial_shape()
    if shape.rank.is_dynamic or shape.is_dynamic or len(shape) != 2:
        return False
    if shape[0].get_length() < rows or shape[1].get_length() != columns:
        return False
    return not _depends_on_input(gather.input_value(1).get_node())


def _depends_on_input(node: ov.Node) -> bool:
    """Its values do, not only its shape."""
    waiting, seen = [node], set()
    while waiting:
        node = waiting.pop()
        if node.get_type_name() == "Parameter":
            return True
        if node.get_friendly_name() not in seen and node.get_type_name() != "ShapeOf":
            seen.add(node.get_friendly_name())
            waiting.extend(source.get_node() for source in node.input_values())
    return False
