"""Synthetic inputs are chosen so that the network's own answers take turns."""

from __future__ import annotations

import numpy as np
import pytest

from chain import Chain
from nmcore.calibration.calibration_set import CalibrationSet
from nmcore.calibration.class_balance import balanced, evenly
from nmcore.calibration.collect import Inputs, calibration_set_for
from nmcore.calibration.synthetic import synthesise
from nmcore.plugins import registry
from nmcore.plugins.protocols import InputSpec


class Answering:
    """A session whose scores are what ``answer`` makes of the inputs."""

    def __init__(self, answer):
        self.answer = answer

    def run(self, feeds):
        return [self.answer(feeds["input"])]


def one_hot(x):
    return np.eye(4)[x[:, 0].astype(int)]


def candidates(classes, step, **more):
    """Inputs that tell their class and their number."""
    x = np.column_stack([classes, np.arange(len(classes))]).astype(np.float32)
    batches = [{"input": x[k : k + step], "flag": np.array(True)} for k in range(0, len(x), step)]
    return CalibrationSet(batches, len(x), False, "", **more)


def shown(found):
    return np.concatenate([feeds["input"] for feeds in found.batches])


class TestEvenly:
    @pytest.mark.parametrize(
        ("classes", "count", "chosen"),
        [
            ([0, 0, 0, 0], 2, [0, 1]),
            ([0, 0, 1, 1], 2, [0, 2]),
            ([2, 1, 0], 3, [0, 1, 2]),
            ([0, 0, 0, 0, 0, 5], 3, [0, 1, 5]),
            ([1, 1, 1, 0, 0, 9], 5, [0, 1, 3, 4, 5]),
        ],
    )
    def test_classes_take_turns(self, classes, count, chosen):
        assert evenly(np.array(classes), count).tolist() == chosen

    def test_shares_are_as_even_as_can_be(self):
        classes = np.random.default_rng(0).choice(4, 2000, p=[0.9, 0.05, 0.04, 0.01])
        have, got = (np.bincount(c) for c in (classes, classes[evenly(classes, 300)]))
        assert got.sum() == 300
        all_taken = got == have
        assert all_taken.any()
        assert np.ptp(got[~all_taken]) <= 1
        assert got[all_taken].max() <= got[~all_taken].min()


class TestBalanced:
    classes = np.array([0] * 50 + [1] * 8 + [2] * 3 + [3] * 3)

    def test_inputs_come_with_what_belongs_to_them(self):
        found = balanced(candidates(self.classes, 16), Answering(one_hot), 20)
        x = shown(found)
        assert np.array_equal(self.classes[x[:, 1].astype(int)], x[:, 0])
        assert np.bincount(x[:, 0].astype(int)).tolist() == [7, 7, 3, 3]
        assert found.count == 20
        assert [len(feeds["input"]) for feeds in found.batches] == [16, 4]
        assert all(feeds["flag"].shape == () for feeds in found.batches)
        assert found.source == "20 synthetic inputs"

    def test_fixed_batches_stay_full(self):
        given = candidates(self.classes, 8, any_length=False)
        found = balanced(given, Answering(one_hot), 20)
        assert [len(feeds["input"]) for feeds in found.batches] == [8, 8]

    @pytest.mark.parametrize(
        "answer",
        [
            lambda x: np.zeros((len(x), 4, 5)),
            lambda x: np.zeros((len(x), 1)),
            lambda x: np.zeros((3 * len(x), 4)),
            lambda x: np.zeros(len(x)),
        ],
    )
    def test_the_first_ones_where_there_are_no_classes(self, answer):
        found = balanced(candidates(self.classes, 16), Answering(answer), 20)
        assert shown(found)[:, 1].tolist() == list(range(20))

    def test_all_where_there_are_no_more(self):
        given = candidates(self.classes, 16)
        assert balanced(given, Answering(one_hot), 64) is given


def test_made_inputs_are_balanced_for_the_network_at_hand():
    """Few pictures are so bright that this network takes them for its first class."""
    chain = Chain(("n", 1, 8, 8)).node("GlobalAveragePool").node("Flatten")
    weight, bias = np.array([[1], [0]], np.float32), np.array([0, 1], np.float32)
    graph = registry.open_graph(chain.node("Gemm", weight, bias, transB=1).build())
    spec = InputSpec("input", (None, 1, 8, 8), np.dtype(np.float32))

    def bright(batches):
        return sum((feeds["input"].mean((1, 2, 3)) > 1).sum() for feeds in batches)

    plain = bright(synthesise([spec], [(1, 1, 8, 8)], 32).batches)
    session = registry.runtime().session(graph.serialize(), providers=("cpu",))
    found = calibration_set_for(graph, session, Inputs(samples=32), 0)
    assert found.count == 32
    assert plain < bright(found.batches) <= 16
    assert plain < bright(found.unseen) <= 16
