"""Many vectors in a temporary file: mapped, without a name, and told where there is no room."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ovembed.corpus import scratch
from ovembed.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

SHAPE = (100, 48)
ROWS = np.arange(100 * 48, dtype=np.float32).reshape(SHAPE)


def blocks() -> Iterator[NDArray[np.float32]]:
    yield from (ROWS[:30], ROWS[30:])


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where files go, which everything is large enough for."""
    monkeypatch.setattr(scratch, "_IN_MEMORY_BYTES", 0)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8])
def test_much_is_mapped_from_a_file_that_nobody_sees(room: Path, dtype: type) -> None:
    rows = scratch.joined((block.astype(dtype) for block in blocks()), SHAPE, np.dtype(dtype))
    assert isinstance(rows, np.memmap)
    assert not rows.flags.writeable
    np.testing.assert_array_equal(rows, ROWS.astype(dtype))
    assert list(room.iterdir()) == []


def test_little_is_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))
    rows = scratch.joined(blocks(), SHAPE, ROWS.dtype)
    assert not isinstance(rows, np.memmap)
    np.testing.assert_array_equal(rows, ROWS)
    assert scratch.joined(iter(()), (0, 48), ROWS.dtype).shape == (0, 48)


def test_a_folder_that_is_not_there_is_named(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(room / "missing"))
    with pytest.raises(InputError, match=r"missing cannot take .*No such file.*TMPDIR"):
        scratch.joined(blocks(), SHAPE, ROWS.dtype)


def test_no_room_is_told_before_anything_is_read(room: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROWS.nbytes - 1, before[1]))
    unread = blocks()
    try:
        with pytest.raises(InputError, match=rf"{room} cannot take 0 MB.*TMPDIR"):
            scratch.joined(unread, SHAPE, ROWS.dtype)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert next(unread) is not None
    assert list(room.iterdir()) == []
