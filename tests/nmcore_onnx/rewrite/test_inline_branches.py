"""Ifs that always take the same branch."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import nmcore
from chain import Chain, run
from nmcore_onnx import backend


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
    graph = backend.open(model)
    assert [(group.name, group.width) for group in graph.groups] == [("conv1", 12), ("conv2", 10)]
    result = nmcore.compress(model, ratio=0.5, method="merge", verify=True)
    assert [len(each.kept) for each in result.plan.groups] == [6, 5]
    kinds = {node.op_type for node in onnx.load_from_string(result.graph.serialize()).graph.node}
    assert "If" not in kinds


def test_the_model_stays_as_it_is_where_nothing_goes():
    model = pooled().gemm(5).build()
    graph = backend.open(model)
    kinds = [node.op_type for node in onnx.load_from_string(graph.serialize()).graph.node]
    assert kinds.count("If") == 2


def test_what_is_computed_stays_the_same():
    model = pooled().gemm(5).build()
    graph = backend.open(model)
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


def same_with_one_channel_less(model, *shapes):
    """The first group's last channel goes; its consumer's weight is 6 rows by 12 columns."""
    zeroed = onnx.ModelProto.FromString(model.SerializeToString())
    (weight,) = [each for each in zeroed.graph.initializer if list(each.dims[:2]) == [6, 12]]
    array = numpy_helper.to_array(weight).copy()
    array[:, -1] = 0
    weight.CopyFrom(numpy_helper.from_array(array, weight.name))
    graph = backend.open(model)
    graph.remove(graph.groups[0], np.arange(11))
    for shape in shapes:
        x = np.random.default_rng(0).standard_normal(shape).astype("f4")
        found, wanted = (
            run(each, {"input": x}) for each in (graph.serialize(), zeroed.SerializeToString())
        )
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    return onnx.load_from_string(graph.serialize())


def test_a_condition_on_a_dynamic_size_is_left_open():
    """An axis may be 1 long, or longer: both branches are needed."""
    chain = Chain(("n", 3, "h", 8)).conv(12, (1, 1)).node("Relu").conv(6, (1, 1))
    chain.node("ReduceMean", axes=[3], keepdims=0)
    model = squeeze_if_one(chain, 2).node("ReduceSum", keepdims=0).build(check=False)
    cut = same_with_one_channel_less(model, (2, 3, 1, 8), (2, 3, 5, 8))
    assert [node.op_type for node in cut.graph.node].count("If") == 1


@pytest.mark.parametrize("which", ["is_set", "is_not"])
def test_a_condition_that_a_caller_may_set_is_left_open(which):
    chain = Chain().conv(12, (1, 1)).node("Relu").conv(6, (1, 1))
    value, flag = chain.value, chain.constant(np.array(which == "is_set"), "flag")
    branches = [
        body(helper.make_node(op, [value], ["y"], op), output="y") for op in ("Sigmoid", "Tanh")
    ]
    model = chain.raw("If", flag, then_branch=branches[0], else_branch=branches[1]).build(
        check=False
    )
    always = same_with_one_channel_less(model, (2, 3, 8, 8))
    assert "If" not in {node.op_type for node in always.graph.node}
    model.graph.input.append(helper.make_tensor_value_info("flag", TensorProto.BOOL, []))
    kept = same_with_one_channel_less(model, (2, 3, 8, 8))
    assert "If" in {node.op_type for node in kept.graph.node}


@pytest.mark.parametrize("condition", [True, False])
def test_a_branch_may_give_constants_and_several_values(condition):
    chain = Chain().conv(12, (1, 1)).node("Relu").conv(6, (1, 1))
    value, flag = chain.value, chain.constant(np.array(condition), "flag")
    ones = numpy_helper.from_array(np.ones((1, 6, 8, 8), "f4"), "ones")
    kinds = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("t", "s")]
    nodes = [helper.make_node(op, [value], [op[0].lower()], op) for op in ("Tanh", "Sigmoid")]
    both = helper.make_graph(nodes, "b", [], kinds)
    kinds = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("r", "ones")]
    other = helper.make_graph(
        [helper.make_node("Relu", [value], ["r"], "r")], "b", [], kinds, [ones]
    )
    node = helper.make_node("If", [flag], ["one", "two"], "if", then_branch=both, else_branch=other)
    chain.nodes.append(node)
    model = chain.build("one", "two", check=False)
    cut = same_with_one_channel_less(model, (2, 3, 8, 8))
    assert [each.name for each in cut.graph.output] == ["one", "two"]
    assert "If" not in {node.op_type for node in cut.graph.node}


def test_names_are_kept_where_they_are_free():
    """Two branches with different names, and two with the same."""
    chain = Chain().conv(12, (1, 1))
    flag = chain.constant(np.array(True), "flag")
    for name in ("first", "second", "second"):
        value = chain.value
        branch = body(helper.make_node("Tanh", [value], [f"{name}_y"], name), output=f"{name}_y")
        chain.raw("If", flag, then_branch=branch, else_branch=branch)
    model = chain.conv(6, (1, 1)).build(check=False)
    cut = same_with_one_channel_less(model, (2, 3, 8, 8))
    names = [node.name for node in cut.graph.node if node.op_type == "Tanh"]
    assert len(set(names)) == 3
    assert {"first", "second"} <= set(names)


def test_it_is_told():
    result = nmcore.compress(pooled().gemm(5).build(), ratio=0.5, method="merge")
    assert any("Ifs that can take but one branch" in line for line in result.cautions)


def test_only_one_branch_gives_what_a_convolution_reads():
    """Whatever the length of the input: with the other branch the model cannot run."""
    chain = Chain(("n", 3, "length")).conv(12, kernel=3).node("Relu")
    value = chain.value
    chain.raw("Shape", value).node("Gather", np.array(2), axis=0).node("Equal", np.array(1))
    condition = chain.value
    axes = numpy_helper.from_array(np.array([0]), "axes")
    yes = body(
        helper.make_node("Unsqueeze", [value, "axes"], ["longer"], "unsqueeze"),
        output="longer",
        initializers=[axes],
    )
    no = body(helper.make_node("Identity", [value], ["longer"], "same"), output="longer")
    chain.raw("If", condition, then_branch=yes, else_branch=no)
    chain.width = 12
    model = chain.conv(5, kernel=3).build(check=False)
    info = helper.make_tensor_value_info(chain.value, TensorProto.FLOAT, ["n", 5, "steps"])
    model.graph.output[0].CopyFrom(info)
    assert [group.width for group in backend.open(model).groups] == [12]
    result = nmcore.compress(model, ratio=0.5, method="merge", verify=True)
    assert any("Ifs that can take but one branch" in line for line in result.cautions)
