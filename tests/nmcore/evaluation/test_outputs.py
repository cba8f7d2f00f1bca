"""What metrics read of outputs."""

from __future__ import annotations

import numpy as np
import pytest

from nmcore.evaluation.outputs import joined, top_class


@pytest.mark.parametrize(
    ("output", "top"),
    [
        (np.array([[0.1, 0.9], [0.8, 0.2]]), [1, 0]),
        (np.array([[[[0.1]], [[0.9]]]]), [1]),
        (np.array([[[[0.9, 0.1]]]]), [0]),
        (np.array([[np.nan, 1.0]]), [-1]),
        (np.array([3, 1]), [3, 1]),
        (np.zeros((2, 1)), None),
        (np.zeros((2, 3, 4)), None),
        (np.zeros(2), None),
        (np.zeros((2, 3), np.int64), None),
    ],
)
def test_top_class(output, top):
    found = top_class(output)
    assert found is None if top is None else found.tolist() == top


def test_rows_of_different_shapes():
    ragged = joined([np.zeros((2, 3)), np.ones((1, 2))])
    assert [row.tolist() for row in ragged] == [[0, 0, 0], [0, 0, 0], [1, 1]]
    assert joined([ragged, np.ones((1, 2))]).shape == (4,)
