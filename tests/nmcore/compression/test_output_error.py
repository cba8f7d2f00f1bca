"""How much the errors of groups count at the outputs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from onnx import TensorProto, helper

from chain import Chain
from nmcore.calibration.calibration_set import CalibrationSet
from nmcore.calibration.collect import work
from nmcore.compression import output_error
from nmcore.compression.output_error import (
    BOUND,
    FEWEST,
    LATE,
    LATE_SYNTHETIC,
    PASSES,
    Trial,
    comparable,
    relative,
    scales,
)
from nmcore.compression.reconstruction import Reconstruction
from nmcore.group import Refit
from nmcore.plugins import registry


def load(model):
    return registry.runtime().session(model, providers=("cpu",))


def opened(gain):
    """Two groups of six channels; the outputs are what the second one is read by, times a gain."""
    model = Chain(("n", 6)).gemm(6).node("Relu").gemm(6).node("Relu").gemm(3).build()
    last = [t for t in model.graph.initializer if t.name == model.graph.node[4].input[1]]
    weight = np.frombuffer(last[0].raw_data, np.float32) * gain
    last[0].raw_data = weight.astype(np.float32).tobytes()
    return registry.open_graph(model)


def shown(count=64, seed=0):
    rng = np.random.default_rng(seed)
    unseen = [{"input": rng.standard_normal((count, 6)).astype(np.float32)}]
    return CalibrationSet(unseen, 256, True, "here", unseen=unseen)


def damaged(graph, number, error, share):
    """A trial that removes nothing and scales the weights of a consumer down."""
    group = graph.groups[number]
    (consumer,) = graph.consumers(group)
    change = Refit(np.arange(group.width), (1 - share) * consumer.weight, None)
    return Trial(group, np.arange(group.width), [change], error)


def test_what_changes_the_outputs_more_counts_more():
    graph = opened(1.0)
    trials = [damaged(graph, 0, 0.01, 0.1), damaged(graph, 1, 0.01, 0.3)]
    found = scales(graph, trials, shown(), load)
    first, second = (found[group.name] for group in graph.groups)
    assert second > first
    # The error is what its curve says: twice as much of it for the same change counts less.
    dearer = scales(graph, [trials[0], damaged(graph, 1, 0.02, 0.3)], shown(), load)
    assert dearer[graph.groups[1].name] < second


def test_padding_does_not_count():
    chain = Chain(("n", "s", 6))
    chain.width = 6
    model = chain.matmul(6).node("Relu").matmul(6).node("Relu").matmul(3).build()
    model.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.INT64, ["n", "s"]))
    graph = registry.open_graph(model)
    trials = [damaged(graph, 0, 0.01, 0.1), damaged(graph, 1, 0.01, 0.3)]
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((64, 4, 6)).astype(np.float32)
    mask = np.ones((64, 4), np.int64)
    mask[:, 2:] = 0
    found = {}
    for named in ("mask", None):
        for padding in (0, 100):
            padded = np.where(mask[:, :, None] == 1, inputs, padding * inputs[:, :1])
            unseen = [{"input": padded.astype(np.float32), "mask": mask}]
            seen = CalibrationSet(unseen, 256, True, "here", unseen=unseen, mask=named)
            found[named, padding] = scales(graph, trials, seen, load)
    assert found["mask", 0] == found["mask", 100]
    assert found[None, 0] != found[None, 100]


def test_the_graph_stays_as_it_was():
    graph = opened(1.0)
    before = graph.serialize()
    scales(graph, [damaged(graph, k, 0.01, 0.1) for k in (0, 1)], shown(), load)
    assert graph.serialize() == before


def test_probabilities_are_compared_as_scores():
    """Adding to all scores changes no probability; what changes one of them is seen in full."""
    scores = np.random.default_rng(0).standard_normal((5, 4)) * 10
    found = comparable(softmax(scores + 3.0))
    np.testing.assert_allclose(found, scores - scores.mean(axis=1, keepdims=True), atol=1e-6)
    assert np.array_equal(comparable(scores), scores)


def softmax(scores):
    made = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return made / made.sum(axis=-1, keepdims=True)


def test_nothing_is_said_without_inputs_that_no_fit_has_seen():
    graph = opened(1.0)
    trials = [damaged(graph, k, 0.01, 0.1) for k in (0, 1)]
    calibration = shown()
    seen = CalibrationSet(calibration.batches, 256, True, "here")
    assert scales(graph, trials, seen, load) == {}
    assert scales(graph, trials[:1], calibration, load) == {}


def test_what_many_groups_can_afford(monkeypatch):
    graph, loaded = opened(1.0), []
    monkeypatch.setattr(output_error, "TRIAL_WORK", 0)

    class Counting:
        def __init__(self, model):
            self.session = load(model)

        def run(self, feeds):
            loaded.append(len(feeds["input"]))
            return self.session.run(feeds)

    trials = [damaged(graph, 0, 0.01, 0.1)] * 32
    scales(graph, trials, shown(), Counting)
    # The trials, the original, and what all trials begin with.
    assert loaded == [PASSES * 256 // 32] * (32 + 1 + 1)
    loaded.clear()
    monkeypatch.setattr(output_error, "TRIAL_WORK", 32 * 20 * work(graph))
    scales(graph, trials, shown(), Counting)
    assert loaded == [20] * (32 + 1 + 1)
    loaded.clear()
    monkeypatch.setattr(output_error, "TRIAL_WORK", 0)
    assert scales(graph, trials * (PASSES * 256 // FEWEST), shown(), Counting) == {}
    assert not loaded


def test_extremes_are_bounded():
    found = relative({"a": (1e6, 1e-6), "b": (1.0, 1.0), "c": (1e-9, 1.0)})
    assert found == {"a": BOUND, "b": 1.0, "c": 1 / BOUND}


def test_what_changes_nothing_counts_least_and_what_is_no_number_most():
    found = relative({"a": (0.1, 0.1), "same": (0.0, 0.1), "lost": (np.nan, 0.1), "none": (0, 0)})
    assert found == {"a": 1.0, "same": 1 / BOUND, "lost": BOUND}


def test_outputs_may_have_other_sizes_in_each_run():
    """Sentences of several lengths: the same as all of one length, where these change alike."""
    chain = Chain(("n", "t", 6))
    chain.width = 6
    model = chain.matmul(6).node("Relu").matmul(6).node("Relu").matmul(3).build()
    graph = registry.open_graph(model)
    rng = np.random.default_rng(0)
    trials = [damaged(graph, 0, 0.01, 0.1), damaged(graph, 1, 0.01, 0.3)]
    unseen = [{"input": rng.standard_normal((8, t, 6)).astype("f4")} for t in (2, 5, 5)]
    mixed = CalibrationSet(unseen, 256, True, "here", unseen=unseen)
    found = scales(graph, trials, mixed, load)
    assert found[graph.groups[1].name] > found[graph.groups[0].name]
    alone = CalibrationSet(unseen[1:], 256, True, "here", unseen=unseen[1:])
    apart = scales(graph, trials, alone, load)
    assert {name: round(np.log2(x)) for name, x in apart.items()} == {
        name: round(np.log2(x)) for name, x in found.items()
    }


def test_an_output_may_have_no_rows():
    assert comparable(np.zeros((0, 7))).shape == (0, 7)
    assert comparable(np.zeros((2, 0, 4))).shape == (2, 0, 4)


def test_curves_come_with_their_prices():
    graph = opened(1.0)
    walk = Reconstruction(graph, registry.runtime(), shown(), ("cpu",))
    curves, prices = walk.curves.priced(graph.groups)
    assert set(curves) == set(prices) == {group.name for group in graph.groups}
    assert all(1 / BOUND <= price <= BOUND * LATE for price in prices.values())
    for name, curve in walk.curves.of(graph.groups).items():
        assert np.array_equal(curve.error, curves[name].error)


def test_errors_of_late_layers_count_more(monkeypatch):
    """Also where no trial tells anything; by more on synthetic inputs."""
    graph, real = opened(1.0), shown()

    def prices(calibration):
        walk = Reconstruction(graph, registry.runtime(), calibration, ("cpu",))
        found = walk.curves.priced(graph.groups)[1]
        return [found[group.name] for group in graph.groups]

    made = replace(real, real=False)
    grown, grown_made = prices(real), prices(made)
    for calibration, late in ((real, LATE), (made, LATE_SYNTHETIC)):
        assert prices(replace(calibration, unseen=[])) == [1, late]
    for name in ("LATE", "LATE_SYNTHETIC"):
        monkeypatch.setattr(output_error, name, 1.0)
    (first, last), (first_made, last_made) = prices(real), prices(made)
    assert grown == [first, last * LATE]
    assert grown_made == [first_made, last_made * LATE_SYNTHETIC]
