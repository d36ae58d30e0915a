"""OpenVINO itself: one for the whole process, and for as long as it lives."""

from __future__ import annotations

import functools

import openvino as ov


@functools.cache
def core() -> ov.Core:
    """With each further one, OpenVINO's CPU plugin gives the thread another stack for signals, and puts the one before
    back when it goes. By then that may have gone as well, and the next signal that comes ends the process.
    """
    return ov.Core()


@functools.cache
def extend(library: str) -> None:
    """Make the operations of that library known, which each time would add another set of them."""
    core().add_extension(library)
