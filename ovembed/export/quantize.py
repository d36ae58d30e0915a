"""Weights of an fp32 IR -> fp16 or int8, through OpenVINO and NNCF."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from ovembed.spec import WeightFormat


def quantize(source: Path, target: Path, weight_format: WeightFormat) -> None:
    """Read the fp32 IR `source` and write `target` (both .xml, the .bin beside).

    int8 is NNCF's asymmetric weight compression, one scale for each output channel, as OVMS's exporter makes.
    """
    import openvino as ov

    model = ov.Core().read_model(source)
    if weight_format == "int8":
        import nncf

        model = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_ASYM)
    ov.save_model(model, target, compress_to_fp16=weight_format == "fp16")
