"""Which groups the tracer finds, and what it says of the rest."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from chain import Chain
from nmcore_onnx import backend


def groups(model):
    graph = backend.open(model)
    return {group.name: group for group in graph.groups}


def reasons(model):
    return {place.node: place.reason for place in backend.open(model).declined}


UNARY = [
    *["Relu", "LeakyRelu", "Elu", "Selu", "Celu", "Tanh", "Softsign", "Softplus"],
    *["Sigmoid", "HardSigmoid", "HardSwish", "Identity", "Dropout"],
]


@pytest.mark.parametrize("op", UNARY)
def test_activations_pass(op):
    found = groups(Chain().conv(8).node(op).conv(4).build())
    assert list(found) == ["conv1"]
    assert found["conv1"].width == 8
    assert found["conv1"].consumers == ["conv2"]


@pytest.mark.parametrize(("op", "opset"), [("Mish", 18), ("Gelu", 20)])
def test_newer_activations_pass(op, opset):
    assert list(groups(Chain(opset=opset).conv(8).node(op).conv(4).build())) == ["conv1"]


@pytest.mark.parametrize("op", ["Sigmoid", "HardSigmoid"])
def test_swish_written_as_two_nodes_passes(op):
    chain = Chain().conv(8)
    before = chain.value
    chain.node(op)
    chain.raw("Mul", before, chain.value).conv(4)
    assert list(groups(chain.build())) == ["conv1"]


def test_gelu_written_with_erf_passes():
    chain = Chain(("n", 16)).matmul(32)
    before = chain.value
    chain.node("Div", np.float32(np.sqrt(2))).node("Erf").node("Add", np.float32(1))
    chain.raw("Mul", before, chain.value).node("Mul", np.float32(0.5)).matmul(4)
    assert list(groups(chain.build())) == ["matmul1"]


@pytest.mark.parametrize(
    ("op", "inputs", "attributes"),
    [
        ("MaxPool", [], {"kernel_shape": [2, 2]}),
        ("AveragePool", [], {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("Pad", [np.array([0, 0, 1, 1, 0, 0, 1, 1])], {}),
        ("Clip", [np.float32(0), np.float32(6)], {}),
        ("PRelu", [np.full((8, 1, 1), 0.1, np.float32)], {}),
        ("PRelu", [np.full(1, 0.1, np.float32)], {}),
        ("Cast", [], {"to": onnx.TensorProto.FLOAT}),
    ],
)
def test_other_operators_pass(op, inputs, attributes):
    chain = Chain().conv(8, pads=[1, 1, 1, 1]).node(op, *inputs, **attributes).conv(4)
    assert list(groups(chain.build())) == ["conv1"]


@pytest.mark.parametrize(
    "target",
    [np.array([0, -1]), np.array([-1, 8 * 36]), np.array([0, 8 * 36])],
    ids=["zero-and-rest", "rest-and-number", "zero-and-number"],
)
def test_reshape_that_flattens(target):
    chain = Chain().conv(8).node("Reshape", target).gemm(5, features=8 * 36)
    assert list(groups(chain.build())) == ["conv1"]


def test_reshape_with_shape_arithmetic():
    chain = Chain().conv(8).node("GlobalAveragePool")
    pooled = chain.value
    chain.raw("Shape", pooled).node("Gather", np.array(0)).node("Unsqueeze", np.array([0]))
    chain.node("Concat", np.array([-1]), axis=0)
    chain.raw("Reshape", pooled, chain.value).gemm(5)
    assert list(groups(chain.build())) == ["conv1"]


def test_a_reshape_that_splits_channels_makes_blocks():
    chain = Chain().conv(8).node("Reshape", np.array([0, 2, 4, 36])).node("Relu")
    chain.node("Reshape", np.array([0, 8, 6, 6])).conv(4)
    (group,) = groups(chain.build()).values()
    assert (group.width, group.block) == (2, 4)


def test_counting_channels_is_declined():
    chain = Chain().conv(8)
    before = chain.value
    chain.raw("Shape", before).node("Gather", np.array(1)).node("Cast", to=1).node("Sqrt")
    chain.raw("Div", before, chain.value).conv(4)
    assert "counts them" in reasons(chain.build())["conv1"]


def test_a_residual_sum_couples_its_channels():
    chain = Chain().conv(8, pads=[1] * 4)
    trunk = chain.value
    chain.conv(6, pads=[1] * 4).node("Relu").conv(8, pads=[1] * 4)
    chain.raw("Add", chain.value, trunk).conv(4)
    model = chain.build()
    found = groups(model)
    assert list(found) == ["conv1", "conv2"]
    assert found["conv1"].producers == ["conv1", "conv3"]
    assert found["conv1"].consumers == ["conv2", "conv4"]
    assert set(reasons(model)) == {"conv4"}
    assert "output" in reasons(model)["conv4"]


def test_shared_weights_are_declined():
    chain = Chain().conv(3)
    shared = chain.nodes[0].input[1]
    chain.node("Relu").node("Conv", shared)
    assert "share" in reasons(chain.build())["conv1"]


def test_weight_from_an_input_is_declined():
    chain = Chain().conv(8).raw("Conv", "conv1_out", "w")
    model = chain.build(check=False)
    model.graph.input.append(helper.make_tensor_value_info("w", 1, [4, 8, 3, 3]))
    assert "while the model runs" in reasons(model)["conv2"]
    assert "conv1" in reasons(model)


def test_unknown_operator_is_declined():
    chain = Chain().conv(8).node("Mystery").conv(4)
    chain.nodes[1].domain = "some.where"
    model = chain.build(check=False)
    model.opset_import.append(helper.make_opsetid("some.where", 1))
    assert "Mystery" in reasons(model)["conv1"]


def test_every_weighted_node_is_grouped_or_declined():
    chain = Chain().conv(8, pads=[1] * 4)
    chain.node("ConvTranspose", chain.weight(8, 4, 2, 2))
    chain.width = 4
    chain.conv(8).node("Softmax", axis=1).conv(4, group=2)
    graph = backend.open(chain.build())
    told = {group.name for group in graph.groups} | {place.node for place in graph.declined}
    assert told == {"conv1", "convtranspose1", "conv2", "conv3"}


@pytest.mark.parametrize(
    ("op", "does"),
    [
        ("ReduceMean", "takes their mean"),
        ("ReduceMax", "takes their maximum"),
        ("ReduceMin", "takes their minimum"),
        ("ReduceSum", "sums over them"),
        ("ReduceL1", "takes their norm"),
        ("ReduceL2", "takes their norm"),
    ],
)
def test_a_reduction_over_channels_is_called_what_it_is(op, does):
    # Of two layers: means and sums over those of one alone are products with weights.
    chain = Chain().conv(8, 1)
    stream = chain.value
    chain.conv(8, 1)
    chain.raw("Add", stream, chain.value)
    if op == "ReduceSum":
        chain.node(op, np.array([1]))
    else:
        chain.node(op, axes=[1])
    reason = f"its channels reach {op} '{op.lower()}1', which {does}"
    assert reasons(chain.node("Flatten").build()) == {"conv1": reason, "conv2": reason}
