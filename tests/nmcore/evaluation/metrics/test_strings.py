"""Strings."""

from __future__ import annotations

import numpy as np

from nmcore.evaluation.metrics.strings import Strings
from outputs import batch, values


class TestStrings:
    def test_repetitions_and_blanks_spell_nothing(self):
        paths = np.array([[0, 1, 1, 0, 2], [0, 0, 0, 3, 0], [0, 0, 0, 0, 0]])
        others = np.array([[1, 0, 0, 2, 2], [0, 0, 3, 0, 3], [0, 0, 0, 0, 0]])
        metric = Strings()
        metric.add(batch([np.eye(4)[paths]], [np.eye(4)[others]]))
        assert metric.values() == {"ctc": 50.0}
        assert metric.told() == "of 2 strings of the original 1 is the same"
        assert metric.loss(metric).points == 50
        assert not metric.is_lost
        metric.add(batch([np.eye(4)[paths]], [np.eye(4)[others[::-1]]]))
        assert metric.told() == "of 5 strings of the original 1 is the same"
        assert metric.is_lost

    def test_the_blank_may_be_the_last_class(self):
        paths, others = np.array([[3, 0, 3, 3, 1]]), np.array([[3, 3, 0, 1, 3]])
        metric = Strings()
        metric.add(batch([np.eye(4)[paths]], [np.eye(4)[others]]))
        assert (metric.values(), metric.blank) == ({"ctc": 100.0}, 3)

    def test_outputs_of_steps_first(self):
        """(steps, 1, classes) a run is (n, steps, 1, classes) of all."""
        paths = np.eye(4)[np.array([[0, 1, 1, 0, 2]])][:, :, None]
        metric = Strings()
        metric.add(batch([paths], [paths]))
        assert metric.values() == {"ctc": 100.0}

    def test_nothing_is_read(self):
        blank = np.eye(4)[np.zeros((2, 5), int)]
        assert values(Strings(), batch([blank], [blank])) == {"ctc": None}
