"""Which rows of a table are kept, and what the others are made of."""

from __future__ import annotations

import numpy as np
import pytest

from nmcore import scaling_matrix
from nmcore.arrays.vocabulary import choose_rows, rebuild_rows, row_errors
from nmcore.errors import ArgumentError


def table(rows=40, width=12, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, width)).astype("f4")


def test_rows_that_are_looked_up_stay():
    counts = np.zeros(40, int)
    counts[[3, 17, 39]] = 1
    assert {3, 17, 39} <= set(choose_rows(table(), 10, counts))


def test_of_too_many_the_most_frequent():
    counts = np.arange(40)
    assert choose_rows(table(), 5, counts).tolist() == [35, 36, 37, 38, 39]


@pytest.mark.parametrize("size", [1, 7, 39, 40])
def test_as_many_as_asked_for(size):
    kept = choose_rows(table(), size)
    assert len(kept) == size
    assert (np.diff(kept) > 0).all()


@pytest.mark.parametrize("size", [0, 41])
def test_sizes_that_cannot_be(size):
    with pytest.raises(ArgumentError, match=f"{size} rows cannot be kept of a table of 40"):
        choose_rows(table(), size)


def test_of_multiples_one_is_enough():
    """Forty rows in ten directions: ten are kept, and nothing is lost."""
    ten = table(10)
    rows = np.concatenate([ten, 2 * ten, 0.5 * ten, 3 * ten])
    kept = choose_rows(rows, 10)
    assert sorted(kept % 10) == list(range(10))
    found = rebuild_rows(rows, kept, terms=1)
    np.testing.assert_allclose(found.rebuilt(rows), rows, rtol=1e-6)


def test_sums_are_found():
    rows = table(12)
    mixed = 2 * rows[3] + 0.5 * rows[7]
    rows = np.concatenate([rows, [mixed, np.zeros(12, "f4")]])
    found = rebuild_rows(rows, np.arange(12), terms=12)
    assert row_errors(rows, found).max() < 1e-6
    assert not found.scale[13].any()
    alone = np.zeros((12, 12))
    alone[:, 0] = 1
    assert (found.scale[:12] == alone).all()


def test_one_term_is_the_most_similar_row():
    rows = table()
    kept = np.arange(0, 40, 3)
    found = rebuild_rows(rows, kept, terms=1)
    wanted = scaling_matrix(rows, kept, threshold=-1.0)
    assert (found.position[:, 0] == wanted.assignment).all()
    # Least squares: the part of a row along the other.
    gone = np.delete(np.arange(40), kept)
    factor = (wanted.similarity * wanted.scale)[gone]
    np.testing.assert_allclose(found.scale[gone, 0], factor, rtol=1e-5)


def test_more_terms_are_nearer():
    rows, kept = table(), np.arange(0, 40, 2)
    errors = [row_errors(rows, rebuild_rows(rows, kept, terms)).mean() for terms in (1, 2, 4, 8)]
    assert (np.diff(errors) < -0.01).all()


def test_kernels_agree():
    rows, kept = table(60, 20), np.arange(0, 60, 3)
    first, second = (rebuild_rows(rows, kept, 4, kernel=name) for name in ("numpy", "numba"))
    assert (first.position == second.position).all()
    assert (first.scale == second.scale).all()


def test_blocks_change_nothing(monkeypatch):
    rows, kept = table(), np.arange(0, 40, 2)
    whole = rebuild_rows(rows, kept, 4)
    monkeypatch.setattr("nmcore.arrays.vocabulary._NUMBERS", 12 * 4 * 3)
    monkeypatch.setattr("nmcore.arrays.vocabulary._ROWS", 7)
    parts = rebuild_rows(rows, kept, 4)
    assert (whole.position == parts.position).all()
    np.testing.assert_allclose(whole.scale, parts.scale, rtol=1e-6)
    np.testing.assert_array_equal(row_errors(rows, whole) > 0.1, row_errors(rows, parts) > 0.1)
