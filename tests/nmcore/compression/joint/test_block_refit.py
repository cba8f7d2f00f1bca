"""Residual blocks fitted together: better where it can be, and else as they were."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest

import nmcore
from chain import run
from nmcore.calibration.calibration_set import from_data
from nmcore.compression.joint import block_refit
from nmcore.compression.joint.block_refit import BlockRefit
from nmcore.data.dataset import Dataset
from nmcore.errors import ModelError
from nmcore.group import Refit
from nmcore.plugins import registry
from nmcore.plugins.protocols import InputSpec
from residual import residual_network

SPECS = [InputSpec("input", (None, 3, 8, 8), np.dtype(np.float32))]


@pytest.fixture(autouse=True, scope="module")
def _few_steps():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(block_refit, "STEPS", 120)
        yield


def pictures(count, seed=1):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, 3, 8, 8)) + 1.5 * rng.standard_normal((count, 1, 8, 8))
    return x.astype(np.float32)


def shown():
    """Inputs to fit to, and others that are held back."""
    fitted, held = (
        from_data(Dataset("made up", pictures(count, seed)), SPECS, count)
        for count, seed in ((64, 1), (32, 3))
    )
    return replace(fitted, unseen=held.batches)


def damaged(**options):
    """A network, and the same with noise in two layers: one before the first block, and one in it
    that has lost nothing, as if its channels had gone and come back wrong.
    """
    original = registry.open_graph(residual_network(**options).build())
    graph = original.clone()
    rng = np.random.default_rng(0)
    for group in graph.groups[:2]:
        (consumer, *_) = graph.consumers(group)
        noise = rng.standard_normal(consumer.weight.shape) * 0.3 * consumer.weight.std()
        kept = np.arange(group.width)
        graph.update(group, 0, Refit(kept, consumer.weight + noise.astype(np.float32)))
    return original, graph


def refitted(calibration=None, **options):
    """What becomes of the damaged network, what it was, and what is told of it."""
    original, graph = damaged(**options)
    before = graph.serialize()
    session = functools.partial(registry.runtime().session, providers=("cpu",))
    refit = BlockRefit(graph, original, session, calibration or shown())
    told = refit({graph.groups[0].name}, set())
    return graph.serialize(), before, told


def deviation(model, x):
    want, got = (run(each, {"input": x})[0] for each in (residual_network().build(), model))
    return np.linalg.norm(got - want) / np.linalg.norm(want)


@pytest.fixture(scope="module")
def result():
    return refitted()


def test_noise_is_undone_on_inputs_that_no_fit_has_seen(result):
    after, before, told = result
    x = pictures(64, seed=7)
    assert deviation(after, x) < 0.5 * deviation(before, x)
    held = np.concatenate([feeds["input"] for feeds in shown().unseen])
    found, was = (100 * deviation(model, held) for model in (after, before))
    assert told == (
        "residual blocks fitted together: on inputs kept to judge by the outputs deviate by "
        f"{found:.2f} % instead of {was:.2f} %"
    )


def test_the_same_each_time(result):
    assert refitted() == result


def test_only_where_some_inputs_are_held_back():
    after, before, _ = refitted(replace(shown(), unseen=()))
    assert after == before


def test_inputs_may_be_synthetic(result):
    *models, told = refitted(replace(shown(), real=False))
    assert models == [*result[:2]]
    assert told == result[2].replace("on inputs", "on synthetic inputs")


def test_half_way_where_an_end_is_too_far(monkeypatch, result):
    fit = block_refit.fit

    def too_far(probe, rows, weights, steps):
        found = fit(probe, rows, weights, steps)
        return {name: 2 * found[name] - array for name, array in weights.items()}

    monkeypatch.setattr(block_refit, "fit", too_far)
    after, *_ = refitted()
    x = pictures(64, seed=7)
    assert deviation(after, x) == pytest.approx(deviation(result[0], x), rel=0.1)


def far(_probe, _rows, weights, _steps):
    return {name: 9 * array for name, array in weights.items()}


def failing(*_):
    raise ModelError("broken")


def test_a_block_whose_weights_become_no_numbers_stays_alone(monkeypatch, result):
    fit, count = block_refit.fit, iter(range(99))

    def first_diverges(probe, rows, weights, steps):
        found = fit(probe, rows, weights, steps)
        lost = next(count) == 0
        return {name: array * np.nan for name, array in found.items()} if lost else found

    monkeypatch.setattr(block_refit, "fit", first_diverges)
    after, before, _ = refitted()
    x = pictures(64, seed=7)
    assert deviation(after, x) < 0.8 * deviation(before, x)


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("fit", far, "on inputs kept to judge by that does not help"),
        ("deviations", lambda *_: None, "how far the outputs change cannot be told"),
        ("deviations", lambda *_: [1.0, 1.0], "on inputs kept to judge by that does not help"),
        ("_Probe", failing, "broken"),
        ("deviations", failing, "broken"),
        ("_BLOCK_NUMBERS", 1000, "their values are too many, or not of one shape"),
        ("BLOCK_WORK", 0, "that would take too long"),
        ("BLOCK_PASSES", 0, "that would take too long"),
    ],
    ids=[
        "worse", "not comparable", "no nearer", "not run", "not compared", "too much memory",
        "too much work", "passes",
    ],
)  # fmt: skip
def test_else_all_stays_and_why_is_told(monkeypatch, name, value, why):
    monkeypatch.setattr(block_refit, name, value)
    after, before, told = refitted()
    assert after == before
    assert told == f"residual blocks are not fitted together: {why}"


def test_a_block_with_an_operator_without_a_derivative_stays():
    after, before, _ = refitted(between="Softmax")
    assert after == before


def test_a_compressed_network_deviates_less(monkeypatch):
    """On inputs that it has not seen; and what is proven of it still holds."""
    options = {"macs": 0.8, "method": "moments", "samples": 256, "providers": ("cpu",)}
    found = []
    for work in (block_refit.BLOCK_WORK, 0):
        monkeypatch.setattr(block_refit, "BLOCK_WORK", work)
        data = Dataset("made up", pictures(256))
        result = nmcore.compress(residual_network().build(), data=data, verify=True, **options)
        (told,) = (note for note in result.notes if note.startswith("residual blocks"))
        assert told.endswith("that would take too long") == (work == 0)
        found.append(deviation(result.graph.serialize(), pictures(256, seed=7)))
    fitted, without = found
    assert fitted < 0.95 * without


def test_sequences_of_blocks_gain_more_than_blocks(monkeypatch):
    """In as many steps."""
    options = {"macs": 0.5, "method": "moments", "samples": 256, "providers": ("cpu",)}
    found = []
    for together in [(1, 1), (1, 3)]:
        monkeypatch.setattr(block_refit, "TOGETHER", together)
        data = Dataset("made up", pictures(256))
        result = nmcore.compress(residual_network().build(), data=data, **options)
        found.append(deviation(result.graph.serialize(), pictures(256, seed=7)))
    alone, together = found
    assert together < 0.995 * alone


def test_layers_of_merged_groups_stay():
    """What a scaling matrix has made of a layer is what is proven."""
    graph = registry.open_graph(residual_network().build())
    blocks = block_refit._concerned(graph.blocks(), {"conv4"}, {"conv7"})
    assert [[graph.consumer(each).name for each in block.weights] for block in blocks] == [
        ["conv4", "conv5", "conv6"],
        ["conv7"],
    ]
    assert block_refit._concerned(graph.blocks(), {"conv9"}, set()) == []


class Counted:
    """A calibration set of which only the number of inputs counts."""

    count = 128


def scheduled(monkeypatch, bound, passes=120):
    """The sweeps, the steps, and their work relative to the least that all sweeps take."""
    monkeypatch.setattr(block_refit, "BLOCK_WORK", bound)
    monkeypatch.setattr(block_refit, "BLOCK_PASSES", passes)
    graph = registry.open_graph(residual_network().build())
    refit = BlockRefit(graph, graph, None, Counted())
    sweeps, steps = refit._schedule(graph.blocks())
    work = block_refit.PER_STEP * block_refit.BATCH * sum(map(refit._work, graph.blocks()))
    return sweeps, steps, steps * len(sweeps) * work, graph.cost().macs


def test_the_work_is_bounded(monkeypatch):
    sweeps, steps, taken, macs = scheduled(monkeypatch, 1e30, passes=1e30)
    assert (sweeps, steps) == (block_refit.TOGETHER, block_refit.STEPS)
    least = taken * block_refit.FEWEST_STEPS / block_refit.STEPS
    rows = block_refit.TOGETHER[-1:]
    for share, expected in [
        (2.0, block_refit.TOGETHER),
        (1.01, block_refit.TOGETHER),
        (0.99, rows),
        (0.51, rows),
        (0.49, ()),
        (0.01, ()),
    ]:
        sweeps, steps, taken, _ = scheduled(monkeypatch, share * least)
        assert sweeps == expected
        assert taken <= share * least
        assert (2 * steps >= block_refit.FEWEST_STEPS) == bool(sweeps) == bool(steps)
    _, _, taken, _ = scheduled(monkeypatch, 1e30, passes=60)
    assert 0 < taken <= 60 * Counted.count * macs
