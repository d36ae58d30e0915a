"""The weight files of a model: which ones an export reads, and the hash that stands for them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


def weight_files(folder: Path) -> list[Path]:
    """The weights an export reads: safetensors where there are any, else PyTorch's."""
    for pattern in _WEIGHTS:
        files = sorted(folder.glob(pattern))
        if files:
            return files
    return []


def weights_sha256(folder: Path) -> str:
    """One hash over the weight files, in the order of their names; of a single file, its own."""
    hashes = []
    for path in weight_files(folder):
        with path.open("rb") as file:
            hashes.append(hashlib.file_digest(file, "sha256").hexdigest())
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
