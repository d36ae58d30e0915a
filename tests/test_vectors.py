from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from ovembed import vectors
from ovembed.errors import InputError

if TYPE_CHECKING:
    from ovembed.protocols import Vectors


def rows(count: int, dimensions: int = 16) -> Vectors:
    return np.random.default_rng(3).normal(size=(count, dimensions)).astype(np.float32)


def test_normalize_gives_unit_rows_of_the_same_direction() -> None:
    given = rows(5)
    unit = vectors.normalize(given)
    assert unit.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(unit * np.linalg.norm(given, axis=1, keepdims=True), given, atol=1e-5)


def test_a_zero_row_stays_zero() -> None:
    given = np.stack([np.zeros(4), np.ones(4)]).astype(np.float32)
    np.testing.assert_array_equal(vectors.normalize(given), [[0, 0, 0, 0], [0.5, 0.5, 0.5, 0.5]])


def test_cut_is_the_normalized_beginning() -> None:
    given = vectors.normalize(rows(5))
    cut = vectors.cut(given, 6)
    assert cut.shape == (5, 6)
    assert cut.dtype == np.float32
    np.testing.assert_array_equal(cut, vectors.normalize(given[:, :6]))


def test_cut_to_nothing_in_particular_gives_the_vectors_themselves() -> None:
    given = rows(2)
    assert vectors.cut(given, None) is given


@pytest.mark.parametrize("dimensions", [-1, 0, 17])
def test_cut_refuses_dimensions_that_are_not_there(dimensions: int) -> None:
    with pytest.raises(InputError, match=f"have 16 dimensions; {dimensions} cannot"):
        vectors.cut(rows(2), dimensions)


def test_cut_of_no_vectors() -> None:
    assert vectors.cut(rows(0), 4).shape == (0, 4)


def test_cosine_compares_row_with_row_whatever_their_length() -> None:
    left = np.array([[1, 0], [1, 0], [1, 0], [0, 0]], dtype=np.float32)
    right = np.array([[5, 0], [0, 3], [-2, 0], [1, 1]], dtype=np.float32)
    np.testing.assert_allclose(vectors.cosine(left, right), [1, 0, -1, 0], atol=1e-6)


def test_top_k_is_the_order_of_all_cosines() -> None:
    query, many = rows(1)[0], rows(50)
    cosines = vectors.cosine(np.broadcast_to(query, many.shape), many)
    positions, scores = vectors.top_k(query, many, 7)
    assert positions.tolist() == sorted(range(50), key=lambda position: -cosines[position])[:7]
    np.testing.assert_allclose(scores, cosines[positions], atol=1e-6)


def test_top_k_takes_the_earlier_of_equal_rows() -> None:
    same = np.repeat(np.array([[0, 1], [1, 0]], dtype=np.float32), 40, axis=0)
    positions, _ = vectors.top_k(np.array([1, 0], dtype=np.float32), same, 3)
    assert positions.tolist() == [40, 41, 42]


@pytest.mark.parametrize(("count", "k", "found"), [(3, 10, 3), (3, 3, 3), (3, 0, 0), (0, 5, 0)])
def test_top_k_gives_no_more_than_there_are(count: int, k: int, found: int) -> None:
    positions, scores = vectors.top_k(rows(1)[0], rows(count), k)
    assert positions.shape == scores.shape == (found,)
