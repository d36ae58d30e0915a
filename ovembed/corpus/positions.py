"""Sequences that find what is asked for somewhere else, as in a file."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TypeVar, overload

Found = TypeVar("Found", covariant=True)  # noqa: PLC0105  a sequence of it is one of what it is


class Positions(Sequence[Found]):
    """A sequence by `at` and `__len__` alone, and by `several` where neighbours come cheaper; slices are lists."""

    @abstractmethod
    def at(self, position: int) -> Found:
        """What is at a position from 0 to len - 1."""

    def several(self, positions: range) -> Sequence[Found]:
        """What is at each of them."""
        return [self.at(position) for position in positions]

    @overload
    def __getitem__(self, position: int) -> Found: ...
    @overload
    def __getitem__(self, position: slice) -> Sequence[Found]: ...
    def __getitem__(self, position: int | slice) -> Found | Sequence[Found]:
        every = range(len(self))
        if isinstance(position, slice):
            return self.several(every[position])
        return self.at(every[position])
