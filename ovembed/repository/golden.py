"""golden.npz beside each model: the probe texts with their vectors, for checks that it still gives them."""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ovembed.errors import RepositoryError

if TYPE_CHECKING:
    from pathlib import Path

    from ovembed.protocols import Vectors

FILE_NAME = "golden.npz"
# To the vectors recorded at export. Processors round int8 differently; a damaged model is much farther off.
LEAST_COSINE = 0.99
# What numpy and zipfile say of files that are cut off, changed, or something else.
_DAMAGED = (ValueError, KeyError, TypeError, AttributeError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True, slots=True)
class Golden:
    """Texts, and for each in order a row of float32 (n, dimensions): by the source model, and by the exported one.

    The exported model's rows are of each text alone, cut to the model's length.
    """

    texts: tuple[str, ...]
    source: Vectors
    exported: Vectors


def write(folder: Path, golden: Golden) -> None:
    """Plain arrays; the texts as one array of Unicode strings."""
    np.savez_compressed(
        folder / FILE_NAME, texts=np.array(golden.texts), source=golden.source, exported=golden.exported
    )


def read(folder: Path) -> Golden:
    """Raises RepositoryError, naming the file, when it is missing or damaged."""
    path = folder / FILE_NAME
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            golden = Golden(tuple(map(str, arrays["texts"])), arrays["source"], arrays["exported"])
    except FileNotFoundError as error:
        raise RepositoryError(f"{path} is missing. Export the model again.") from error
    except (*_DAMAGED, OSError) as error:
        raise RepositoryError(f"{path} cannot be read ({error}). Export the model again.") from error
    count, dimensions = len(golden.texts), golden.source.shape[-1:]
    if not count or not golden.source.shape == golden.exported.shape == (count, *dimensions):
        raise RepositoryError(f"{path} does not hold vectors for each of its texts. Export the model again.")
    return golden
