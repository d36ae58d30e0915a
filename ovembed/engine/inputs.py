"""Token lists, put at their places in a batch, as the arrays that a compiled model takes."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from ovembed.batches import Layout
    from ovembed.spec import Pooling

# Pooling weights have rows for a multiple of so many texts: kernels for every count would take a fifth of the memory
# of a server.
_TEXTS_STEP = 8


class Inputs:
    """One batch: rows x width of every input that the model has a name for."""

    def __init__(self, batch: Sequence[Sequence[int]], layout: Layout, pooling: Pooling) -> None:
        self._layout = layout
        self._pooling = pooling
        self._lengths = np.fromiter(map(len, batch), dtype=np.int64, count=len(batch))
        self._starts = np.array([row * layout.width + first for row, first in layout.places])
        # Of every token in the order of the texts: its id, its text, its position in it, its place in the batch.
        self._ids = np.fromiter(itertools.chain.from_iterable(batch), dtype=np.int64, count=int(self._lengths.sum()))
        self._texts = np.repeat(np.arange(len(batch)), self._lengths)
        self._positions = np.arange(len(self._ids)) - (np.cumsum(self._lengths) - self._lengths)[self._texts]
        self._places = self._starts[self._texts] + self._positions

    def feed(self, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """The inputs of these names."""
        return {name: _MAKERS[name](self) for name in names}

    def _input_ids(self) -> NDArray[np.int64]:
        """Padded with 0: whatever stands there, nothing attends to it."""
        return self._block(self._ids, np.int64)

    def _attention_mask(self) -> NDArray[np.int64]:
        return self._block(1, np.int64)

    def _token_type_ids(self) -> NDArray[np.int64]:
        return self._block(0, np.int64)

    def _segments(self) -> NDArray[np.int32]:
        """Which text each token belongs to, counted from 1; 0 is padding."""
        return self._block(self._texts + 1, np.int32)

    def _position_ids(self) -> NDArray[np.int64]:
        return self._block(self._positions, np.int64)

    def _weights(self) -> NDArray[np.float32]:
        """What the vector of each text takes of each token: (texts or more, rows * width); further rows are 0."""
        count = len(self._lengths)
        weights = np.zeros((-(-count // _TEXTS_STEP) * _TEXTS_STEP, self._layout.tokens), dtype=np.float32)
        texts = np.arange(count)
        match self._pooling:
            case "cls":
                weights[texts, self._starts] = 1
            case "last":
                weights[texts, self._starts + self._lengths - 1] = 1
            case "mean":
                weights[self._texts, self._places] = (1 / self._lengths)[self._texts]
        return weights

    def _block(self, values: Any, kind: type[np.integer[Any]]) -> NDArray[Any]:
        block = np.zeros((self._layout.rows, self._layout.width), dtype=kind)
        block.reshape(-1)[self._places] = values
        return block


_MAKERS: dict[str, Callable[[Inputs], NDArray[Any]]] = {
    "input_ids": Inputs._input_ids,
    "attention_mask": Inputs._attention_mask,
    "token_type_ids": Inputs._token_type_ids,
    "segments": Inputs._segments,
    "position_ids": Inputs._position_ids,
    "pooling_weights": Inputs._weights,
}
