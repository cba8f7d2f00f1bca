"""Masks."""

from __future__ import annotations

import numpy as np
import pytest

from nmcore.evaluation.metrics.masks import AbsoluteError, Overlap
from outputs import batch, values


class TestMasks:
    def test_one_object(self):
        one, other = np.zeros((2, 2, 1, 4, 4))
        one[0, 0, :2], other[0, 0, 1:3] = 0.9, 0.8
        metric = Overlap()
        found = values(metric, batch([one], [other]))
        assert found == {"iou": pytest.approx(100 / 3)}  # the second input holds nothing
        assert metric.is_lost
        assert metric.told() == "masks overlap those of the original by 33.3 %"
        assert values(AbsoluteError(), batch([one], [other])) == {
            "mae": pytest.approx((4 * 0.9 + 4 * 0.1 + 4 * 0.8) / 32)
        }

    def test_numbers_beyond_0_to_1_are_logits(self):
        one = np.array([[[[4.0, 0.2, -3.0, -0.1]]]])
        assert values(Overlap(), batch([one], [one - 0.3])) == {"iou": 50.0}

    def test_a_class_for_each_pixel(self):
        one = np.eye(5)[np.array([[[0, 0, 1, 1]]])].transpose(0, 3, 1, 2)
        other = np.eye(5)[np.array([[[0, 0, 1, 2]]])].transpose(0, 3, 1, 2)
        found = values(Overlap(), batch([one], [other]))
        assert found == {"iou": pytest.approx(100 * (1 + 0.5 + 0) / 3)}

    def test_numbers_that_are_none_overlap_nowhere(self):
        one = np.eye(5)[np.array([[[0, 0, 1, 1]]])].transpose(0, 3, 1, 2)
        assert values(Overlap(), batch([one], [np.full_like(one, np.nan)])) == {"iou": 0.0}
