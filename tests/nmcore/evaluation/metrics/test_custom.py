"""Functions of a caller's own."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nmcore.errors import ArgumentError
from nmcore.evaluation.metrics.custom import Custom
from nmcore.evaluation.outputs import Batch
from outputs import batch, values


class TestCustom:
    def test_it_sees_all_outputs_in_the_order_of_the_data(self):
        seen = []

        def mean(original, outputs, y):
            seen.append((original, outputs, y))
            return outputs[0].mean()

        metric = Custom(mean)
        one, other = np.arange(4.0).reshape(4, 1), np.arange(4.0)[:, None] + 1
        late = Batch([one[2:]], [other[2:]], np.array([2, 3]), np.array([2, 3]))
        early = Batch([one[:2]], [other[:2]], np.array([0, 1]), np.array([0, 1]))
        assert values(metric, late, early) == {"mean": 2.5}
        ((original, outputs, y),) = seen
        assert original[0].ravel().tolist() == y.tolist() == [0, 1, 2, 3]
        assert outputs[0].ravel().tolist() == [1, 2, 3, 4]

    def test_outputs_of_different_shapes_are_objects(self):
        def lengths(original, outputs, y):
            assert y is None
            return float("".join(str(len(each)) for each in outputs[0]))

        states = [np.zeros((1, 5, 2)), np.zeros((2, 3, 2))]
        batches = [
            Batch([state], [state], None, places)
            for state, places in zip(states, (np.array([1]), np.array([0, 2])), strict=True)
        ]
        assert values(Custom(lengths), *batches) == {"lengths": 353.0}

    @pytest.mark.parametrize("given", ["text", None, np.ones(2), math.nan, np.float32(np.inf)])
    def test_what_is_no_number(self, given):
        def wrong(original, outputs, y):
            return given

        with pytest.raises(ArgumentError, match=r"metric wrong gave .*; a finite number is needed"):
            values(Custom(wrong), batch([np.ones(1)], [np.ones(1)]))

    def test_a_function_loses_what_the_original_has_more_of(self):
        def mean(original, outputs, y):
            return outputs[0].mean()

        before, after = Custom(mean), Custom(mean)
        one, other = np.full((4, 1), 3.0), np.full((4, 1), 2.5)
        before.add(batch([one], [one]))
        after.add(batch([one], [other]))
        loss = after.loss(before)
        assert (loss.metric, loss.points, loss.error) == ("mean", 0.5, None)
        assert str(loss) == "mean 0.50 points lower on 4 inputs"

    def test_lists_of_one_are_lists(self):
        """Of what was found in an input: a list of one looks like a batch of one."""

        def ranks(original, outputs, y):
            return float("".join(str(np.ndim(each)) for each in outputs[0]))

        states = [np.zeros((1, 5, 4)), np.zeros((1, 4)), np.zeros((1, 5, 4))]
        batches = [
            Batch([state], [state], None, np.array([place])) for place, state in enumerate(states)
        ]
        assert values(Custom(ranks), *batches) == {"ranks": 222.0}

    def test_what_is_no_numbers_is_none(self):
        def known(original, outputs, y):
            return float([each is not None for each in outputs] == [False, True])

        one = Batch([None, np.ones(2)], [None, np.ones(2)], None, np.arange(2))
        assert values(Custom(known), one) == {"known": 1.0}
