"""How far outputs are from others."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nmcore.evaluation.metrics.deviation import Deviation
from nmcore.evaluation.outputs import Batch
from outputs import batch, values


class TestDeviation:
    def test_padding_is_left_out(self):
        want = np.ones((2, 3, 4))
        got = want.copy()
        got[0, 2] = 100
        counts = np.array([[True, True, False], [True, True, True]])
        assert values(Deviation(), batch([want], [got], counts=counts)) == {"deviation": 0.0}
        got[1, 2] = 2
        found = values(Deviation(), batch([want], [got], counts=counts))
        assert found == {"deviation": pytest.approx(100 * math.sqrt(1 / 5))}

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

    def test_the_output_that_deviates_most(self):
        found = Deviation()
        want, got = [np.full(2, 3.0), np.full(2, 4.0)], [np.full(2, 3.0), np.full(2, 5.0)]
        found.add(Batch(want, got, None, np.arange(2), None, ["a", "b"]))
        assert found.values() == {"deviation": pytest.approx(20)}
        assert found.told() == "of 2 outputs, 'b' deviates most: by 25.00 %"
        found.add(Batch(want, [want[0], np.full(2, np.nan)], None, np.arange(2), None, ["a", "b"]))
        assert found.told() is None

    def test_what_is_no_number_is_told(self):
        found = Deviation()
        found.add(batch([np.array([1.0, np.nan])], [np.array([1.0, 2.0])]))
        assert found.has_nan
        assert np.isfinite(found.percent)

    def test_each_input_without_its_padding(self):
        want = np.full((2, 3, 4), 2.0)
        got = want.copy()
        got[0, 2], got[1, 1] = np.nan, 3.0
        counts = np.array([[True, True, False], [True, True, True]])
        found = Deviation()
        found.add(batch([want], [got], counts=counts))
        assert found.each == [0.0, pytest.approx(100 * math.sqrt(1 / 12), rel=1e-3)]
        np.testing.assert_allclose(found.by_input, [0.0, 100 * math.sqrt(1 / 12)])

    def test_an_input_that_only_one_model_gives_numbers_for_changed_most(self):
        want, got = np.ones((3, 2)), np.ones((3, 2))
        want[:2, 0] = got[1:, 0] = np.nan
        found = Deviation()
        found.add(batch([want], [got]))
        assert found.by_input.tolist() == [np.inf, 0, np.inf]
        assert found.each == []
