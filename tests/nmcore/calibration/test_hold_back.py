"""What of the data is held back, and that it is fed to nothing that fits."""

from __future__ import annotations

import numpy as np
import pytest

from chain import Chain
from nmcore.calibration.collect import Inputs, calibration_set_for
from nmcore.calibration.hold_back import FEWEST, hold_back, wanted
from nmcore.data.dataset import Dataset
from nmcore.plugins import registry


def numbered(count):
    return Dataset("numbers", np.arange(count, dtype=np.float32)[:, None].repeat(6, axis=1))


def values(data):
    (array,) = data.arrays.values()
    return set(array[:, 0].astype(int).tolist())


@pytest.mark.parametrize(
    ("given", "samples", "fitted", "held"),
    [
        (1000, 256, 256, 64),
        (300, 256, 240, 60),
        (256, 256, 205, 51),
        (200, 256, 160, 40),
        (100, 64, 64, 32),
        (96, 256, 64, 32),
        (95, 256, 64, 31),
        (64, 256, 43, 21),
        (48, 256, 32, 16),
        (47, 256, 47, 0),
        (1000, 16, 16, 0),
        (1000, 32, 32, 16),
        (1000, 64, 64, 32),
    ],
)
def test_how_many(given, samples, fitted, held):
    first, second = hold_back(numbered(given), samples)
    assert len(first) == fitted
    assert (0 if second is None else len(second)) == held


def test_no_input_is_in_both_parts():
    first, second = hold_back(numbered(1000), 256)
    assert not values(first) & values(second)
    for part in (first, second):
        assert min(values(part)) < 50
        assert max(values(part)) > 950


def test_so_many_are_asked_for_that_both_are_as_wanted():
    for samples in (32, 64, 100, 256, 1000):
        first, second = hold_back(numbered(wanted(samples)), samples)
        assert abs(len(first) - samples) <= 1
        assert len(second) >= FEWEST


def calibration(model, data):
    graph = registry.open_graph(model)
    session = registry.runtime().session(graph.serialize(), providers=("cpu",))
    return calibration_set_for(graph, session, Inputs(data), 0)


def test_both_reach_the_calibration_set():
    found = calibration(Chain(("n", 6)).gemm(5).node("Relu").gemm(4).build(), numbered(200))
    shown, unseen = (
        np.concatenate([feeds["input"] for feeds in batches])[:, 0]
        for batches in (found.batches, found.unseen)
    )
    assert found.count == len(shown) == 160
    assert len(unseen) == 40
    assert values(found.held) == set(unseen.astype(int).tolist())
    assert not set(shown.tolist()) & set(unseen.tolist())
    assert found.source == "160 inputs of numbers, and 40 more to judge by"


def test_nothing_is_held_back_that_does_not_fill_a_batch():
    found = calibration(Chain((64, 6)).gemm(5).node("Relu").gemm(4).build(), numbered(128))
    assert found.held is None
    assert not found.unseen
    assert found.count == 128
