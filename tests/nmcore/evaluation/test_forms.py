"""What outputs are taken for."""

from __future__ import annotations

import numpy as np
import pytest

from nmcore.evaluation.forms import (
    BOXES,
    MASKS,
    OTHER,
    PICTURES,
    SCORES,
    STRINGS,
    VECTORS,
    form_of,
)
from nmcore.evaluation.outputs import Batch
from outputs import RNG, softmax


class TestForm:
    @pytest.mark.parametrize(
        ("shapes", "form"),
        [
            ([(2, 10)], SCORES),
            ([(2, 10, 1, 1)], SCORES),
            ([(2, 7, 64)], VECTORS),
            ([(2, 7, 64), (2, 10)], VECTORS),
            ([(2, 3, 32, 32)], PICTURES),
            ([(2, 32, 32, 1)], PICTURES),
            ([(2, 8, 32, 32)], OTHER),
            ([(2, 4, 3, 32, 32)], OTHER),
            ([(2,)], OTHER),
        ],
    )
    def test_shapes_tell(self, shapes, form):
        assert told([np.zeros(shape) for shape in shapes]) == form

    def test_features_are_no_scores(self):
        assert told([np.zeros((2, 10))], features=True) == VECTORS

    def test_whole_numbers_are_no_vectors(self):
        assert told([np.zeros((2, 7), int)]) == OTHER
        assert told([np.zeros(2, int)]) == SCORES
        assert told([np.zeros((2, 7), int), np.zeros((2, 7, 3))]) == VECTORS

    def test_outputs_that_cannot_be_stacked(self):
        assert told([None]) == OTHER

    def test_probabilities_at_each_step_spell_strings(self):
        steps = softmax(9 * np.eye(20)[RNG.integers(0, 2, (2, 30))])
        assert told([steps]) == told([np.log(steps)]) == STRINGS
        # Raw numbers may be any vectors, and few classes are no alphabet.
        assert told([20 * steps]) == VECTORS
        assert told([softmax(9 * np.eye(7)[RNG.integers(0, 2, (2, 30))])]) == VECTORS

    def test_masks_of_a_picture(self):
        mask = (RNG.random((2, 1, 64, 64)) > 0.5).astype(float)
        assert told([mask], picture=(64, 64, 3)) == MASKS
        assert told([mask], picture=(64, 64, 1)) == PICTURES
        assert told([mask + 1], picture=(64, 64, 3)) == PICTURES
        assert told([0.5 * mask], picture=(64, 64, 3)) == PICTURES
        assert told([np.zeros((2, 21, 64, 64))], picture=(64, 64, 3)) == MASKS
        assert told([np.zeros((2, 21, 16, 16))], picture=(64, 64, 3)) == OTHER

    def test_a_grid_of_boxes_is_told_by_the_size_of_the_picture(self):
        grid = np.zeros((2, 84, 8400))
        assert told([grid], picture=(640, 640, 3)) == BOXES
        assert told([grid], picture=(320, 320, 3)) == VECTORS
        assert told([grid]) == VECTORS


def told(outputs, *, features=False, picture=None):
    n = 2 if outputs[0] is None else len(outputs[0])
    return form_of(Batch(outputs, [], None, np.arange(n), None, (), picture), features=features)
