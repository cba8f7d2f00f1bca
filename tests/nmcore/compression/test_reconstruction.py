"""Channels chosen by the error they leave, and what reads them refitted to the original."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import nmcore
from chain import Chain, initializer, run
from nmcore.arrays.elimination import eliminate, problem
from nmcore.budgets.meter import Meter
from nmcore.calibration.calibration_set import from_data
from nmcore.calibration.dead_leaves import dead_leaves
from nmcore.calibration.synthetic import synthesise
from nmcore.compression import carrier, consumer_fit, curves, reconstruction, shrinkage
from nmcore.compression import refit as refitting
from nmcore.compression.baseline import Baseline
from nmcore.compression.joint import pair_refit
from nmcore.compression.joint.pair_refit import PairRefit
from nmcore.compression.moments import Moments
from nmcore.compression.reconstruction import Choice, Reconstruction
from nmcore.compression.refit import mixed, refit
from nmcore.data.dataset import Dataset
from nmcore.errors import ModelError, NmcoreError, VerificationError
from nmcore.pipeline import compress as pipeline
from nmcore.plugins import registry


def pictures(count=64, shape=(3, 8, 8), seed=1, dtype=np.float32):
    """Inputs whose channels are correlated, as those of photographs are."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, *shape)) + 1.5 * rng.standard_normal((count, 1, *shape[1:]))
    return x.astype(dtype)


def dataset(*arguments, **options):
    return Dataset("made up", pictures(*arguments, **options))


def compress(model, **options):
    options.setdefault("method", "moments")
    if options.get("data") is None:
        options.setdefault("samples", 32)
    result = nmcore.compress(model, verify=True, **options)
    proto = onnx.load_from_string(result.graph.serialize())
    onnx.checker.check_model(proto, full_check=True)
    return result, proto


def error(model, proto, x):
    """The mean squared error of the outputs, relative to their variance."""
    want, got = (run(each, {"input": x})[0].astype(np.float64) for each in (model, proto))
    return np.square(want - got).mean() / want.var()


def kept(result):
    return {o.plan.name: len(o.plan.kept) for o in result.outcomes}


def mix(chain, index, rng):
    """Let the second half of a layer's channels be linear combinations of the first."""
    tensors = chain.initializers[index : index + 2]
    weight, bias = (numpy_helper.to_array(t).copy() for t in tensors)
    half = len(weight) // 2
    coefficients = rng.standard_normal((len(weight) - half, half)).astype(np.float32) / 2
    weight[half:] = np.tensordot(coefficients, weight[:half], 1)
    bias[half:] = coefficients @ bias[:half]
    for tensor, array in zip(tensors, (weight, bias), strict=True):
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def redundant(norm=False):
    """Without activations: half of the channels of two layers can be made from the others."""
    chain = Chain().conv(8)
    if norm:
        chain.batch_norm()
    second = len(chain.initializers)
    chain.conv(12).node("AveragePool", kernel_shape=[2, 2]).conv(5, 2)
    rng = np.random.default_rng(0)
    mix(chain, 0, rng)
    mix(chain, second, rng)
    return chain.build()


def network(seed=0, norm=False):
    """Convolutions with ReLU whose channels resemble each other, and a classifier."""
    chain = Chain(seed=seed)
    rng = np.random.default_rng(seed)
    for width in (12, 16):
        index = len(chain.initializers)
        chain.conv(width, pads=[1] * 4)
        weight = chain.initializers[index]
        array = numpy_helper.to_array(weight)
        rows = array.reshape(width, -1)
        few = rng.standard_normal((width, 5)) @ rng.standard_normal((5, rows.shape[1]))
        few = (0.7 * few / np.sqrt(5 * rows.shape[1]) + 0.3 * rows).astype(np.float32)
        weight.CopyFrom(numpy_helper.from_array(few.reshape(array.shape), weight.name))
        if norm:
            chain.batch_norm()
        chain.node("Relu")
    return chain.node("GlobalAveragePool").node("Flatten").gemm(7).build()


class TestError:
    @pytest.mark.parametrize(
        ("norm", "data"), [(False, None), (False, dataset()), (True, dataset())]
    )
    def test_redundant_channels_go_without_loss(self, monkeypatch, norm, data):
        for module in (refitting, pair_refit, consumer_fit):
            for name in {"REFIT_RIDGE", "SELECTION_RIDGE", "SCARCITY"} & {*vars(module)}:
                monkeypatch.setattr(module, name, 1e-7)
        for name in ("REAL", "SYNTHETIC"):
            monkeypatch.setattr(shrinkage, name, 1e-7)
        model = redundant(norm)
        x = pictures(seed=5) if data else (dead_leaves(64, 3, (8, 8), seed=5) - 0.45) / 0.25
        result, proto = compress(model, ratio=0.5, data=data, samples=256)
        assert kept(result) == {"conv1": 4, "conv2": 6}
        want = run(model, {"input": x})[0]
        np.testing.assert_allclose(
            run(proto, {"input": x})[0], want, rtol=0, atol=2e-3 * np.abs(want).max()
        )
        _, worse = compress(model, ratio=0.6, data=data)
        # Beyond what is redundant it is no longer without loss.
        assert error(model, worse, x) > 10_000 * error(model, proto, x)

    def test_the_usual_pull_costs_little(self):
        model, x = redundant(), pictures(seed=5)
        assert error(model, compress(model, ratio=0.5, samples=256)[1], x) < 1e-2
        for method in ("merge", "prune"):
            assert error(model, compress(model, ratio=0.5, method=method)[1], x) > 0.1

    @pytest.mark.parametrize("norm", [False, True])
    @pytest.mark.parametrize("seed", range(3))
    def test_data_beats_weights_alone(self, seed, norm):
        model, unseen = network(seed, norm), pictures(seed=9)
        measured = error(model, compress(model, ratio=0.5, data=dataset(256))[1], unseen)
        for method in ("merge", "prune"):
            assert measured < 0.5 * error(
                model, compress(model, ratio=0.5, method=method)[1], unseen
            )
        assert measured < 0.15

    def test_made_inputs_beat_weights_alone_on_real_ones(self):
        model, unseen = network(norm=True), pictures(seed=9)
        measured = error(model, compress(model, ratio=0.5, samples=256)[1], unseen)
        assert measured < error(model, compress(model, ratio=0.5, method="merge")[1], unseen)

    def test_more_channels_leave_less_error(self):
        model, x = network(), pictures()
        data = Dataset("d", x)
        errors = [
            error(model, compress(model, ratio=ratio, data=data)[1], x)
            for ratio in (0.0, 0.25, 0.5, 0.75)
        ]
        assert errors[0] == 0
        assert sorted(errors) == errors


def moments_of(x, y):
    centred, target = x - x.mean(0), y - y.mean(0)
    covariance, cross = centred.T @ centred / len(x), centred.T @ target / len(x)
    return Moments(len(x), x.mean(0), covariance, y.mean(0), y.var(0), cross)


def test_the_whole_walk_against_numpy():
    """Two groups: the second is fitted to the original on what the first one has become."""
    model = Chain(("n", 6)).gemm(8).node("Relu").gemm(9).node("Tanh").gemm(4).build()
    # Too few to hold any back.
    x = np.random.default_rng(3).standard_normal((47, 6)).astype(np.float32)
    weights = [initializer(model, n.input[1]).astype(float) for n in model.graph.node[::2]]
    biases = [initializer(model, n.input[2]).astype(float) for n in model.graph.node[::2]]
    names = [n.input[1:] for n in model.graph.node[::2]]

    def step(read, target, weight, keep):
        found = moments_of(read, target)
        scarce = 0.2 * read.shape[1] / len(read)
        matrix = weight.T
        setup = problem(found.covariance, found.cross, matrix, 1, ridge=1e-3 + scarce)
        order, _ = eliminate([setup], keep)
        own = np.delete(np.arange(len(matrix)), order)
        start = mixed(found, matrix, own, 1, ridge=1e-3 + scarce)
        return own, *refit(found, start, own, ridge=1e-2 + scarce)

    hidden = np.maximum(x @ weights[0].T + biases[0], 0)
    second = hidden @ weights[1].T + biases[1]
    final = np.tanh(second) @ weights[2].T + biases[2]
    first, weight, bias = step(hidden, second, weights[1], 4)
    now = np.tanh(hidden[:, first] @ weight + bias)
    rest, last_weight, last_bias = step(now, final, weights[2], 5)

    (cut, proto) = compress(model, keep={"gemm1": 4, "gemm2": 5}, data=Dataset("d", x), samples=47)
    assert [o.plan.kept for o in cut.outcomes] == [tuple(first), tuple(rest)]
    got = [[initializer(proto, name) for name in pair] for pair in names]
    np.testing.assert_array_equal(got[0][0], initializer(model, names[0][0])[first])
    np.testing.assert_allclose(got[1][0], weight.T[rest], atol=1e-4)
    np.testing.assert_allclose(got[1][1], bias[rest], atol=1e-4)
    np.testing.assert_allclose(got[2][0], last_weight.T, atol=1e-4)
    np.testing.assert_allclose(got[2][1], last_bias, atol=1e-4)


def sequence(bias=True):
    chain = Chain(("n", 5, 6))
    chain.width = 6
    return chain.matmul(10).node("Relu").matmul(8, bias=bias).node("Tanh").matmul(4, bias=bias)


def residual(norm=True):
    chain = Chain().conv(6, 1).node("Relu")
    for _ in range(2):
        stream = chain.value
        chain.conv(10, 3, pads=[1] * 4).node("Relu").conv(6, 1)
        if norm:
            chain.batch_norm()
        chain.node("Add", stream).node("Relu")
    return chain.node("GlobalAveragePool").node("Flatten").gemm(5)


def channels_last():
    chain = Chain().conv(8).node("Relu").node("Transpose", perm=[0, 2, 3, 1])
    return chain.node("Flatten").gemm(5, features=8 * 36)


CHAINS = {
    "conv": lambda: Chain().conv(8).node("Relu").conv(4, strides=[2, 1], pads=[1, 0, 0, 1]),
    "1-D": lambda: Chain(("n", 3, 16)).conv(8).node("Relu").conv(4, auto_pad="SAME_LOWER"),
    "3-D": lambda: Chain(("n", 2, 5, 5, 5)).conv(8).node("Relu").conv(4, 2),
    "batch norm": lambda: Chain().conv(8).batch_norm().node("Relu").conv(6).batch_norm(),
    "depthwise": lambda: (
        Chain().conv(8, 1).batch_norm().node("Relu").conv(16, group=8).node("Relu").conv(4, 1)
    ),
    "flatten": lambda: Chain().conv(8).node("Relu").node("Flatten").gemm(5, features=8 * 36),
    "channels last": channels_last,
    "gemm, alpha and beta": lambda: (
        Chain(("n", 6)).gemm(10).node("Relu").gemm(4, transB=0, alpha=3.0, beta=0.5)
    ),
    "sequence": sequence,
    "sequence, no bias": lambda: sequence(bias=False),
    "residual": residual,
    "residual, folded": lambda: residual(norm=False),
    "half precision": lambda: (
        Chain(dtype=np.float16).conv(8).batch_norm().node("Relu").conv(6).batch_norm().conv(3)
    ),
    "opset 8": lambda: Chain(opset=8).conv(8).batch_norm().node("Relu").conv(6).batch_norm(),
}


@pytest.mark.parametrize("name", CHAINS)
def test_every_kind_of_graph_is_refitted_and_proven(name):
    model = CHAINS[name]().build()
    before = model.SerializeToString(deterministic=True)
    result, proto = compress(model, ratio=0.25)
    assert model.SerializeToString(deterministic=True) == before
    assert result.after.macs < result.before.macs
    assert {o.plan.method for o in result.outcomes} == {"moments"}
    assert all(o.left_out == 0 for o in result.outcomes)
    shape = [d.dim_value or 4 for d in model.graph.input[0].type.tensor_type.shape.dim]
    dtype = np.float16 if name == "half precision" else np.float32
    assert error(model, proto, pictures(shape[0], tuple(shape[1:]), dtype=dtype)) < 0.6


@pytest.mark.parametrize("share", [0.3, 0.7])
@pytest.mark.parametrize("kind", ["macs", "params"])
@pytest.mark.parametrize("name", ["conv", "depthwise", "flatten", "residual", "sequence"])
def test_budgets_are_met_within_a_channel(name, kind, share):
    model = CHAINS[name]().build()
    share = max(share, 0.6) if name == "residual" else share
    result, _ = compress(model, round_to=1, **{kind: share})
    before, after = getattr(result.before, kind), getattr(result.after, kind)
    assert after <= share * before
    graph = registry.open_graph(model)
    meter = Meter(graph.terms(), {g.name: g.width for g in graph.groups}, kind)
    meter.kept.update(kept(result))
    steps = [meter.saving(g.name) for g in graph.groups if meter.kept[g.name] < g.width]
    assert after > share * before - max(steps)


def test_a_budget_of_parameters_counts_new_biases():
    chain = Chain()
    for width in (8, 16, 16, 4):
        chain.node("Conv", chain.weight(width, chain.width, 1, 1)).node("Relu")
        chain.width = width
    result, _ = compress(chain.build(), params=0.5)
    assert result.after.params <= 0.5 * result.before.params


def test_important_groups_lose_less_under_a_budget():
    """One layer's channels are worth nothing to the next, so the budget comes from there."""
    chain = Chain().conv(8, pads=[1] * 4).node("Relu").conv(8, pads=[1] * 4)
    mix(chain, 2, np.random.default_rng(0))
    model = chain.conv(8, pads=[1] * 4).node("Relu").conv(4).build()
    result, _ = compress(model, macs=0.7)
    assert kept(result)["conv2"] < kept(result)["conv3"]
    assert kept(result)["conv2"] < kept(result)["conv1"]


class TestLeftAlone:
    def test_other_weights_stay(self):
        chain = Chain().conv(8).node("Relu").conv(8).node("Relu").conv(8, 1).node("Relu")
        model = chain.conv(4, 1).build()
        result, proto = compress(model, ratio=0.5, only=["conv1"])
        assert kept(result) == {"conv1": 4, "conv2": 8, "conv3": 8}
        assert [o.plan.method for o in result.outcomes] == ["moments", "none", "none"]
        for number in (4, 5, 6, 7):
            name = f"constant_{number}"
            np.testing.assert_array_equal(initializer(proto, name), initializer(model, name))
        result, _ = compress(model, ratio=0.5, exclude=["conv2"])
        assert kept(result) == {"conv1": 4, "conv2": 8, "conv3": 4}
        result, _ = compress(model, keep={"conv3": 3})
        assert kept(result) == {"conv1": 8, "conv2": 8, "conv3": 3}

    def test_a_budget_leaves_them_alone(self):
        model = Chain().conv(8).node("Relu").conv(8).node("Relu").conv(8).build()
        result, _ = compress(model, macs=0.6, exclude=["conv1"])
        assert kept(result)["conv1"] == 8
        assert kept(result)["conv2"] < 8
        result, _ = compress(model, macs=0.6, keep={"conv1": 7})
        assert kept(result)["conv1"] == 7

    def test_nothing_to_remove_is_not_measured(self, monkeypatch):
        monkeypatch.setattr(pipeline, "calibration_set_for", None)
        model = network()
        result, proto = compress(model, ratio=0.0)
        assert "nothing is to be removed" in result.notes
        x = {"input": pictures(4)}
        np.testing.assert_array_equal(run(proto, x)[0], run(model, x)[0])

    def test_a_single_channel_is_declined(self):
        model = Chain().conv(1).node("Relu").conv(8).node("Relu").conv(4).build()
        result, _ = compress(model, ratio=0.9)
        assert kept(result) == {"conv2": 1}
        assert "one channel" in {d.node: d.reason for d in result.declined}["conv1"]

    def test_too_many_features_are_merged(self, monkeypatch):
        monkeypatch.setattr(reconstruction, "MAX_FEATURES", 100)
        model = Chain().conv(8).node("Relu").conv(16).node("Relu").conv(6).build()
        result, _ = compress(model, ratio=0.5)
        assert [o.plan.method for o in result.outcomes] == ["moments", "merge"]
        assert result.outcomes[1].plan.reason.startswith("more than 100 features; ")
        assert kept(compress(model, macs=0.8)[0])["conv2"] == 16


class TestRival:
    def test_merging_is_taken_where_it_is_better(self, monkeypatch):
        model = network()
        monkeypatch.setattr(Baseline, "_deviations", lambda *_: [25.0, 12.5])
        result, proto = compress(model, method="auto", ratio=0.5)
        assert any(
            note.startswith("method merge instead: on ")
            and note.endswith("the outputs deviate by 12.5 %, refitted by 25.0 %")
            for note in result.notes
        )
        assert {o.plan.method for o in result.outcomes} == {"merge"}
        expected, merged = compress(model, method="merge", ratio=0.5)
        assert [o.plan.kept for o in result.outcomes] == [o.plan.kept for o in expected.outcomes]
        assert proto == merged

    def test_it_keeps_as_many_channels(self, monkeypatch):
        model = network()
        monkeypatch.setattr(Baseline, "_deviations", lambda *_: [1.0, 0.0])
        result, _ = compress(model, method="auto", macs=0.5)
        expected, _ = compress(model, method="moments", macs=0.5)
        assert kept(result) == kept(expected)
        assert result.after.macs == expected.after.macs

    @pytest.mark.parametrize("errors", [(0.1, 0.2), (0.1, 0.1)])
    def test_else_refitting_is(self, monkeypatch, errors):
        model = network()
        monkeypatch.setattr(Baseline, "_deviations", lambda *_: list(errors))
        result, proto = compress(model, method="auto", ratio=0.5)
        (note,) = [note for note in result.notes if "outputs deviate" in note]
        assert re.match(
            r"on \d+ synthetic inputs kept to judge by the outputs deviate by 0.1 %", note
        )
        assert "; by method merge they would by 0." in note
        assert {o.plan.method for o in result.outcomes} == {"moments"}
        assert proto == compress(model, ratio=0.5)[1]

    def test_the_deviations_it_compares(self):
        model = network()
        graph = registry.open_graph(model)
        graphs = [compress(model, method=m, ratio=0.5)[1] for m in ("prune", "merge")]
        session = registry.runtime().session(graph.serialize(), providers=("cpu",))
        shown = from_data(dataset(100), session.inputs, 64)
        found = Baseline(graph, session, None, shown, ("cpu",))._deviations(
            [each.SerializeToString() for each in graphs]
        )
        x = np.concatenate([batch["input"] for batch in shown.batches])
        want, *others = (
            registry.runtime().session(each, providers=("cpu",)).run({"input": x})[0]
            for each in (graph.serialize(), *(each.SerializeToString() for each in graphs))
        )
        expected = [100 * np.linalg.norm(got - want) / np.linalg.norm(want) for got in others]
        np.testing.assert_allclose(found, expected, rtol=1e-4)

    def test_outputs_whose_shapes_differ_are_not_compared(self):
        chain = Chain(("n", 8)).gemm(16).node("Relu").gemm(12).node("Relu").node("NonZero")
        model = chain.node("Cast", to=onnx.TensorProto.FLOAT).build(check=False)
        result = nmcore.compress(model, ratio=0.5, samples=32, providers=("cpu",))
        assert "not compared with merging, as the shapes" in " ".join(result.notes)
        assert {o.plan.method for o in result.outcomes} == {"moments"}

    def test_asked_for_by_name_there_is_no_rival(self, monkeypatch):
        monkeypatch.setattr(Baseline, "better", None)
        result, _ = compress(network(), method="moments", ratio=0.5)
        assert not any("merg" in note for note in result.notes)


class TestNotMeasurable:
    """A model that runs on no input that nmcore makes, though its weights are plain."""

    @pytest.fixture
    def picky(self):
        chain = Chain(("n", "t")).node("Reshape", np.array([-1, 7]))
        chain.width = 7
        return chain.gemm(8).node("Relu").gemm(4).build()

    def test_auto_merges_and_says_so(self, picky):
        result = nmcore.compress(picky, ratio=0.5)
        assert {o.plan.method for o in result.outcomes} == {"merge"}
        (note,) = [note for note in result.notes if note.startswith("method merge instead")]
        assert "nothing can be measured" in note
        assert "\n" not in note
        assert kept(result) == {"gemm1": 4}

    def test_budgets_work_all_the_same(self, picky):
        result = nmcore.compress(picky, params=0.6)
        assert result.after.params <= 0.6 * result.before.params

    def test_asked_for_by_name_it_is_an_error(self, picky):
        with pytest.raises(ModelError, match="tried on random inputs"):
            nmcore.compress(picky, method="moments", ratio=0.5)

    @pytest.mark.parametrize("method", ["auto", "moments"])
    def test_data_makes_it_measurable(self, picky, method):
        data = Dataset("d", pictures(20, (2, 7)).reshape(20, 14))
        result = nmcore.compress(picky, method=method, ratio=0.5, data=data)
        assert "measured on 20 inputs of d" in result.notes

    def test_data_that_does_not_run_is_an_error(self, picky):
        data = Dataset("d", np.random.default_rng(0).random((20, 9), np.float32))
        with pytest.raises(ModelError):
            nmcore.compress(picky, ratio=0.5, data=data)
        with pytest.raises(NmcoreError, match="x has shape"):
            nmcore.compress(picky, ratio=0.5, data=Dataset("d", np.ones((2, 3, 4), np.float32)))


def test_a_wrong_cut_does_not_pass_verification(monkeypatch):
    from nmcore_onnx.rewrite import rewrite

    cut = rewrite._cut

    def reversed_rows(copy, trace, ledger, gone, narrowed):
        found = cut(copy, trace, ledger, gone, narrowed)
        place = trace.producers[0].place
        if place in found:
            found[place] = found[place][::-1]
        return found

    monkeypatch.setattr(rewrite, "_cut", reversed_rows)
    with pytest.raises(VerificationError, match="differs"):
        nmcore.compress(network(), method="moments", ratio=0.5, samples=8, verify=True)


def test_the_same_seed_gives_the_same_model():
    model = network(norm=True)
    one, same, other = (
        compress(model, ratio=0.5, seed=seed)[1].SerializeToString() for seed in (1, 1, 2)
    )
    assert one == same
    assert one != other


class TestWalk:
    def walk(self, model, real=False, count=16):
        graph = registry.open_graph(model)
        specs = registry.runtime().session(graph.serialize(), providers=("cpu",)).inputs
        shapes = [tuple(size or 1 for size in spec.shape) for spec in specs]
        found = dataclasses.replace(synthesise(specs, shapes, count), real=real)
        return Reconstruction(graph, registry.runtime(), found, ("cpu",))

    def test_curves(self):
        # With few inputs the pull of their scarcity adds to the error.
        walk = self.walk(residual().build(), count=64)
        curves = walk.curves.of(walk.graph.groups)
        assert list(curves) == [group.name for group in walk.graph.groups]
        for group in walk.graph.groups:
            curve = curves[group.name]
            assert curve.order.shape == curve.error.shape == (group.width - 1,)
            assert len(set(curve.order.tolist())) == group.width - 1
            assert (np.diff(curve.error, prepend=0) >= 0).all()
            assert 0 < curve.error[-1] < 1

    @pytest.mark.parametrize(
        ("norm", "share", "own"),
        [
            (False, 1, shrinkage.SYNTHETIC),
            (True, 1, 0.0),
            (False, 0, shrinkage.REAL),
            (True, 0, shrinkage.REAL),
            (True, 0.5, (shrinkage.REAL + shrinkage.SYNTHETIC) / 2),
        ],
    )
    def test_inputs_are_doubted_more_the_deeper_they_get(self, monkeypatch, norm, share, own):
        """But not where batch norms keep every channel as lively as it was in training."""
        walk = self.walk(network(norm=norm), share < 1)
        monkeypatch.setattr(shrinkage, "DEEP", 2)
        doubted = shrinkage.Shrinkage(walk.graph, share)
        gains = []
        for reading in walk.graph.readings():
            consumer = walk.graph.consumer(reading)
            outputs, features = len(consumer.weight), consumer.features
            seen = Moments(
                9.0,
                np.zeros(features),
                np.eye(features),
                np.zeros(outputs),
                np.ones(outputs),
                np.zeros((features, outputs)),
            )
            gains.append(doubted(seen, consumer, reading).covariance[0, 0] - 1)
        np.testing.assert_allclose(gains[:2], [own / 4, own], atol=1e-12)

    @pytest.mark.parametrize(("share", "doubted"), [(0, False), (0.5, False), (1, True)])
    def test_channels_that_data_leave_constant_are_not_doubted(self, share, doubted):
        walk = self.walk(network())
        reading = walk.graph.readings()[0]
        consumer = walk.graph.consumer(reading)
        features = consumer.features
        variance = np.append(np.ones(features - 1), 0)
        none = np.zeros(features)
        seen = Moments(9.0, none, np.diag(variance), none[:1], none[:1], consumer.matrix())
        found = shrinkage.Shrinkage(walk.graph, share)(seen, consumer, reading)
        assert found.covariance[0, 0] > 1
        assert (found.covariance[-1, -1] > 0) == doubted

    def test_curves_do_not_depend_on_how_many_are_measured_at_once(self, monkeypatch):
        walk = self.walk(residual().build())
        together = walk.curves.of(walk.graph.groups)
        monkeypatch.setattr(carrier, "PROBE_NUMBERS", 1)
        assert [len(chunk) for chunk in walk.curves._chunks(walk.graph.groups)] == [1, 1, 1]
        for name, curve in walk.curves.of(walk.graph.groups).items():
            np.testing.assert_array_equal(curve.order, together[name].order)
            np.testing.assert_allclose(curve.error, together[name].error, rtol=1e-5)

    def test_fewer_rows_tell_the_same_of_wide_layers(self, monkeypatch):
        """The pull towards the folded weights is that of the fit to come, which has more rows."""
        walk = self.walk(network(), real=True, count=64)
        whole = walk.curves.of(walk.graph.groups)
        monkeypatch.setattr(curves, "FEWEST_ROWS", 512)
        monkeypatch.setattr(curves, "ROWS_PER_FEATURE", 0)
        some = walk.curves.of(walk.graph.groups)
        first = walk.graph.groups[0].name
        assert not np.array_equal(some[first].error, whole[first].error)
        for name, curve in whole.items():
            assert 0.8 < (some[name].error / curve.error).mean() < 1.2

    def test_nothing_is_carried_any_more_once_the_walk_has_ended(self):
        walk = self.walk(residual().build(), count=64)
        groups = walk.graph.groups
        choices = {group.name: Choice(group.width // 2) for group in groups}
        choices |= walk.decided_before(groups, choices, {})[0]
        steps, held = walk.steps(groups), []
        for number, readings in enumerate(steps, start=1):
            later = [reading for each in steps[number:] for reading in each]
            for outcome in walk.choose(readings, later, choices):
                del choices[outcome.plan.name]
            held.append(sum(stream.held for stream in walk._runs._fitted.streams))
        assert min(held[:-1]) > 0
        walk.end()
        assert not any(stream.start for stream in walk._runs._fitted.streams)

    def test_streams_are_chosen_by_their_curves(self):
        """Others, all of whose consumers stand at one place, are not decided before."""
        walk = self.walk(residual().build(), count=64)
        groups, known = walk.graph.groups, walk.curves.of(walk.graph.groups)
        choices = {group.name: Choice(group.width // 2) for group in groups}
        decided, measured = walk.decided_before(groups, choices, {})
        (stream,) = decided
        assert stream == groups[0].name
        assert list(measured) == [stream]
        np.testing.assert_array_equal(decided[stream].kept, known[stream].kept(3))
        choices[stream] = Choice(3, np.array([0, 1, 2]))
        assert walk.decided_before(groups, choices, {}) == ({}, {})

    def test_an_error_of_one_is_all_that_the_consumer_gives(self):
        """Scaling a consumer or what it reads changes no curve: errors are relative."""
        plain = Chain().conv(6).node("Relu").conv(4)
        scaled = Chain().conv(6).node("Relu").conv(4)
        for index in (2, 3):
            tensor = scaled.initializers[index]
            tensor.CopyFrom(
                numpy_helper.from_array(100 * numpy_helper.to_array(tensor), tensor.name)
            )
        curves = [self.walk(each.build()) for each in (plain, scaled)]
        one, two = (walk.curves.of(walk.graph.groups)["conv1"] for walk in curves)
        np.testing.assert_array_equal(one.order, two.order)
        np.testing.assert_allclose(one.error, two.error, rtol=1e-4)

    @pytest.mark.parametrize("real", [False, True])
    def test_batch_norms_are_replaced_for_made_inputs_only(self, monkeypatch, real):
        walk = self.walk(network(norm=True), real)
        seen = []
        monkeypatch.setattr(walk.graph, "set_norms", seen.append)
        walk.prepare()
        assert len(seen) == (0 if real else 1)
        if seen:
            assert [each.size for each in seen[0]] == [12, 12, 16, 16]


def test_a_layer_that_never_fires():
    chain = Chain().conv(8).node("Relu").conv(4)
    bias = chain.initializers[1]
    bias.CopyFrom(numpy_helper.from_array(np.full(8, -1000, "f4"), bias.name))
    model = chain.build()
    for options in ({"ratio": 0.5}, {"macs": 0.5}):
        _, proto = compress(model, **options)
        x = {"input": pictures(2)}
        np.testing.assert_allclose(run(proto, x)[0], run(model, x)[0], atol=1e-6)


def test_numbers_that_are_none_in_the_data():
    x = pictures()
    x[3, 0, 0, 0] = np.nan
    with pytest.raises(NmcoreError):
        nmcore.compress(network(), method="moments", ratio=0.5, data=Dataset("d", x))


def test_samples_below_one():
    with pytest.raises(NmcoreError, match="samples"):
        nmcore.compress(network(), ratio=0.5, data=dataset(), samples=-1)


def test_a_bias_of_several_rows_is_left_alone():
    chain = Chain((2, 6)).gemm(8).node("Relu")
    model = chain.node("Gemm", chain.weight(4, 8), np.full((2, 4), 5, "f4"), transB=1).build()
    graph = registry.open_graph(model)
    assert not graph.groups
    assert "differs between inputs" in graph.declined[0].reason


@pytest.mark.parametrize("factor", ["alpha", "beta"])
def test_a_product_or_bias_that_is_switched_off_is_left_alone(factor):
    model = Chain(("n", 6)).gemm(8).node("Relu").gemm(4, **{factor: 0.0}).build()
    graph = registry.open_graph(model)
    assert not graph.groups
    assert "switched off" in graph.declined[0].reason


class TestPairs:
    """Fully connected layers around a cut are fitted together, on calibration data."""

    def network(self, between=None):
        """Three layers, the first of which reads pictures of 16 by 16; Relus between them."""
        chain = Chain(("n", 1, 16, 16), seed=3).node("Flatten").gemm(24, features=256)
        chain.node("Relu").gemm(20)
        if between is None:
            chain.node("Relu")
        else:
            between(chain)
        return chain.gemm(5).build()

    def data(self, count, seed):
        return Dataset("made up", pictures(count, (1, 16, 16), seed=seed))

    def shrunk(self, **options):
        return compress(self.network(), ratio=0.6, **options)[1]

    @pytest.fixture
    def fitted(self, monkeypatch):
        """The rows of every pair that is fitted."""
        seen = []
        original = pair_refit.refit_pair

        def refit_pair(features, wanted, layers, **options):
            seen.append((len(features), len(wanted)))
            return original(features, wanted, layers, **options)

        monkeypatch.setattr(pair_refit, "refit_pair", refit_pair)
        return seen

    def test_the_outputs_of_unseen_inputs_move_less(self, monkeypatch):
        unseen = self.data(2000, 1).arrays["x"]
        found = error(self.network(), self.shrunk(data=self.data(64, 0)), unseen)
        monkeypatch.setattr(PairRefit, "__call__", lambda *given: None)
        alone = error(self.network(), self.shrunk(data=self.data(64, 0)), unseen)
        assert found < 0.95 * alone

    def test_vectors_have_no_copies_and_their_layers_are_fitted_one_by_one(self, fitted):
        chain = Chain(("n", 12), seed=3).gemm(24).node("Relu").gemm(20).node("Relu").gemm(5)
        x = np.random.default_rng(0).standard_normal((64, 12)).astype(np.float32)
        compress(chain.build(), ratio=0.6, data=Dataset("made up", x))
        assert fitted == []

    def test_what_mixes_channels_is_not_fitted_through(self, fitted):
        def doubled(chain):
            made = chain.value
            negative = chain.raw("Neg", made).value
            chain.raw("Concat", made, negative, axis=1).node("Relu")
            chain.width *= 2

        compress(self.network(doubled), ratio=0.5, data=self.data(16, 0))
        assert fitted == []
        compress(self.network(), ratio=0.5, data=self.data(16, 0))
        assert fitted == [(9 * 16, 9 * 16)]

    def test_a_batch_that_is_fixed_between_layers_is_left_alone(self, fitted):
        def fixed(chain):
            chain.node("Relu").node("Reshape", np.array([1, 1, 20])).node(
                "Reshape", np.array([1, 20])
            )

        network = Chain((1, 1, 16, 16), seed=3).node("Flatten").gemm(24, features=256)
        network.node("Relu").gemm(20)
        fixed(network)
        compress(network.gemm(5).build(), ratio=0.5, data=self.data(16, 0))
        assert fitted == []

    def test_several_rows_an_input_are_no_pair(self, fitted):
        chain = Chain(("n", 1, 16, 16), seed=3).node("Reshape", np.array([-1, 16]))
        chain.gemm(24, features=16).node("Relu").gemm(20).node("Relu").gemm(5)
        compress(chain.build(), ratio=0.5, data=self.data(16, 0))
        assert fitted == []

    @pytest.mark.parametrize("dtype", [np.float16, np.float64])
    def test_constants_of_another_type_between_layers(self, fitted, dtype):
        chain = Chain(("n", 1, 16, 16), seed=3, dtype=dtype).node("Flatten")
        chain.gemm(24, features=256).node("Relu").gemm(20).node("Mul", np.array(0.5, dtype))
        data = Dataset("made up", self.data(16, 0).arrays["x"].astype(dtype))
        compress(chain.node("Relu").gemm(5).build(), ratio=0.5, data=data)
        assert fitted == []

    def test_layers_that_read_merged_channels_stay_as_they_are(self, fitted, monkeypatch):
        monkeypatch.setattr(reconstruction, "MAX_FEATURES", 22)
        result, _ = compress(self.network(), ratio=0.5, data=self.data(16, 0))
        assert {o.plan.method for o in result.outcomes} == {"merge", "moments"}
        assert fitted == []

    def test_on_synthetic_pictures_too(self, fitted):
        result, _ = compress(self.network(), ratio=0.7)
        assert sum(kept(result).values()) == 7 + 6
        assert len(fitted) == 1

    def test_pictures_are_shown_with_their_copies_where_these_can_be_afforded(
        self, fitted, monkeypatch
    ):
        chain = Chain(("n", 1, 16, 16), seed=3).conv(2).node("Relu").node("Flatten")
        model = chain.gemm(6, features=2 * 14 * 14).node("Relu").gemm(3).build()
        data = Dataset("made up", pictures(10, (1, 16, 16)))
        compress(model, ratio=0.5, data=data)
        assert fitted == [(90, 90)]
        for limit in ("PAIR_WORK", "_PAIR_NUMBERS"):
            with monkeypatch.context() as patch:
                patch.setattr(pair_refit, limit, 0)
                compress(model, ratio=0.5, data=data)
        assert fitted == [(90, 90)]
