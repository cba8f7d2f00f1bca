"""Boxes that are still found."""

from __future__ import annotations

import numpy as np
import pytest

from nmcore.evaluation.metrics.boxes import FoundBoxes
from nmcore.evaluation.outputs import Batch
from outputs import RNG


def batch(original, outputs):
    return Batch(original, outputs, None, np.arange(1))


def row(*boxes, places=4):
    """One input's boxes (left, top, right, bottom, score, class), filled up."""
    rows = [*boxes, *[(0, 0, 1, 1, 0.0, 0)] * (places - len(boxes))]
    return np.array(rows, float)


class TestBoxes:
    FOUND = (0, 0, 10, 10, 0.9, 1)

    def kept(self, one, *other):
        metric = FoundBoxes("end-to-end")
        metric.add(batch([row(*one)[None]], [row(*other)[None]]))
        return metric

    @pytest.mark.parametrize(
        ("other", "kept", "new"),
        [
            (FOUND, 100, 0),
            ((0, 0, 10, 9, 0.3, 1), 100, 0),
            ((0, 0, 10, 9, 0.2, 1), 0, 0),  # a score that is too low
            ((0, 0, 10, 4, 0.9, 1), 0, 100),  # an overlap that is too small
            ((0, 0, 10, 10, 0.9, 2), 0, 100),  # another class
        ],
    )
    def test_what_is_the_same_box(self, other, kept, new):
        assert self.kept([self.FOUND], other).values() == {"boxes": kept, "new_boxes": new}

    def test_boxes_are_matched_one_to_one(self):
        twins = [self.FOUND, (1, 0, 10, 10, 0.8, 1)]
        metric = self.kept(twins, self.FOUND)
        assert metric.values() == {"boxes": 50.0, "new_boxes": 0.0}
        assert metric.told() == "of 2 boxes of the original 1 is left"

    @pytest.mark.parametrize(
        ("before", "same", "lost"), [(2, 0, False), (9, 6, True), (9, 7, False)]
    )
    def test_what_is_lost_is_not_one_alone(self, before, same, lost):
        found = [(20 * k, 0, 20 * k + 10, 10, 0.9, 1) for k in range(before)]
        metric = FoundBoxes("end-to-end")
        metric.add(batch([row(*found, places=9)[None]], [row(*found[:same], places=9)[None]]))
        assert metric.is_lost == lost

    def test_nothing_to_find(self):
        metric = self.kept([], self.FOUND)
        assert metric.values() == {"boxes": None, "new_boxes": None}
        assert (metric.told(), metric.loss(metric), metric.is_lost) == (None, None, False)

    def test_the_error_is_that_of_a_ratio(self):
        """Inputs of other counts, of which a third of the boxes is lost on average."""
        counts = RNG.integers(1, 9, 400)
        ratios, metric = [], FoundBoxes("end-to-end")
        for sample in range(300):
            lost = RNG.binomial(counts, 0.3)
            ratios.append(100 * lost.sum() / counts.sum())
            if sample == 0:
                metric.counts = [(n, n - k, n - k) for n, k in zip(counts, lost, strict=True)]
        assert metric.loss(metric).error == pytest.approx(np.std(ratios), rel=0.15)

    def test_lists_of_other_lengths(self):
        metric = FoundBoxes("end-to-end")
        metric.add(batch([row(self.FOUND)[None]], [row(self.FOUND, places=7)[None]]))
        assert metric.values() == {"boxes": 100.0, "new_boxes": 0.0}

    def test_outputs_of_another_form_are_not_compared(self):
        metric = FoundBoxes("end-to-end")
        metric.add(batch([row(self.FOUND)[None]], [np.zeros((1, 4, 5))]))
        metric.add(batch([row(self.FOUND)[None]], []))
        assert metric.values()["boxes"] is None
        assert not metric.was_told

    def test_one_input_tells_no_error(self):
        metric = self.kept([self.FOUND], self.FOUND)
        assert metric.loss(metric).error is None
        assert str(metric.loss(metric)) == "the original's boxes found 0.00 points lower on 1 input"
