"""What an export is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

    from ovembed.spec import Pooling, Precision


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What to export, and what of the source's own recipe to override (None keeps it).

    `name` defaults to the Hub id or the folder's name. `precision` is that of the weights; full-int8 quantizes the
    activations too, calibrated on the texts of the file `calibration` (None: bundled ones), and auto takes the
    fastest of several that comes near enough to the source; None is int8, or what an OpenVINO source is quantized to
    already. `min_similarity` is a floor for the mean cosine to the source over the probe texts; None takes the default
    of the precision. The OVMS of `ovms_version` (None: the newest) decides the folder's layout; `truncate` lets it cut
    texts that are too long. `allow_pickle` takes weights that can run code when they are read, `trust_remote_code` runs
    Python files that come with the model.
    """

    source: str
    name: str | None = None
    revision: str | None = None
    precision: Precision | Literal["auto"] | None = None
    calibration: Path | None = None
    pooling: Pooling | None = None
    normalize: bool | None = None
    max_tokens: int | None = None
    ovms_version: str | None = None
    target_device: str = "CPU"
    num_streams: int = 1
    truncate: bool = False
    min_similarity: float | None = None
    trust_remote_code: bool = False
    allow_pickle: bool = False
    overwrite: bool = False
