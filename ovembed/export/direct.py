"""A transformers encoder -> OpenVINO without an export config: torch.export, then OpenVINO's PyTorch frontend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ovembed.errors import ExportError

if TYPE_CHECKING:
    from pathlib import Path

    import openvino as ov

_INPUTS = ("input_ids", "attention_mask")
# No dimension of the example is 0 or 1, which torch.export takes for constants.
_EXAMPLE_BATCH, _EXAMPLE_TOKENS = 2, 7


def load_encoder(source: Path, *, trust_remote_code: bool) -> Any:
    """The model in fp32, ready to be exported."""
    import torch
    from transformers import AutoModel

    encoder = AutoModel.from_pretrained(source, trust_remote_code=trust_remote_code, dtype=torch.float32).eval()
    encoder.config.use_cache = False
    return encoder


def convert_encoder(encoder: Any, *, position_limit: int | None) -> ov.Model:
    """An ov.Model with the inputs input_ids and attention_mask, and the hidden states as its output.

    Token types are left to the encoder, which takes zeros, as every single text has. Raises ExportError when the
    graph holds for one number of texts or tokens only, and whatever torch or OpenVINO raise.
    """
    import openvino as ov
    import torch

    ids = torch.ones((_EXAMPLE_BATCH, _EXAMPLE_TOKENS), dtype=torch.int64)
    shape = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens", max=position_limit)}
    with torch.inference_mode():
        exported = torch.export.export(
            encoder,
            args=(),
            kwargs={name: ids.clone() for name in _INPUTS},
            dynamic_shapes=dict.fromkeys(_INPUTS, shape),
            strict=False,
        )
    converted = ov.convert_model(exported)
    for port, name in zip(converted.inputs, _INPUTS, strict=True):
        port.tensor.set_names({name})
    hidden = converted.outputs[0].node.input_value(0)
    hidden.tensor.set_names({"last_hidden_state"})
    model = ov.Model([hidden], converted.get_parameters(), "encoder")
    _check_dynamic(model)
    _multiply_outer_products(model)
    return model


def _check_dynamic(model: ov.Model) -> None:
    for port in [*model.inputs, *model.outputs]:
        shape = port.partial_shape
        if len(shape) < 2 or shape[0].is_static or shape[1].is_static:
            raise ExportError(f"its graph's {port.any_name} has the fixed shape {shape}")


def _multiply_outer_products(model: ov.Model) -> None:
    """Rotary frequencies times positions: a MatMul over one element, which is a product with broadcasting.

    As a MatMul NNCF takes the frequencies for weights and compresses them, and OpenVINO 2026.4 with several
    streams then compiles a wrong model about every other time.
    """
    from openvino import opset13 as ops

    for node in model.get_ops():
        if node.get_type_name() == "MatMul" and not any(node.get_attributes().values()):
            left, right = node.input_value(0), node.input_value(1)
            inner = left.get_partial_shape()[-1]
            if inner.is_static and inner.get_length() == 1:
                node.output(0).replace(ops.multiply(left, right).output(0))
