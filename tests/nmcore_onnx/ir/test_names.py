"""New names do not stand for anything inside a branch."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

import nmcore
from chain import Chain, run
from nmcore_onnx.ir import names


def branching(chain, then_name, else_name):
    """Two times the last value, through a branch that calls the two by names of its own."""

    def branch(own, out):
        two = numpy_helper.from_array(np.float32(2).reshape(()), own)
        multiply = helper.make_node("Mul", [before, own], [out])
        info = helper.make_tensor_value_info(out, TensorProto.FLOAT, None)
        return helper.make_graph([multiply], out, [], [info], [two])

    before, flag = chain.value, chain.constant(np.array(True))
    return chain.raw(
        "If",
        flag,
        then_branch=branch(then_name, "then_out"),
        else_branch=branch(else_name, "else_out"),
    )


def layers(op):
    chain = Chain(("n", 12)) if op == "MatMul" else Chain()
    for width in (16, 8, 4):
        weight = chain.weight(
            *((chain.width, width) if op == "MatMul" else (width, chain.width, 3, 3))
        )
        chain.node(op, weight).node("Relu")
        chain.width = width
    return chain


@pytest.mark.parametrize("op", ["MatMul", "Conv"])
@pytest.mark.parametrize("method", ["moments", "ridge"])
def test_a_branch_that_has_the_name_of_a_new_bias(op, method):
    """moments gives layers a bias that have none."""
    chain = branching(layers(op), f"{op.lower()}2.bias", f"{op.lower()}3.bias_")
    model = chain.build()
    result = nmcore.compress(model, ratio=0.5, method=method, verify=True)
    small = ir.to_proto(result.model)
    onnx.checker.check_model(small, full_check=True)
    if method == "moments":
        assert f"{op.lower()}2.bias_" in {tensor.name for tensor in small.graph.initializer}
    x = np.random.default_rng(0).standard_normal((2, *chain.shape[1:])).astype("f4")
    without = onnx.ModelProto()
    without.CopyFrom(small)
    (output,) = without.graph.output
    output.name = "relu3_out"
    np.testing.assert_array_equal(run(small, {"input": x})[0], 2 * run(without, {"input": x})[0])


def test_a_value_inside_a_branch_that_has_the_name_of_a_new_bias():
    chain = layers("MatMul")
    before, flag = chain.value, chain.constant(np.array(True))
    info = helper.make_tensor_value_info("matmul2.bias", TensorProto.FLOAT, None)
    node = helper.make_node("Neg", [before], ["matmul2.bias"])
    inner = helper.make_graph([node], "inner", [], [info])
    other = helper.make_graph(
        [helper.make_node("Abs", [before], ["abs"])],
        "other",
        [],
        [helper.make_tensor_value_info("abs", TensorProto.FLOAT, None)],
    )
    model = chain.raw("If", flag, then_branch=inner, else_branch=other).build()
    result = nmcore.compress(model, ratio=0.5, method="moments", verify=True)
    onnx.checker.check_model(ir.to_proto(result.model), full_check=True)


def test_names_are_taken_once():
    graph = ir.from_proto(branching(layers("Conv"), "a", "b").build()).graph
    assert names.value_name(graph, "a") == "a_"
    assert names.value_name(graph, "a") == "a__"
    assert names.value_name(graph, "then_out") == "then_out_"
    assert names.value_name(graph, "c") == "c"
    assert names.node_name(graph, "conv1") == "conv1_"
    assert names.node_name(graph.clone(), "conv1") == "conv1_"
