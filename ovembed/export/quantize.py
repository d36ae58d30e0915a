"""The fp32 IR -> the IR of another precision, through OpenVINO and NNCF."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ovembed.protocols import Tokens
    from ovembed.spec import Precision

# How far SmoothQuant moves the outliers of activations into the weights.
_SMOOTH_QUANT_ALPHA = 0.8


def quantize(source: Path, target: Path, precision: Precision, calibration: Sequence[Tokens] = ()) -> None:
    """Read the fp32 IR `source` and write `target` (both .xml, the .bin beside).

    int8 is NNCF's asymmetric weight compression, one scale for each output channel, as OVMS's exporter makes; int4
    its symmetric one, data-free, in groups of 64, or of 32 where a layer does not divide so, and int8 where it does
    not divide at all. full-int8 is NNCF's static post-training quantization with the activation ranges that the
    `calibration` token lists show.
    """
    import openvino as ov

    model = ov.Core().read_model(source)
    match precision:
        case "int8":
            model = _compressed(model, "INT8_ASYM")
        case "int4":
            model = _compressed(model, "INT4_SYM", group_size=64, ratio=1.0, advanced_parameters=_groups_that_fit())
        case "full-int8":
            model = _statically_quantized(model, calibration)
        case "fp32" | "fp16":
            pass
    ov.save_model(model, target, compress_to_fp16=precision == "fp16")


def _compressed(model: Any, mode: str, **settings: Any) -> Any:
    import nncf

    return nncf.compress_weights(model, mode=nncf.CompressWeightsMode[mode], **settings)


def _groups_that_fit() -> Any:
    import nncf

    return nncf.AdvancedCompressionParameters(group_size_fallback_mode=nncf.GroupSizeFallbackMode.ADJUST)


def _statically_quantized(model: Any, calibration: Sequence[Tokens]) -> Any:
    import nncf

    inputs = [parameter.output(0).any_name for parameter in model.get_parameters()]
    return nncf.quantize(
        model,
        nncf.Dataset(calibration, lambda tokens: _feed(tokens, inputs)),
        model_type=nncf.ModelType.TRANSFORMER,
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(calibration),
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(matmul=_SMOOTH_QUANT_ALPHA),
        ),
    )


def _feed(tokens: Tokens, inputs: Sequence[str]) -> dict[str, Any]:
    ids = np.array([tokens], dtype=np.int64)
    feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    return {name: feed[name] for name in inputs}
