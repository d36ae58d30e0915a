"""What follows the encoder in sentence-transformers, as part of the OpenVINO model: pooling, then Dense layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ovembed.engine.pooling import encoder_ends, pool
from ovembed.errors import ExportError
from ovembed.hub import weight_files

if TYPE_CHECKING:
    from collections.abc import Sequence

    import openvino as ov

    from ovembed.hub import DenseLayer, Recipe
    from ovembed.spec import Pooling


def needs_pooling_inside(recipe: Recipe) -> bool:
    """Whether only the model itself can pool as its source does.

    A server knows no Dense layers, and takes the last place of the mask's sum for the last token, which is
    wrong for tokens that were padded on the left.
    """
    return bool(recipe.dense) or (recipe.pooling.value == "last" and recipe.pads_left)


def with_head(encoder: ov.Model, pooling: Pooling, dense: Sequence[DenseLayer]) -> ov.Model:
    """An encoder that pools: one output, float32 (batch, 1, dimensions).

    The middle dimension is there because servers look for an output of rank 3.
    """
    import openvino as ov
    from openvino import opset13 as ops

    rows = pool(*encoder_ends(encoder), pooling)
    for layer in dense:
        rows = _apply(rows, layer)
    pooled = ops.unsqueeze(rows, ops.constant(1))
    pooled.output(0).set_names({"sentence_embedding"})
    return ov.Model([pooled], encoder.get_parameters(), "encoder")


def read_weights(layer: DenseLayer) -> dict[str, Any]:
    """The float32 tensors `weight` (out, in) and, where the layer has one, `bias` (out,), as torch names them."""
    import torch
    from safetensors.torch import load_file

    path = weight_files(layer.folder)[0]
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
    except OSError:
        raise
    except Exception as error:
        raise ExportError(f"{path} is damaged, or holds more than weights. Download the model again.") from error
    shapes = {"weight": (layer.out_features, layer.in_features)} | (
        {"bias": (layer.out_features,)} if layer.bias else {}
    )
    weights = {name: state.get(f"linear.{name}") for name in shapes}
    for name, shape in shapes.items():
        if weights[name] is None or tuple(weights[name].shape) != shape:
            raise ExportError(f"{path} holds no linear.{name} of shape {shape}. Download the model again.")
    return {name: weight.float() for name, weight in weights.items()}


def _apply(rows: Any, layer: DenseLayer) -> Any:
    from openvino import opset13 as ops

    weights = read_weights(layer)
    rows = ops.matmul(rows, ops.constant(weights["weight"].numpy()), transpose_a=False, transpose_b=True)
    if layer.bias:
        rows = ops.add(rows, ops.constant(weights["bias"].numpy()))
    match layer.activation:
        case "identity":
            return rows
        case "tanh":
            return ops.tanh(rows)
        case "relu":
            return ops.relu(rows)
        case "gelu":
            return ops.gelu(rows, "erf")
