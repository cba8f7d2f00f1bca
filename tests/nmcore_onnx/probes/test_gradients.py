"""Derivatives against differences of what the runtime computes."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from chain import Chain, run
from nmcore_onnx import cost
from nmcore_onnx.ir.builder import Builder
from nmcore_onnx.probes.gradients import backpropagate, is_differentiable
from nmcore_onnx.storage import files


def opened(chain):
    model = ir.from_proto(chain.build())
    return model, cost.assumed_shapes(model, {})


def is_known(chain):
    """Whether the output can be differentiated with respect to the input."""
    model, shapes = opened(chain)
    return is_differentiable(list(model.graph), list(model.graph.inputs), shapes)


def check(chain, x, seed=0):
    """The derivative with respect to the input, against central differences in some direction."""
    assert is_known(chain)
    model, shapes = opened(chain)
    graph, (read,), (output,) = model.graph, model.graph.inputs, model.graph.outputs
    weights = ir.Value(name="weights", type=ir.TensorType(ir.DataType.FLOAT))
    nodes = list(graph)
    graph.inputs.append(weights)
    found = backpropagate(Builder(graph), nodes, [read], output, weights, shapes)[read]
    found.type = ir.TensorType(ir.DataType.FLOAT)
    graph.outputs.append(found)
    rng = np.random.default_rng(seed)
    plain = chain.build()
    w, direction = (
        rng.standard_normal(array.shape).astype(np.float32)
        for array in (run(plain, {"input": x})[0], x)
    )
    derivative = run(files.serialize(model), {"input": x, "weights": w})[1]
    assert derivative.shape == x.shape
    step = np.float32(1e-2)
    ahead, behind = (
        np.sum(run(plain, {"input": x + sign * step * direction})[0] * w, dtype=np.float64)
        for sign in (1, -1)
    )
    expected = (ahead - behind) / (2 * step)
    scale = np.linalg.norm(derivative) * np.linalg.norm(direction)
    np.testing.assert_allclose(np.sum(derivative * direction), expected, atol=1e-3 * scale)


def away_from_kinks(shape, seed=1):
    """Numbers of either sign that no small step takes across 0 or another whole number."""
    rng = np.random.default_rng(seed)
    whole, rest = rng.integers(-2, 2, shape), rng.uniform(0.2, 0.8, shape)
    return (whole + rest).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(
    groups=st.sampled_from([1, 2, 4]),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilations=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    pads=st.tuples(*[st.integers(0, 2)] * 4),
    sizes=st.tuples(st.integers(5, 9), st.integers(5, 9)),
    auto_pad=st.sampled_from(["NOTSET", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]),
)
def test_convolutions(groups, kernel, strides, dilations, pads, sizes, auto_pad):
    options = {"auto_pad": auto_pad} if auto_pad != "NOTSET" else {"pads": pads}
    # The runtime has no automatic padding for dilated filters.
    assume(auto_pad == "NOTSET" or dilations == (1, 1))
    chain = Chain(("n", 4, *sizes)).conv(
        8, kernel, group=groups, strides=strides, dilations=dilations, **options
    )
    check(chain, away_from_kinks((2, 4, *sizes)))


@pytest.mark.parametrize("sizes", [(7,), (4, 5, 6)], ids=["one axis", "three axes"])
def test_convolutions_of_other_ranks(sizes):
    chain = Chain(("n", 4, *sizes)).conv(3, 3, strides=[2] * len(sizes))
    check(chain, away_from_kinks((2, 4, *sizes)))


def gate(chain):
    """A gate that is the same at every position."""
    before = chain.value
    gate = chain.node("GlobalAveragePool").node("Sigmoid").value
    return chain.raw("Mul", before, gate)


def doubled(chain):
    return chain.raw("Add", chain.value, chain.value)


CASES = {
    "Relu": lambda chain: chain.node("Relu"),
    "Clip": lambda chain: chain.node("Clip", np.float32(-1), np.float32(1)),
    "Clip without a bound": lambda chain: chain.node("Clip", np.float32(-1)),
    "LeakyRelu": lambda chain: chain.node("LeakyRelu", alpha=0.3),
    "Sigmoid": lambda chain: chain.node("Sigmoid"),
    "Tanh": lambda chain: chain.node("Tanh"),
    "Identity": lambda chain: chain.node("Identity"),
    "a constant for each channel": lambda chain: chain.node("Mul", chain.weight(3, 1, 1)[None]),
    "minus": lambda chain: chain.raw("Sub", chain.constant(np.ones((1, 3, 1, 1), "f")), "input"),
    "the same twice": doubled,
    "a square": lambda chain: chain.raw("Mul", "input", "input"),
    "a gate": gate,
    "BatchNormalization": lambda chain: chain.batch_norm(),
    "Flatten, Gemm": lambda chain: chain.node("Flatten").gemm(5, features=48),
    "Gemm as stored": lambda chain: chain.node("Flatten").gemm(5, features=48, transB=0),
    "Reshape": lambda chain: chain.node("Reshape", np.array([0, 12, -1])).node("Tanh"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_operators(case):
    check(case(Chain(("n", 3, 4, 4))), away_from_kinks((2, 3, 4, 4)))


@pytest.mark.parametrize(
    "case",
    [
        lambda chain: chain.node("Softmax"),
        lambda chain: chain.node("MaxPool", kernel_shape=[2, 2]),
        lambda chain: chain.node("Flatten").gemm(5, features=48, alpha=2.0),
    ],
    ids=["Softmax", "MaxPool", "Gemm with a factor"],
)
def test_others_are_told_apart(case):
    assert not is_known(case(Chain(("n", 3, 4, 4))))
