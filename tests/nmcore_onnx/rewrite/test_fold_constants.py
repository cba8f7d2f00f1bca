"""Weights that are computed from constants alone: channels go as from any weight."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

import nmcore
from chain import Chain, run
from nmcore_onnx import backend


def computed(chain, *steps):
    """What the steps, of an operator, its inputs and its attributes, make of the last one's."""
    value = None
    for op, inputs, attributes in steps:
        names = [each if isinstance(each, str) else chain.constant(each) for each in inputs]
        before = chain.value
        chain.raw(op, *([] if value is None else [value]), *names, **attributes)
        value, chain.value = chain.value, before
    return value


def ints(*numbers):
    return np.array(numbers, np.int64)


def normalised(chain, weight):
    """Weight normalisation: v g / |v|."""
    v, size = chain.constant(weight), chain.rng.uniform(0.7, 1.4, (len(weight), 1, 1, 1))
    norm = computed(chain, ("ReduceL2", [v], {"axes": [1, 2, 3], "keepdims": 1}))
    factor = computed(chain, ("Div", [size.astype("f4"), norm], {}))
    return computed(chain, ("Mul", [v, factor], {}))


def standardised(chain, weight):
    v = chain.constant(weight)
    mean = computed(chain, ("ReduceMean", [v], {"axes": [1, 2, 3]}))
    rest = computed(chain, ("Sub", [v, mean], {}))
    power = computed(chain, ("Mul", [rest, rest], {}), ("ReduceMean", [], {"axes": [1, 2, 3]}))
    return computed(chain, ("Div", [rest, computed(chain, ("Sqrt", [power], {}))], {}))


def by_batch_norm(chain, weight):
    """Weight standardisation as the layers of nfnet and BiT write it."""
    width = len(weight)
    row = weight.reshape(1, width, -1)
    one, zero = np.ones(width, "f4"), np.zeros(width, "f4")
    return computed(
        chain,
        ("InstanceNormalization", [row, one, zero], {"epsilon": 1e-6}),
        ("Reshape", [ints(*weight.shape)], {}),
    )


WAYS = {
    "norm": normalised,
    "standardisation": standardised,
    "instance norm": by_batch_norm,
    "half": lambda chain, w: computed(
        chain, ("Cast", [w.astype(np.float16)], {"to": TensorProto.FLOAT})
    ),
    "factor": lambda chain, w: computed(chain, ("Mul", [w, np.float32(0.5)], {})),
    "reshape": lambda chain, w: computed(
        chain, ("Reshape", [w.ravel(), ints(*w.shape)], {}), ("Identity", [], {})
    ),
    "turned": lambda chain, w: computed(
        chain,
        ("Transpose", [np.ascontiguousarray(w.transpose(2, 3, 1, 0))], {"perm": [3, 2, 0, 1]}),
        ("Mul", [np.float32(2)], {}),
    ),
}


def network(make):
    chain = Chain()
    for width in (16, 8, 4):
        weight = make(chain, chain.weight(width, chain.width, 3, 3))
        bias = computed(chain, ("Reshape", [chain.weight(width, 1), ints(width)], {}))
        chain.raw("Conv", chain.value, weight, bias).node("Relu")
        chain.width = width
    return chain.node("GlobalAveragePool").node("Flatten").gemm(3).build()


@pytest.mark.parametrize("way", WAYS)
def test_channels_go(way):
    model = network(WAYS[way])
    plain = network(lambda chain, weight: chain.constant(weight))
    graph = backend.open(model)
    assert {g.name: g.width for g in graph.groups} == {"conv1": 16, "conv2": 8, "conv3": 4}
    for group in graph.groups:
        assert group == next(g for g in backend.open(plain).groups if g.name == group.name)
    result = nmcore.compress(model, ratio=0.5, method="merge", verify=True)
    small = ir.to_proto(result.model)
    onnx.checker.check_model(small, full_check=True)
    left = {"Cast"} if way == "half" else set()  # stored as it was, in half precision
    assert {node.op_type for node in small.graph.node} - left == {
        *("Conv", "Relu", "GlobalAveragePool", "Flatten", "Gemm")
    }
    used = {name for node in small.graph.node for name in node.input}
    assert {tensor.name for tensor in small.graph.initializer} <= used


@pytest.mark.parametrize("way", WAYS)
def test_what_is_folded_is_what_the_runtime_computes(way):
    """Nothing is removed but one channel of zeros, which changes nothing."""

    def make(chain, weight):
        made = WAYS[way](chain, weight)
        mask = np.ones((len(weight), 1, 1, 1), "f4")
        mask[-1] = 0
        return computed(chain, ("Mul", [made, mask], {}))

    model = network(make)
    for tensor in model.graph.initializer:  # the biases too
        if list(tensor.dims) in ([16, 1], [8, 1], [4, 1]):
            bias = numpy_helper.to_array(tensor).copy()
            bias[-1] = 0
            tensor.CopyFrom(numpy_helper.from_array(bias, tensor.name))
    kept = {"conv1": range(15), "conv2": range(7), "conv3": range(3)}
    result = nmcore.compress(
        model, plan={"groups": {k: list(v) for k, v in kept.items()}}, method="prune", verify=True
    )
    x = np.random.default_rng(0).standard_normal((4, 3, 8, 8)).astype("f4")
    before, after = (run(each, {"input": x})[0] for each in (model, ir.to_proto(result.model)))
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-5 * np.abs(before).max())


def test_without_a_cut_nothing_is_folded():
    model = network(normalised)
    result = nmcore.compress(model, ratio=0.0, method="merge")
    x = np.random.default_rng(0).standard_normal((4, 3, 8, 8)).astype("f4")
    before, after = (run(each, {"input": x})[0] for each in (model, ir.to_proto(result.model)))
    np.testing.assert_array_equal(before, after)
    assert len(result.model.graph) == len(model.graph.node)


def test_a_weight_that_one_number_makes():
    chain = Chain(("n", 6)).gemm(8).node("Relu")
    value = helper.make_tensor("value", TensorProto.FLOAT, [1], [0.25])
    weight = computed(chain, ("ConstantOfShape", [ints(8, 5)], {"value": value}))
    model = chain.raw("MatMul", chain.value, weight).build()
    result = nmcore.compress(model, ratio=0.5, method="merge", verify=True)
    assert [len(o.plan.kept) for o in result.outcomes] == [4]


def test_what_asks_for_too_much_is_left_alone():
    chain = Chain(("n", 6)).gemm(8).node("Relu")
    value = helper.make_tensor("value", TensorProto.FLOAT, [1], [0.25])
    weight = computed(chain, ("ConstantOfShape", [ints(8, 2**40)], {"value": value}))
    graph = backend.open(chain.raw("MatMul", chain.value, weight).build())
    assert not graph.groups


def test_what_is_quantised_stays_so():
    chain = Chain(("n", 6)).gemm(8).node("Relu")
    whole, shape = np.ones((40,), np.int8), np.array([8, 5])
    weight = computed(chain, ("DequantizeLinear", [whole, np.float32(0.1), np.int8(0)], {}))
    weight = computed(chain, ("Reshape", [weight, shape], {}))
    graph = backend.open(chain.raw("MatMul", chain.value, weight).build())
    assert not graph.groups
    assert any("quantised" in each.reason for each in graph.declined)


def test_a_random_weight_is_computed_while_the_model_runs():
    chain = Chain(("n", 6)).gemm(8).node("Relu")
    weight = computed(chain, ("RandomNormal", [], {"shape": [8, 5]}))
    graph = backend.open(chain.raw("MatMul", chain.value, weight).build())
    assert not graph.groups


@pytest.mark.parametrize("ir_version", [3, 8])
def test_weights_that_are_listed_as_inputs(ir_version):
    """As the classic MNIST file: the weight of the last layer is reshaped while the model runs."""
    chain = Chain(opset=8).conv(8).node("Relu").node("Flatten")
    weight = computed(chain, ("Reshape", [chain.weight(8, 6, 6, 5), ints(288, 5)], {}))
    model = chain.raw("MatMul", chain.value, weight).build()
    for tensor in model.graph.initializer:
        info = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        model.graph.input.append(info)
    model.ir_version = ir_version
    result = nmcore.compress(model, ratio=0.5, method="moments", verify=True)
    small = ir.to_proto(result.model)
    onnx.checker.check_model(small, full_check=True)
    assert {value.name for value in small.graph.input} <= {
        "input",
        *(tensor.name for tensor in small.graph.initializer),
    }
    assert "Reshape" not in {node.op_type for node in small.graph.node}
