"""Ifs that always take the same branch."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import nmcore
from nmcore.plugins import registry
from tests.helpers.chain import Chain, run


def body(*nodes, output, initializers=()):
    kind = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
    return helper.make_graph(list(nodes), "body", [], [kind], list(initializers))


def squeeze_if_one(chain, axis):
    """What ``squeeze(axis)`` became in older exporters."""
    value = chain.value
    chain.raw("Shape", value).node("Gather", np.array(axis), axis=0).node("Equal", np.array(1))
    condition = chain.value
    axes = numpy_helper.from_array(np.array([axis]), "axes")
    yes = body(
        helper.make_node("Squeeze", [value, "axes"], ["squeezed"], "squeeze"),
        output="squeezed",
        initializers=[axes],
    )
    no = body(helper.make_node("Identity", [value], ["squeezed"], "same"), output="squeezed")
    return chain.raw("If", condition, then_branch=yes, else_branch=no)


def pooled(shape=("n", 3, 8, 8)):
    chain = Chain(shape).conv(12).node("Relu").conv(10).node("GlobalAveragePool")
    return squeeze_if_one(squeeze_if_one(chain, 3), 2)


def test_channels_are_followed_through_the_branch_that_is_taken():
    model = pooled().gemm(5).build()
    graph = registry.open_graph(model)
    assert [(group.name, group.width) for group in graph.groups] == [("conv1", 12), ("conv2", 10)]
    result = nmcore.compress(model, ratio=0.5, method="merge", verify=True)
    assert [len(each.kept) for each in result.plan.groups] == [6, 5]
    kinds = {node.op_type for node in onnx.load_from_string(result.graph.serialize()).graph.node}
    assert "If" not in kinds


def test_the_model_stays_as_it_is_where_nothing_goes():
    model = pooled().gemm(5).build()
    graph = registry.open_graph(model)
    kinds = [node.op_type for node in onnx.load_from_string(graph.serialize()).graph.node]
    assert kinds.count("If") == 2


def test_what_is_computed_stays_the_same():
    model = pooled().gemm(5).build()
    graph = registry.open_graph(model)
    group = graph.groups[0]
    graph.remove(group, np.arange(group.width - 1))
    zeroed = onnx.ModelProto.FromString(model.SerializeToString())
    for each in zeroed.graph.initializer:
        if each.dims[:2] == [10, 12]:
            array = numpy_helper.to_array(each).copy()
            array[:, -1] = 0
            each.CopyFrom(numpy_helper.from_array(array, each.name))
    x = np.random.default_rng(0).standard_normal((3, 3, 8, 8)).astype("f4")
    np.testing.assert_allclose(
        run(graph.serialize(), {"input": x})[0],
        run(zeroed.SerializeToString(), {"input": x})[0],
        rtol=1e-4,
        atol=1e-5,
    )


def test_a_condition_on_a_dynamic_size_is_left_open():
    chain = Chain(("n", 3, "h", 8)).conv(12, (1, 1)).node("Relu")
    chain.node("ReduceMean", axes=[3], keepdims=0)
    model = squeeze_if_one(chain, 2).node("ReduceSum", keepdims=0).build(check=False)
    graph = registry.open_graph(model)
    assert not graph.groups
    result = onnx.load_from_string(graph.serialize())
    assert [node.op_type for node in result.graph.node].count("If") == 1


@pytest.mark.parametrize("condition", [True, False])
def test_a_branch_may_give_what_is_around_it(condition):
    chain = Chain().conv(6).node("Relu")
    value, flag = chain.value, chain.constant(np.array(condition), "flag")
    zeros = numpy_helper.from_array(np.zeros((1, 6, 8, 8), "f4"), "zeros")
    yes = body(helper.make_node("Identity", [value], ["taken"], "it"), output="taken")
    no = body(output="zeros", initializers=[zeros])
    model = chain.raw("If", flag, then_branch=yes, else_branch=no).conv(4).build(check=False)
    graph = registry.open_graph(model)
    names = [group.name for group in graph.groups]
    assert names == (["conv1"] if condition else [])


def test_it_is_told():
    result = nmcore.compress(pooled().gemm(5).build(), ratio=0.5, method="merge")
    assert any("Ifs whose condition never changes" in line for line in result.cautions)
