"""Classes: accuracy and agreement."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nmcore.evaluation.metrics.classes import Agreement, TopClasses
from nmcore.evaluation.outputs import Batch
from outputs import RNG, batch, values


class TestTopClasses:
    def test_the_class_is_among_the_best(self):
        scores = RNG.standard_normal((40, 9))
        y = RNG.integers(0, 9, 40)
        for k in (1, 3):
            expected = np.mean(
                [label in np.argsort(-row)[:k] for row, label in zip(scores, y, strict=True)]
            )
            assert values(TopClasses(k), batch([scores], [scores], y)) == {
                f"top{k}": pytest.approx(100 * expected)
            }

    def test_without_classes_or_scores(self):
        scores = np.ones((2, 5))
        assert values(TopClasses(5), batch([scores], [scores])) == {"top5": None}
        pictures = np.ones((2, 5, 5, 5))
        assert values(TopClasses(1), batch([pictures], [pictures], np.zeros(2, int))) == {
            "top1": None
        }

    def test_a_score_that_is_no_number_is_never_right(self):
        scores = np.array([[np.nan, 1.0], [1.0, 0.0]])
        assert values(TopClasses(5), batch([scores], [scores], np.array([1, 0]))) == {"top5": 50.0}

    def test_the_classes_themselves_tell_the_first_alone(self):
        classes = np.array([3, 1])
        assert values(TopClasses(1), batch([classes], [classes], classes)) == {"top1": 100.0}
        assert values(TopClasses(5), batch([classes], [classes], classes)) == {"top5": None}

    def test_no_classes_at_all(self):
        nothing = np.zeros((2, 0))
        assert values(TopClasses(1), batch([nothing], [nothing], np.zeros(2, int))) == {
            "top1": None
        }

    @pytest.mark.parametrize(
        ("right", "classes", "n", "told"),
        [
            (3, 10, 40, "7.50 % of 40 inputs, where a guess would be on 10.00 %"),
            (8, 10, 40, None),
            (3, 10, 31, None),
            (21, 2, 40, "52.50 % of 40 inputs, where a guess would be on 50.00 %"),
            (23, 2, 40, None),
        ],
    )
    def test_accuracy_of_a_guess_is_told(self, right, classes, n, told):
        y = np.zeros(n, int)
        top = np.where(np.arange(n) < right, 0, 1)
        scores = same_class(top, classes)
        metric = TopClasses(1)
        metric.add(Batch([scores], [scores], y, np.arange(n)))
        assert metric.by_chance == told


def same_class(k, classes=1000):
    """Two sets of scores whose best classes these are."""
    return 5 * np.eye(classes)[k]


class TestLoss:
    def judged(self, y, one, other):
        before, after = TopClasses(1), TopClasses(1)
        before.add(Batch([one], [one], y, np.arange(len(y))))
        after.add(Batch([one], [other], y, np.arange(len(y))))
        return after.loss(before)

    def test_accuracy_of_the_same_inputs(self):
        """50 of 1000 get another class, of which 30 were right and 10 become so."""
        y, first = np.zeros(1000, int), np.zeros(1000, int)
        first[970:] = 1
        second = first.copy()
        second[:30], second[990:] = 1, 0
        second[970:980] = 2
        loss = self.judged(y, same_class(first, 3), same_class(second, 3))
        assert (loss.points, loss.n, loss.metric) == (2.0, 1000, "top1")
        assert loss.error == pytest.approx(100 * math.sqrt((0.04 - 0.0004) / 1000), abs=0.005)
        assert str(loss) == "top-1 accuracy 2.00 points lower (standard error 0.63) on 1,000 inputs"
        assert "points higher" in str(self.judged(y, same_class(second, 3), same_class(first, 3)))

    def test_the_error_is_the_spread_over_samples(self):
        """Draw many samples from a world in which 6 % are lost and 2 % are won."""
        lost, won, n = 0.06, 0.02, 500
        counts = RNG.multinomial(n, [lost, won, 1 - lost - won], size=4000)
        spread = (100 * (counts[:, 0] - counts[:, 1]) / n).std()
        before, after = np.zeros(n, int), np.zeros(n, int)
        after[:30], before[30:40] = 1, 1
        loss = self.judged(np.zeros(n, int), same_class(before, 2), same_class(after, 2))
        assert loss.error == pytest.approx(spread, rel=0.05)

    def test_no_difference_is_no_certainty(self):
        agreement = Agreement()
        scores = same_class(np.zeros(100, int), 3)
        agreement.add(batch([scores], [scores]))
        loss = agreement.loss(Agreement())
        assert (loss.points, loss.error, loss.metric) == (0.0, 1.0, "agreement")

    def test_agreement(self):
        agreement = Agreement()
        found = np.zeros(100, int)
        found[:3] = 1
        agreement.add(batch([same_class(0 * found, 3)], [same_class(found, 3)]))
        loss = agreement.loss(Agreement())
        assert loss.points == 3
        assert loss.error == pytest.approx(100 * math.sqrt(0.03 * 0.97 / 100), abs=0.005)
