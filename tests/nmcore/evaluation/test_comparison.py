"""What is counted where models run side by side."""

from __future__ import annotations

import numpy as np
import pytest

from nmcore.evaluation.metrics.deviation import Deviation
from nmcore.evaluation.outputs import Batch, top_class


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


def batch(original, outputs):
    return Batch(original, outputs, None, np.arange(1))


class TestDeviation:
    def test_all_outputs_that_are_floats_count(self):
        found = Deviation()
        found.add(batch([np.array([3.0]), np.array([7])], [np.array([3.0]), np.array([9])]))
        assert found.percent == 0
        found.add(batch([np.array([0.0]), np.array([4.0])], [np.array([0.0]), np.array([5.0])]))
        assert found.percent == pytest.approx(20)

    def test_outputs_of_other_shapes_are_left_out(self):
        found = Deviation()
        found.add(batch([np.zeros(2), None], [np.zeros(3), None]))
        assert found.percent is None
        found.add(batch([np.zeros(2), np.full(2, 2.0)], [np.zeros(3), np.full(2, 3.0)]))
        assert found.percent == pytest.approx(50)

    def test_what_is_no_number_is_told(self):
        found = Deviation()
        found.add(batch([np.array([1.0, np.nan])], [np.array([1.0, 2.0])]))
        assert found.has_nan
        assert np.isfinite(found.percent)
