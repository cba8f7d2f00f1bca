"""Boxes of one input."""

from __future__ import annotations

import numpy as np
import pytest

from nmcore.evaluation.detection.boxes import (
    MOST_BOXES,
    SCORE,
    Boxes,
    in_common,
    overlaps,
    without_doubles,
)


def boxes(*corners, scores=None, classes=None):
    count = len(corners)
    return Boxes(
        np.array(corners, float).reshape(-1, 4),
        np.linspace(0.9, 0.8, count) if scores is None else np.array(scores),
        np.zeros(count, int) if classes is None else np.array(classes),
    )


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        ((0, 0, 4, 4), (0, 0, 4, 4), 1),
        ((0, 0, 4, 4), (2, 0, 6, 4), 1 / 3),
        ((0, 0, 4, 4), (1, 1, 3, 3), 1 / 4),
        ((0, 0, 4, 4), (4, 0, 8, 4), 0),
        ((0, 0, 4, 4), (5, 5, 6, 6), 0),
        ((0, 0, 0, 0), (0, 0, 0, 0), 0),
        ((4, 4, 0, 0), (0, 0, 4, 4), 0),  # turned inside out
    ],
)
def test_intersection_over_union(one, other, overlap):
    assert overlaps(np.array([one], float), np.array([other], float)) == pytest.approx(overlap)


def test_what_is_certain_comes_first():
    found = boxes(*[(0, 0, 1, 1)] * 4, scores=[0.3, SCORE - 0.01, SCORE, 0.9]).certain()
    assert found.scores.tolist() == [0.9, 0.3, SCORE]
    many = boxes(*[(0, 0, 1, 1)] * (MOST_BOXES + 1), scores=np.full(MOST_BOXES + 1, 0.5))
    assert len(many.certain()) == MOST_BOXES


def test_doubles_are_of_one_class():
    found = boxes((0, 0, 4, 4), (0, 0, 4, 3), (0, 0, 4, 3), (2, 0, 6, 4), classes=[0, 0, 1, 0])
    assert without_doubles(found).corners.tolist() == [[0, 0, 4, 4], [0, 0, 4, 3], [2, 0, 6, 4]]
    assert len(without_doubles(boxes())) == 0


def test_a_double_of_a_double_stays():
    """The second goes for the first's sake, and leaves the third alone."""
    found = without_doubles(boxes((0, 0, 10, 10), (3, 0, 13, 10), (6, 0, 16, 10)))
    assert found.corners[:, 0].tolist() == [0, 6]


def test_the_nearest_are_matched_first():
    """Matched in their order, the first would take what only the second can have."""
    before = boxes((0, 0, 10, 10), (2, 0, 12, 10))
    after = boxes((2, 0, 12, 10), (-2, 0, 8, 10))
    assert in_common(before, after) == 2
    assert in_common(before, boxes()) == in_common(boxes(), after) == 0
