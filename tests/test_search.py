"""The nearest rows, against all cosines computed at once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ovembed import vectors
from ovembed.corpus import PRECISIONS, Item, Row, Space, StoredVectors, encode_vectors
from ovembed.corpus.precision import limit_for
from ovembed.errors import InputError
from ovembed.protocols import Embeddings
from ovembed.search import VectorIndex, nearest_once, space_warning

if TYPE_CHECKING:
    from ovembed.corpus import VectorPrecision
    from ovembed.protocols import Vectors

ROWS, DIMENSIONS = 5000, 72
RANDOM = np.random.default_rng(5)


def random_rows(count: int = ROWS, dimensions: int = DIMENSIONS) -> Vectors:
    """Of any length."""
    return RANDOM.standard_normal((count, dimensions), dtype=np.float32)


def stored(rows: Vectors, precision: VectorPrecision = "float32", fingerprint: str | None = "f") -> StoredVectors:
    space = Space("m", fingerprint, rows.shape[1], precision, limit_for(rows, precision) if len(rows) else None)
    return StoredVectors(space, encode_vectors(rows, space), [Row(Item(f"t{n}", "s", n + 1)) for n in range(len(rows))])


def in_blocks(file: StoredVectors, rows: int) -> StoredVectors:
    """As of a format that gives its vectors in order only."""
    return replace(file, given=lambda: (file.codes[start : start + rows] for start in range(0, len(file), rows)))


def embedded(query: Vectors, fingerprint: str | None = "f") -> Embeddings:
    return Embeddings(query[None], (1,), 1, (), "m", fingerprint)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("dimensions", [DIMENSIONS, 64])
def test_the_nearest_are_those_of_all_cosines(precision: VectorPrecision, dimensions: int) -> None:
    rows = random_rows(dimensions=dimensions)
    query = rows[77] + 0.3 * random_rows(1, dimensions)[0]
    file = stored(rows, precision)
    with VectorIndex(file, "file", threads=2) as index:
        index._block_rows = 700  # several blocks, the last one shorter
        hits = index.nearest(query, 5)
    assert nearest_once(in_blocks(file, 700), "file", query, 5) == hits
    cosines = vectors.cosine(file.vectors, np.broadcast_to(query, rows.shape))
    order = np.argsort(-cosines, kind="stable")
    assert hits[0].position == 77
    assert [hit.row.item.text for hit in hits] == [f"t{hit.position}" for hit in hits]
    np.testing.assert_allclose([hit.score for hit in hits], cosines[[hit.position for hit in hits]], rtol=1e-4)
    if precision != "binary":  # whose candidates are those that share most bits
        assert [hit.position for hit in hits] == order[:5].tolist()


def test_a_query_is_cut_as_the_rows_were() -> None:
    whole = random_rows()
    with VectorIndex(stored(vectors.cut(whole, 16)), "file") as index:
        assert index.nearest(whole[9], 1)[0].position == 9
        with pytest.raises(InputError, match="16 cannot be cut"):
            index.nearest(whole[9, :8], 1)


def test_equal_rows_come_in_the_order_of_the_file_and_never_more_than_there_are() -> None:
    file, query = stored(np.ones((4, 8), dtype=np.float32)), np.ones(8, dtype=np.float32)
    with VectorIndex(file, "file") as index:
        assert [hit.position for hit in index.nearest(query, 3)] == [0, 1, 2]
        assert len(index.nearest(query, 10)) == 4
    assert [hit.position for hit in nearest_once(in_blocks(file, 2), "file", query, 3)] == [0, 1, 2]
    assert len(nearest_once(in_blocks(file, 3), "file", query, 10)) == 4


def test_a_zero_row_is_like_nothing() -> None:
    with VectorIndex(stored(np.eye(2, 8, dtype=np.float32) * [[1], [0]]), "file") as index:
        assert [hit.score for hit in index.nearest(np.ones(8, dtype=np.float32), 2)] == [pytest.approx(8**-0.5), 0]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_row_that_is_not_finite_is_named(bad: float) -> None:
    rows = random_rows()
    rows[4321, 5] = bad
    with pytest.raises(InputError, match=r"file: the vector of row 4321, counted from 0, is not finite"):
        VectorIndex(stored(rows), "file")
    with pytest.raises(InputError, match=r"file: the vector of row 4321, counted from 0, is not finite"):
        nearest_once(in_blocks(stored(rows), 1000), "file", rows[0], 3)


def test_a_file_without_vectors_is_told() -> None:
    with pytest.raises(InputError, match="file holds no vectors"):
        VectorIndex(stored(np.empty((0, 8), dtype=np.float32)), "file")
    with pytest.raises(InputError, match="file holds no vectors"):
        nearest_once(stored(np.empty((0, 8), dtype=np.float32)), "file", np.ones(8, dtype=np.float32), 3)


def test_vectors_of_another_space_are_refused_and_of_an_unknown_one_warned_of() -> None:
    query, file = random_rows(1)[0], stored(random_rows())
    assert space_warning(file, "file", embedded(query)) is None
    assert "no fingerprint" in str(space_warning(file, "file", embedded(query, None)))
    with pytest.raises(InputError, match=r"file holds vectors of 'm' \(f\); those of 'm' \(g\) cannot be compared"):
        space_warning(file, "file", embedded(query, "g"))
    unknown = stored(random_rows(), fingerprint=None)
    assert "no fingerprint" in str(space_warning(unknown, "file", embedded(query)))


def test_the_highest_among_many_equal_ones() -> None:
    scores = np.array([1, 3, 2, 3, 3, 0], dtype=np.float32)
    for k in range(8):
        assert vectors.highest(scores, k).tolist() == [1, 3, 4, 2, 0, 5][:k]
