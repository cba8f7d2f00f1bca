"""Ids, and channels of the last axis."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import nmcore
from chain import Chain
from nmcore.evaluation.metrics.channels import Channels
from nmcore.evaluation.metrics.ids import Ids
from outputs import batch, values

PATHS = np.array([[0, 1, 2, 3], [3, 2, 1, 0]])
OTHERS = np.array([[0, 1, 2, 0], [3, 2, 1, 0]])


class TestIds:
    def test_positions_and_whole_paths(self):
        metric = Ids()
        metric.add(batch([np.eye(4)[PATHS]], [np.eye(4)[OTHERS]]))
        assert metric.values() == {"ids": 87.5, "paths": 50.0}
        assert metric.loss(metric).points == 12.5
        metric.add(batch([np.eye(4)[PATHS]], [np.eye(4)[PATHS]]))
        assert metric.values() == {"ids": 93.75, "paths": 75.0}

    def test_padding_does_not_count(self):
        counts = np.array([[True, True, True, False], [False] * 4])
        given = replace(batch([np.eye(4)[PATHS]], [np.eye(4)[OTHERS]]), counts=counts)
        assert values(Ids(), given) == {"ids": 100.0, "paths": 100.0}

    def test_scores_that_are_no_numbers_choose_nothing(self):
        other = np.eye(4)[PATHS]
        other[0, 0, 2] = np.nan
        assert values(Ids(), batch([np.eye(4)[PATHS]], [other]))["ids"] == 87.5

    @pytest.mark.parametrize("shape", [(2, 4), (2, 4, 1), (2, 3, 4, 4)])
    def test_other_outputs_have_none(self, shape):
        given = batch([np.ones(shape)], [np.ones(shape)])
        assert values(Ids(), given) == {"ids": None, "paths": None}


class TestChannels:
    def test_the_worst_and_the_one_between(self):
        original = np.array([[[3.0, 1.0, 0.0], [4.0, 1.0, 0.0]]])
        result = np.array([[[3.0, 2.0, 5.0], [4.5, 2.0, 0.0]]])
        metric = Channels()
        metric.add(batch([np.ones((1, 1)), original], [np.ones((1, 1)), result]))
        assert metric.values() == {"channel": 100.0, "median_channel": 55.0}
        assert metric.told() == "of 3 channels, number 1 deviates most"
        metric.add(batch([np.ones((1, 1)), original], [np.ones((1, 1)), original]))
        assert metric.values()["channel"] == pytest.approx(100 / np.sqrt(2))

    def test_none_deviates(self):
        metric = Channels()
        metric.add(batch([np.ones((2, 3))], [np.ones((2, 3))]))
        assert (metric.values()["channel"], metric.told()) == (0, None)

    def test_numbers_that_are_none(self):
        given = batch([np.ones((2, 3))], [np.full((2, 3), np.nan)])
        assert values(Channels(), given) == {"channel": None, "median_channel": None}
        assert values(Channels(), batch([np.zeros((2, 3))], [np.ones((2, 3))]))["channel"] is None


def test_both_are_told_of_a_model_by_name(tmp_path):
    model = Chain(("n", 6)).matmul(12).node("Relu").matmul(5).node("Unsqueeze", np.array([1]))
    result = nmcore.compress(model.build(), ratio=0.5, method="prune", metric=["ids", "channels"])
    found = result.fidelity.metrics
    assert [*found] == ["ids", "paths", "channel", "median_channel"]
    assert found["ids"] == found["paths"] < 100
    assert found["channel"] >= found["median_channel"] > 0
    assert result.fidelity.loss.metric == "ids"
