"""The weight files of a model: which ones an export reads, and the hash that stands for them."""

from __future__ import annotations

import fnmatch
import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# The names transformers looks for, in its order: safetensors before pickles, one file before its shards.
_WEIGHTS = ("model.safetensors", "model-*.safetensors", "pytorch_model.bin", "pytorch_model-*.bin")


def pick_weights(names: Iterable[str]) -> list[str]:
    """Of the names in one folder those an export reads, in order; the same weights in other formats are left out."""
    present = list(names)
    for pattern in _WEIGHTS:
        found = sorted(fnmatch.filter(present, pattern))
        if found:
            return found
    return []


def is_pickle(name: str) -> bool:
    """Whether a weight file can run code when it is read."""
    return name.endswith(".bin")


def index_of(name: str) -> str:
    """The file that lists the shards of which `name` is one."""
    return "pytorch_model.bin.index.json" if is_pickle(name) else "model.safetensors.index.json"


def weight_files(folder: Path) -> list[Path]:
    """The weights an export reads: safetensors where there are any, else PyTorch's."""
    return [folder / name for name in pick_weights(path.name for path in folder.glob("*"))]


def weights_sha256(folder: Path) -> str:
    """One hash over the weight files, in the order of their names; of a single file, its own."""
    hashes = []
    for path in weight_files(folder):
        with path.open("rb") as file:
            hashes.append(hashlib.file_digest(file, "sha256").hexdigest())
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
