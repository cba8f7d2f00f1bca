"""Residual blocks fitted together: better where it can be, and else as they were."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest

import nmcore
from chain import run
from nmcore.calibration.calibration_set import from_data
from nmcore.compression import block_refit
from nmcore.compression.block_refit import BlockRefit
from nmcore.data.dataset import Dataset
from nmcore.group import Refit
from nmcore.plugins import registry
from nmcore.plugins.protocols import InputSpec
from residual import residual_network

SPECS = [InputSpec("input", (None, 3, 8, 8), np.dtype(np.float32))]


def pictures(count=128, seed=1):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, 3, 8, 8)) + 1.5 * rng.standard_normal((count, 1, 8, 8))
    return x.astype(np.float32)


def compressed(model=None, count=128, **options):
    options.setdefault("data", Dataset("made up", pictures(count)))
    options = {"macs": 0.6, "method": "moments", "samples": 128, "providers": ("cpu",)} | options
    model = model or residual_network().build()
    return nmcore.compress(model, verify=True, **options).graph.serialize()


@pytest.fixture(scope="module", autouse=True)
def _few_steps():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(block_refit, "STEPS", block_refit.FEWEST_STEPS)
        yield


@pytest.fixture(scope="module")
def fitted():
    return compressed()


@pytest.fixture(scope="module")
def without():
    """A network whose blocks are not fitted together."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(block_refit, "BLOCK_WORK", 0)
        return compressed()


def deviation(model, x):
    want, got = (run(each, {"input": x})[0] for each in (residual_network().build(), model))
    return np.linalg.norm(got - want) / np.linalg.norm(want)


def test_inputs_that_no_fit_has_seen_deviate_less(fitted, without):
    x = pictures(256, seed=7)
    assert deviation(fitted, x) < deviation(without, x)


def test_noise_in_a_layer_is_undone():
    """By the layers of the block together, on inputs that it has not seen as well."""
    original = registry.open_graph(residual_network().build())
    graph = original.clone()
    noise = np.random.default_rng(0)
    for group in graph.groups[:2]:  # what the first block reads, and what is inside
        (consumer, *_) = graph.consumers(group)
        wrong = noise.standard_normal(consumer.weight.shape) * 0.3 * consumer.weight.std()
        kept = np.arange(group.width)
        graph.update(group, 0, Refit(kept, consumer.weight + wrong.astype(np.float32)))
    x, before = pictures(64, seed=7), graph.serialize()
    data = from_data(Dataset("made up", pictures(64)), SPECS, 64)
    held = from_data(Dataset("made up", pictures(32, seed=3)), SPECS, 32)
    calibration = replace(data, unseen=held.batches)
    session = functools.partial(registry.runtime().session, providers=("cpu",))
    BlockRefit(graph, original, session, calibration)({graph.groups[0].name}, set())
    assert deviation(graph.serialize(), x) < 0.5 * deviation(before, x)


def test_the_same_each_time(fitted):
    assert compressed() == fitted


@pytest.mark.parametrize("options", [{"data": None}, {"count": 64}], ids=["none", "few"])
def test_only_on_data_some_of_which_is_held_back(monkeypatch, options):
    found = compressed(**options)
    monkeypatch.setattr(block_refit, "BLOCK_WORK", 0)
    assert found == compressed(**options)


def test_a_block_that_gets_worse_stays(monkeypatch, without):
    worse = lambda probe, rows, weights, steps: {n: 2 * a for n, a in weights.items()}  # noqa: E731
    monkeypatch.setattr(block_refit, "fit", worse)
    assert compressed() == without


@pytest.mark.parametrize("found", [None, [1.0, 1.0], [1.0, 2.0]])
def test_a_network_that_gets_no_better_stays(monkeypatch, without, found):
    monkeypatch.setattr(block_refit, "deviations", lambda *_: found)
    assert compressed() == without


def test_a_block_with_an_operator_without_a_derivative_stays(monkeypatch):
    model = residual_network(between="Softmax").build()
    found = compressed(model)
    monkeypatch.setattr(block_refit, "BLOCK_WORK", 0)
    assert found == compressed(model)


def test_values_that_take_too_much_memory(monkeypatch, without):
    monkeypatch.setattr(block_refit, "_BLOCK_NUMBERS", 1000)
    assert compressed() == without


def test_layers_of_merged_groups_stay(monkeypatch):
    """What a scaling matrix has made of a layer is what is proven."""
    model = residual_network().build()
    graph = registry.open_graph(model)
    blocks = block_refit._concerned(graph.blocks(), {"conv4"}, {"conv7"})
    assert [[graph.consumer(each).name for each in block.weights] for block in blocks] == [
        ["conv4", "conv5", "conv6"],
        ["conv7"],
    ]
    assert block_refit._concerned(graph.blocks(), {"conv9"}, set()) == []


class Counted:
    """A calibration set of which only the number of inputs counts."""

    count = 128


def schedule(monkeypatch, bound, passes=60):
    monkeypatch.setattr(block_refit, "BLOCK_WORK", bound)
    monkeypatch.setattr(block_refit, "BLOCK_PASSES", passes)
    graph = registry.open_graph(residual_network().build())
    refit = BlockRefit(graph, graph, None, Counted())
    steps, blocks = refit._schedule(graph.blocks())
    batch = min(block_refit.BATCH, Counted.count)
    taken = steps * block_refit.PER_STEP * batch * sum(map(refit._work, blocks))
    return steps, len(blocks), taken, graph.cost().macs


def test_the_work_is_bounded(monkeypatch):
    steps, count, _, macs = schedule(monkeypatch, 1e30, passes=1e30)
    assert (steps, count) == (block_refit.STEPS, 3)
    most = block_refit.FEWEST_STEPS * block_refit.PER_STEP * block_refit.BATCH * macs
    for share, expected in [(2.0, 3), (1.0, 3), (0.8, 2), (0.5, 0), (0.01, 0)]:
        steps, count, taken, _ = schedule(monkeypatch, share * most)
        assert taken <= share * most
        assert count == expected
        assert not count or steps >= block_refit.FEWEST_STEPS
    steps, _, taken, _ = schedule(monkeypatch, 1e30, passes=50)
    assert 0 < taken <= 50 * Counted.count * macs
