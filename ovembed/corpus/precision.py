"""Numbers that vectors are written as: float32, float16, int8 or binary, as sentence-transformers defines them.

int8 stands for the range from -limit to limit, the same for every dimension, so that cosines of the codes are
cosines of the vectors. Definition: sentence_transformers.quantize_embeddings with these ranges.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np

from ovembed.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ovembed.corpus.rows import Space
    from ovembed.protocols import Vectors

    Codes: TypeAlias = NDArray[Any]

VectorPrecision = Literal["float32", "float16", "int8", "binary"]
PRECISIONS: tuple[VectorPrecision, ...] = get_args(VectorPrecision)

_DTYPES = {"float32": "<f4", "float16": "<f2", "int8": "i1", "binary": "i1"}
_STEPS = 255
_LOWEST = -128
# Vectors to come may reach a little beyond those that a limit is taken from; what is beyond it is cut to it.
_MARGIN = 1.25
# The bits of a float16, moved to where a float32 has its sign, exponent and fraction, are its value times 2 ** -112.
_HALF_SHIFT, _HALF_MASK, _HALF_SCALE = 13, np.int32(-0x7000_2000), np.float32(2.0**112)


def dtype(precision: VectorPrecision) -> np.dtype[Any]:
    return np.dtype(_DTYPES[precision])


def width(space: Space) -> int:
    """Numbers in a row of codes."""
    return -(-space.dimensions // 8) if space.precision == "binary" else space.dimensions


def limit_for(vectors: Vectors, precision: VectorPrecision) -> float | None:
    """The limit for int8 vectors like these: a single one is enough, for all dimensions share it."""
    return float(np.abs(vectors).max()) * _MARGIN if precision == "int8" else None


def encode(vectors: Vectors, space: Space) -> Codes:
    """Codes of float32 vectors: C order, shape (n, width), in the dtype of the space's precision."""
    match space.precision:
        case "int8":
            low, step = _scale(space)
            steps = np.clip(np.floor((vectors - low) / step), 0, _STEPS)
            return np.asarray(steps + _LOWEST, dtype=np.int8)
        case "binary":
            return np.asarray(np.packbits(vectors > 0, axis=1).astype(np.int16) + _LOWEST, dtype=np.int8)
        case precision:
            return np.ascontiguousarray(vectors, dtype=dtype(precision))


def decode(codes: Codes, space: Space) -> Vectors:
    """float32 vectors, shape (n, dimensions), whose codes these are; those of float32 are the vectors themselves.

    An int8 code becomes the middle of what it stands for, a bit -1 or 1.
    """
    match space.precision:
        case "float32":
            return codes
        case "int8":
            low, step = _scale(space)
            middles = codes.astype(np.float32) - _LOWEST + np.float32(0.5)
            return np.asarray(middles * step + low, dtype=np.float32)
        case "binary":
            bits = np.unpackbits((codes.astype(np.int16) - _LOWEST).astype(np.uint8), axis=1, count=space.dimensions)
            return bits.astype(np.float32) * 2 - 1
        case "float16":
            return codes.astype(np.float32)


def dot(codes: Codes, query: Vectors, space: Space) -> Vectors:
    """`decode(codes, space) @ query`, for finite codes: shape (n,), several times as fast for float16 and int8."""
    match space.precision:
        case "int8":
            low, step = _scale(space)
            offset = (low + step * np.float32(0.5 - _LOWEST)) * query.sum()
            return np.asarray(_dot(codes.astype(np.float32), query * step) + offset, dtype=np.float32)
        case "float16":
            bits = codes.view(np.int16).astype(np.int32)
            bits <<= _HALF_SHIFT
            bits &= _HALF_MASK
            return _dot(bits.view(np.float32), query * _HALF_SCALE)
        case _:
            return _dot(decode(codes, space), query)


def _dot(rows: Vectors, query: Vectors) -> Vectors:
    """Not by BLAS, whose threads get in the way of those that search."""
    return np.asarray(np.einsum("ij,j->i", rows, query))


def _scale(space: Space) -> tuple[np.float32, np.float32]:
    """(the lowest number there is, the distance between two)."""
    if space.limit is None:
        raise InputError("int8 vectors without their limit cannot be read.")
    return np.float32(-space.limit), np.float32(2 * space.limit / _STEPS)
