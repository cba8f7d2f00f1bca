"""What a graph tells of its inputs: constants, batch norms and fully connected layers in front."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from chain import Chain
from nmcore.calibration.collect import Inputs, calibration_set_for
from nmcore.data.normalisation import Normalisation
from nmcore.plugins import registry

MEAN = np.array([0.5, 0.4, 0.3], np.float32).reshape(3, 1, 1)
STD = np.array([0.2, 0.25, 0.5], np.float32).reshape(1, 3, 1, 1)


def half(value):
    return np.array(value, np.float32)


def hint_of(model):
    return registry.open_graph(model).input_hints().get("input")


def convolved(chain):
    return chain.conv(4).node("Relu").conv(3).build()


def weight_of(model, name):
    (node,) = [node for node in model.graph.node if node.name == name]
    arrays = {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}
    return arrays[node.input[1]]


def prepared(model, x):
    """What the model's first convolution or fully connected layer reads."""
    (node,) = [n for n in model.graph.node if n.op_type in ("Conv", "Gemm", "MatMul")][:1]
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    del shown.graph.output[:]
    shown.graph.output.add().name = node.input[0]
    return (
        registry.runtime()
        .session(shown.SerializeToString(), providers=("cpu",))
        .run({"input": x})[0]
    )


class TestConstants:
    @pytest.mark.parametrize(
        "steps",
        [
            [("Sub", MEAN), ("Div", STD)],
            [("Sub", half(127)), ("Div", half(128))],
            [("Div", half(127.5)), ("Sub", half(1))],
            [("Mul", half(2)), ("Add", half(-1))],
            [("Mul", half([1 / 255])), ("Identity",), ("Sub", MEAN), ("Mul", 1 / STD)],
        ],
    )
    def test_the_mean_and_the_deviation_that_become_standard(self, steps):
        chain = Chain()
        for op, *constant in steps:
            chain.node(op, *constant)
        model = convolved(chain)
        hint = hint_of(model)
        assert not hint.measured
        assert hint.weight is None
        at = [np.broadcast_to(hint.mean + k * hint.std, (1, 3, 8, 8)) for k in (0, 1)]
        mean, one = (prepared(model, x.astype(np.float32)) for x in at)
        np.testing.assert_allclose(mean, 0, atol=1e-4)
        np.testing.assert_allclose(np.abs(one), 1, rtol=1e-4)

    def test_a_constant_less_the_input(self):
        chain = Chain()
        chain.raw("Sub", chain.constant(half(1)), "input")
        hint = hint_of(convolved(chain))
        assert (hint.mean, hint.std) == (1, 1)

    @pytest.mark.parametrize(
        "steps",
        [
            [],
            [("Identity",)],
            [("Relu",)],
            [("Add", np.ones((3, 8, 8), np.float32))],
            [("Mul", half(0))],
            [("Add", half(np.inf))],
        ],
    )
    def test_nothing_to_tell(self, steps):
        chain = Chain()
        for op, *constant in steps:
            chain.node(op, *constant)
        assert hint_of(convolved(chain)) is None

    def test_what_follows_something_else_is_not_read(self):
        hint = hint_of(convolved(Chain().node("Sub", half(2)).node("Relu").node("Div", half(9))))
        assert (hint.mean, hint.std) == (2, 1)

    def test_an_input_with_two_readers_tells_nothing(self):
        chain = Chain().node("Sub", half(2))
        chain.raw("Add", chain.value, "input")
        assert hint_of(convolved(chain)) is None


class TestBatchNorm:
    def test_its_statistics_behind_constants(self):
        chain = Chain().node("Div", half(255))
        norm = [half([1, 2, 3]), half([0, 0, 1]), half([0.5, 0.4, 0.3]), half([0.04, 0.09, 0.25])]
        hint = hint_of(convolved(chain.node("BatchNormalization", *norm, epsilon=0.0)))
        assert hint.measured
        np.testing.assert_allclose(hint.mean.ravel(), 255 * norm[2], rtol=1e-6)
        np.testing.assert_allclose(hint.std.ravel(), 255 * np.sqrt(norm[3]), rtol=1e-6)
        assert hint.mean.shape == hint.std.shape == (3, 1, 1)


class TestFirstLayer:
    @pytest.mark.parametrize("transposed", [0, 1])
    @pytest.mark.parametrize("flatten", [True, False])
    def test_its_rows(self, transposed, flatten):
        chain = Chain(("n", 1, 4, 5) if flatten else ("n", 20))
        if flatten:
            chain.node("Flatten")
        model = chain.gemm(7, 20, transB=transposed).node("Relu").gemm(3).build()
        weight = weight_of(model, "gemm1")
        assert np.array_equal(hint_of(model).weight, weight if transposed else weight.T)

    def test_reshapes_that_flatten_and_matmul(self):
        chain = Chain(("n", 2, 10)).node("Reshape", np.array([-1, 20]))
        chain.width = 20
        model = chain.matmul(7).node("Relu").matmul(3).build()
        assert np.array_equal(hint_of(model).weight, weight_of(model, "matmul1").T)

    def test_with_its_preprocessing(self):
        chain = Chain(("n", 3, 2, 2)).node("Sub", MEAN).node("Flatten")
        hint = hint_of(chain.gemm(7, 12).node("Relu").gemm(3).build())
        assert hint.weight.shape == (7, 12)
        assert np.array_equal(hint.mean, MEAN)

    def test_not_where_it_reads_less_than_the_input(self):
        chain = Chain(("n", 5, 6))
        chain.width = 6
        assert hint_of(chain.matmul(7).node("Relu").matmul(3).build()) is None


class TestMade:
    """Inputs made for a model follow what it tells."""

    def shown(self, model, inputs):
        graph = registry.open_graph(model)
        session = registry.runtime().session(graph.serialize(), providers=("cpu",))
        return calibration_set_for(graph, session, inputs, seed=0)

    def made(self, model, count=64):
        return self.shown(model, Inputs(samples=count))

    def pictures(self, *steps):
        chain = Chain(("n", 3, 16, 16))
        for op, *constant in steps:
            chain.node(op, *constant)
        found = self.made(convolved(chain))
        return np.concatenate([batch["input"] for batch in found.batches])

    def test_pixels_up_to_255(self):
        x = self.pictures(("Sub", half(127)), ("Div", half(128)))
        assert x.min() >= 0
        assert 200 < x.max() <= 255

    def test_pixels_up_to_1(self):
        x = self.pictures(("Sub", MEAN), ("Div", STD))
        assert x.min() >= 0
        assert 0.8 < x.max() <= 1

    def test_statistics_of_a_batch_norm(self):
        mean, var = half([-3, 40, 0]), half([4, 100, 1])
        x = self.pictures(("BatchNormalization", half([1] * 3), half([0] * 3), mean, var))
        plain = self.pictures(("Relu",)).mean((0, 2, 3))
        wanted = mean + np.sqrt(var + 1e-5) * plain
        np.testing.assert_allclose(x.mean((0, 2, 3)), wanted, rtol=1e-3)

    def test_options_come_before_hints(self):
        model = convolved(Chain(("n", 3, 16, 16)).node("Sub", half(127)))
        inputs = Inputs(samples=16, normalisation=Normalisation(255.0))
        (batch,) = self.shown(model, inputs).batches
        assert batch["input"].max() <= 1

    def test_tables(self):
        chain = Chain(("n", 6)).node("Sub", half(50)).node("Div", half([1, 2, 3, 4, 5, 6]))
        chain.node("Relu").gemm(5).node("Relu").gemm(3)
        (batch,) = self.made(chain.build()).batches
        np.testing.assert_allclose(batch["input"].mean(0), 50, atol=3)
        np.testing.assert_allclose(batch["input"].std(0), [1, 2, 3, 4, 5, 6], rtol=0.3)

    def test_mixtures_of_rows_lie_where_the_rows_do(self):
        weight = np.zeros((6, 20), np.float32)
        weight[:, :5] = np.random.default_rng(0).standard_normal((6, 5))
        chain = Chain(("n", 1, 4, 5)).node("Flatten").node("Gemm", weight, transB=1)
        chain.width = 6
        (batch,) = self.made(chain.node("Relu").gemm(3).build()).batches
        power = np.square(batch["input"].reshape(64, 20)).mean(0)
        assert power[:5].mean() > 3 * power[5:].mean()
        assert power.mean() == pytest.approx(1, abs=0.2)

    @pytest.mark.parametrize(
        ("chain", "words"),
        [
            (Chain(("n", 6)).gemm(4).node("Relu").gemm(3), "rows of the first layer"),
            (Chain().node("Sub", half(2)).conv(3).node("Relu").conv(2), "the model prepares"),
            (Chain().conv(3).node("Relu").conv(2), "8 synthetic inputs"),
        ],
    )
    def test_the_source_says_so(self, chain, words):
        assert self.made(chain.build(), 8).source.endswith(words)
