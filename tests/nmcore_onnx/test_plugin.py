"""Opening models: functions of their own are seen through."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper

import nmcore
from chain import Chain, run
from nmcore_onnx import backend

OPSETS = [helper.make_opsetid("", 17)]


def with_functions():
    """A layer as a function, an activation as one, and a function that calls another."""
    act = helper.make_function(
        "own", "Act", ["x"], ["y"], [helper.make_node("Relu", ["x"], ["y"])], OPSETS
    )
    layer = helper.make_function(
        "own",
        "Layer",
        ["x", "w", "b"],
        ["y"],
        [
            helper.make_node("Conv", ["x", "w", "b"], ["t"], pads=[1, 1, 1, 1]),
            helper.make_node("Act", ["t"], ["y"], domain="own"),
        ],
        [*OPSETS, helper.make_opsetid("own", 1)],
    )
    chain = Chain()
    for width in (16, 8):
        weight = chain.constant(chain.weight(width, chain.width, 3, 3))
        bias = chain.constant(chain.weight(width, 1)[:, 0])
        chain.raw("Layer", chain.value, weight, bias, domain="own")
        chain.width = width
    chain.conv(6).raw("Act", chain.value, domain="own").conv(4)
    model = chain.build(check=False)
    shape = ["n", 4, 4, 4]
    info = helper.make_tensor_value_info(chain.value, onnx.TensorProto.FLOAT, shape)
    model.graph.output[0].CopyFrom(info)
    model.functions.extend([act, layer])
    model.opset_import.append(helper.make_opsetid("own", 1))
    return model


def test_channels_pass_functions():
    graph = backend.open(with_functions())
    assert sorted(group.width for group in graph.groups) == [6, 8, 16]


@pytest.mark.parametrize("method", ["merge", "moments"])
def test_functions_become_nodes_and_it_is_told(method):
    result = nmcore.compress(with_functions(), ratio=0.5, method=method, verify=True)
    assert "2 functions of the model's own became plain nodes where they are called" in (
        result.warnings
    )
    small = ir.to_proto(result.model)
    onnx.checker.check_model(small, full_check=True)
    assert not small.functions
    assert {node.op_type for node in small.graph.node} == {"Conv", "Relu"}


def test_without_a_cut_functions_stay():
    model = with_functions()
    result = nmcore.compress(model, ratio=0.0, method="merge")
    small = ir.to_proto(result.model)
    assert len(small.functions) == 2
    assert not any("functions" in line for line in result.warnings)
    x = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype("f4")
    np.testing.assert_array_equal(run(model, {"input": x})[0], run(small, {"input": x})[0])


def test_functions_that_call_each_other_in_a_circle_are_no_crash():
    model = with_functions()
    (inner,) = [f for f in model.functions if f.name == "Act"]
    inner.node[0].op_type, inner.node[0].domain = "Act", "own"
    graph = backend.open(model)
    assert all(group.name.startswith("conv") for group in graph.groups)


def test_the_work_of_a_function_counts_before_and_after():
    result = nmcore.compress(with_functions(), macs=0.5, method="merge")
    assert 0 < result.after.macs < result.before.macs
    assert result.after.macs <= 0.55 * result.before.macs
