"""Operators that work on each channel alone: channels pass, and the result is proven."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

import nmcore
from chain import Chain, run
from nmcore_onnx import backend

GRID = np.random.default_rng(0).uniform(-1, 1, (2, 5, 5, 2)).astype("f4")
BOXES = np.array([[0, 0, 4, 4], [1, 1, 5, 5]], "f4")
WINDOW = {"output_height": 5, "output_width": 5}

# Operator, further inputs, attributes.
SPATIAL = [
    ("GridSample", [GRID], {"mode": "bilinear"}),
    ("RoiAlign", [BOXES, np.array([0, 1])], WINDOW),
    ("MeanVarianceNormalization", [], {}),
    ("MeanVarianceNormalization", [], {"axes": [-2, -1]}),
    ("CumSum", [np.array(3)], {}),
    ("CumSum", [np.array(-2)], {"reverse": 1}),
    ("Trilu", [], {"upper": 0}),
    ("ReduceSumSquare", [], {"axes": [2, 3]}),
    ("ReduceL2", [], {"axes": [2]}),
    ("ReduceLogSumExp", [], {"axes": [-1]}),
]
STOPPED = [
    ("MeanVarianceNormalization", [], {"axes": [1]}, "normalises across channels"),
    ("CumSum", [np.array(1)], {}, "adds them up one after the other"),
    ("ReduceSumSquare", [], {"axes": [1]}, "sums their squares"),
]


def network(op, inputs, attributes, kernel=1):
    """A slope, since a channel that is always 0 cannot be normalised."""
    chain = Chain((2, 3, 8, 8)).conv(8, pads=[1] * 4).node("LeakyRelu")
    chain.node(op, *inputs, **attributes).conv(6, kernel).node("Relu").conv(4, 1)
    model = chain.build(check=False)
    shape = ["n", 4, "h", "w"]
    info = helper.make_tensor_value_info(chain.value, TensorProto.FLOAT, shape)
    model.graph.output[0].CopyFrom(info)
    return model


@pytest.mark.parametrize(("op", "inputs", "attributes"), SPATIAL)
def test_channels_pass(op, inputs, attributes):
    model = network(op, inputs, attributes)
    assert [group.width for group in backend.open(model).groups] == [8, 6]
    result = nmcore.compress(model, ratio=0.5, method="moments", verify=True)
    small = ir.to_proto(result.model)
    # ONNX's own inference fails at a MeanVarianceNormalization that names no axes.
    named = op != "MeanVarianceNormalization" or "axes" in attributes
    onnx.checker.check_model(small, full_check=named)
    assert len(result.outcomes) == 2
    run(small, {"input": np.zeros((2, 3, 8, 8), "f4")})


@pytest.mark.parametrize(("op", "inputs", "attributes", "why"), STOPPED)
def test_channels_that_are_mixed_stay(op, inputs, attributes, why):
    chain = Chain((2, 3, 8, 8)).conv(8, pads=[1] * 4).node("Relu").node(op, *inputs, **attributes)
    if op == "ReduceSumSquare":
        chain.width = 1
    graph = backend.open(chain.conv(6).conv(4).build())
    assert [group.name for group in graph.groups] == ["conv2"]
    assert why in next(each.reason for each in graph.declined if each.node == "conv1")


def test_a_grid_that_a_layer_makes_stays():
    chain = Chain((2, 3, 8, 8)).conv(8, pads=[1] * 4).node("Relu")
    data = chain.value
    chain.raw("Transpose", chain.conv(2, 1).value, perm=[0, 2, 3, 1])
    chain.raw("GridSample", data, chain.value)
    chain.width = 8
    graph = backend.open(chain.conv(4).build())
    assert [group.name for group in graph.groups] == ["conv1"]
    assert "as positions" in next(e.reason for e in graph.declined if e.node == "conv2")


def test_heads_pass_a_rotary_embedding():
    heads, size, length = 4, 8, 6
    chain = Chain((2, length, 32), opset=23)
    chain.width = 32
    angles = np.outer(np.arange(length), np.ones(size // 2)).astype("f4")
    cos, sin = chain.constant(np.cos(angles)), chain.constant(np.sin(angles))
    places = chain.constant(np.tile(np.arange(length), (2, 1)))
    start, made = chain.value, []
    for turned in (True, True, False):
        chain.value, chain.width = start, 32
        chain.matmul(heads * size, bias=False)
        chain.node("Reshape", np.array([0, 0, heads, size])).node("Transpose", perm=[0, 2, 1, 3])
        made.append(
            chain.node("RotaryEmbedding", cos, sin, places).value if turned else chain.value
        )
    chain.raw("Attention", *made).node("Transpose", perm=[0, 2, 1, 3])
    chain.node("Reshape", np.array([0, 0, heads * size])).matmul(16)
    model = chain.build()
    model.ir_version = 11
    (group,) = backend.open(model).groups
    assert (group.width, group.block) == (heads, size)
    result = nmcore.compress(model, ratio=0.5, method="merge", verify=True)
    assert [len(o.plan.kept) for o in result.outcomes] == [2]
