"""golden.npz: what is written can be read back, and a damaged file is named."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ovembed.errors import RepositoryError
from ovembed.repository import Golden, read_golden, write_golden

if TYPE_CHECKING:
    from pathlib import Path

ODD = (
    "",
    " ",
    " around ",
    "tab\tnew line\nreturn\r\nend\n",
    "nul\0inside",
    "e\u0301 is not \u00e9",
    "\u202eright to left\u202c \u200b zero width",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001d518 \u0f3a\u0f3b",
    "word " * 20_000,
    "same",
    "same",
)


def make(texts: tuple[str, ...] = ("one", "two", "three")) -> Golden:
    rows = np.random.default_rng(1).normal(size=(2, len(texts), 8)).astype(np.float32)
    return Golden(texts, rows[0], rows[1])


@pytest.mark.parametrize("texts", [("one",), ODD], ids=["one text", "odd texts"])
def test_round_trip(texts: tuple[str, ...], tmp_path: Path) -> None:
    written = make(texts)
    write_golden(tmp_path, written)
    read = read_golden(tmp_path)
    assert read.texts == texts
    assert all(type(text) is str for text in read.texts)
    for rows, wanted in ((read.source, written.source), (read.exported, written.exported)):
        assert rows.dtype == np.float32
        np.testing.assert_array_equal(rows, wanted)


def test_other_programs_can_read_it_with_numpy_alone(tmp_path: Path) -> None:
    write_golden(tmp_path, make())
    with np.load(tmp_path / "golden.npz", allow_pickle=False) as arrays:
        assert sorted(arrays) == ["exported", "source", "texts"]
        assert arrays["texts"].tolist() == ["one", "two", "three"]


def test_long_texts_do_not_make_a_large_file(tmp_path: Path) -> None:
    write_golden(tmp_path, make(ODD))
    assert (tmp_path / "golden.npz").stat().st_size < 50_000


def refused(folder: Path) -> str:
    with pytest.raises(RepositoryError, match=r"Export the model again\.$") as caught:
        read_golden(folder)
    message = str(caught.value)
    assert message.startswith(str(folder / "golden.npz"))
    assert "\n" not in message
    return message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "is missing" in refused(tmp_path)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04", b"PK\x05\x06" + bytes(18), b"\x80\x04N."])
def test_what_is_no_archive_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "golden.npz").write_bytes(content)
    refused(tmp_path)


def test_a_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    write_golden(tmp_path, make())
    path = tmp_path / "golden.npz"
    whole = path.read_bytes()
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        refused(tmp_path)


def test_a_changed_byte_is_noticed_or_does_no_harm(tmp_path: Path) -> None:
    """The archive's checksums cover all that is read; names and dates in it do not count."""
    written = make()
    write_golden(tmp_path, written)
    path = tmp_path / "golden.npz"
    whole = path.read_bytes()
    noticed = 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        try:
            read = read_golden(tmp_path)
        except RepositoryError as error:
            noticed += "\n" not in str(error)
        else:
            assert read.texts == written.texts
            np.testing.assert_array_equal(read.exported, written.exported)
    assert noticed > len(whole) / 2


@pytest.mark.parametrize(
    "arrays",
    [
        {"texts": np.array(["a"])},
        {"texts": np.array(["a", "b"]), "source": np.zeros((2, 3)), "exported": np.zeros((1, 3))},
        {"texts": np.array(["a"]), "source": np.zeros((2, 3)), "exported": np.zeros((2, 3))},
        {"texts": np.array([], dtype=str), "source": np.zeros((0, 3)), "exported": np.zeros((0, 3))},
        {"texts": np.array("a"), "source": np.zeros((1, 3)), "exported": np.zeros((1, 3))},
        {"texts": np.array([{"an": "object"}]), "source": np.zeros((1, 3)), "exported": np.zeros((1, 3))},
        {"texts": np.array(["a"]), "source": np.float32(1), "exported": np.zeros((1, 3))},
    ],
    ids=["arrays missing", "too few rows", "too few texts", "nothing", "no list", "pickled", "a number"],
)
def test_arrays_that_do_not_belong_together_are_refused(arrays: dict[str, Any], tmp_path: Path) -> None:
    np.savez(tmp_path / "golden.npz", **arrays)
    refused(tmp_path)


def test_a_bare_array_under_that_name_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "golden.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    refused(tmp_path)


def test_what_the_error_of_the_system_says_is_told(tmp_path: Path) -> None:
    (tmp_path / "golden.npz").mkdir()
    assert re.search("cannot be read .*directory", refused(tmp_path))
