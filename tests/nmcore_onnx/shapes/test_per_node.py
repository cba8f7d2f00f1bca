"""Shapes for inputs of given sizes, and the constant expressions that they depend on."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx import TensorProto, helper

from chain import Chain
from nmcore_onnx.shapes.per_node import NodeInference
from nmcore_onnx.shapes.refinement import refined


def sized(chain: Chain, *shape: int):
    return NodeInference(ir.from_proto(chain.build(check=False))).shapes({"input": shape})


def test_sizes_that_follow_from_sizes_are_known_in_one_pass():
    """Half of the channels, and half of these again, as units of a shuffling network compute it."""
    chain = Chain(("n", 16, "s"))
    two, source = chain.constant(np.array(2)), "input"
    for _ in range(3):
        shape = chain.raw("Shape", source).value
        count = chain.raw("Gather", shape, chain.constant(np.array(1))).value
        half = chain.raw("Div", count, two).value
        axis = chain.constant(np.array([0]))
        end = chain.raw("Unsqueeze", half, axis).value
        source = chain.raw("Slice", source, axis, end, chain.constant(np.array([1]))).value
    assert sized(chain, 5, 16, 7)[source] == (5, 2, 7)


def test_sizes_may_be_asked_for_again():
    chain = Chain(("n", 8))
    shape = chain.raw("Shape", "input").value
    filled = chain.raw("ConstantOfShape", shape).value
    inference = NodeInference(ir.from_proto(chain.build(check=False)))
    assert inference.shapes({"input": (3, 8)})[filled] == (3, 8)
    assert inference.shapes({"input": (4, 8)})[filled] == (4, 8)


def test_what_a_function_of_the_model_gives():
    chain = Chain(("n", 8))
    doubled = chain.raw("Double", "input", domain="own").value
    chain.raw("Transpose", doubled)
    model = chain.build(check=False)
    body = [helper.make_node("Concat", ["x", "x"], ["y"], axis=1)]
    opsets = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("own", "Double", ["x"], ["y"], body, opsets))
    model.opset_import.append(helper.make_opsetid("own", 1))
    assert NodeInference(ir.from_proto(model)).shapes({"input": (3, 8)})[chain.value] == (16, 3)


def test_what_is_behind_an_unknown_operator_stays_unknown():
    chain = Chain(("n", 8))
    strange = chain.raw("Strange", "input", domain="own").value
    behind = chain.raw("Relu", strange).value
    beside = chain.raw("Relu", "input").value
    model = chain.build(check=False)
    model.opset_import.append(helper.make_opsetid("own", 1))
    found = NodeInference(ir.from_proto(model)).shapes({"input": (3, 8)})
    assert found[beside] == (3, 8)
    assert not {strange, behind} & set(found)


def test_some_sizes_of_a_filled_value_are_known():
    chain = Chain(("n", 8))
    count = chain.raw("Shape", chain.raw("NonZero", "input").value).value
    some = chain.raw("Slice", count, *(chain.constant(np.array([k])) for k in (1, 2))).value
    target = chain.raw("Concat", chain.constant(np.array([2])), some, axis=0).value
    filled = chain.raw("ConstantOfShape", target).value
    found = sized(chain, 3, 8)[filled]
    assert found[0] == 2
    assert isinstance(found[1], str)


def test_more_positions_than_the_model_has():
    """It does not run with so many; that they are the sequence is to be seen from shorter ones."""
    chain = Chain(("n", "s", 8))
    shape = chain.raw("Shape", "input").value
    length = chain.raw("Slice", shape, *(chain.constant(np.array([k])) for k in (1, 2))).value
    table = chain.constant(np.zeros((1, 64, 8), np.float32))
    zero, one = (chain.constant(np.array([k])) for k in (0, 1))
    positions = chain.raw("Slice", table, zero, length, one).value
    total = chain.raw("Add", "input", positions).value
    assert refined(ir.from_proto(chain.build(check=False)))[total] == ("n", "s", 8)


def test_a_body_reads_what_is_around_it():
    chain = Chain(("n", 8))
    condition = chain.constant(np.array(True))
    names = ["yes", "no"]
    bodies = [
        helper.make_graph(
            [helper.make_node("Concat", ["input", "input"], [name], axis=1)],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)],
        )
        for name in names
    ]
    chosen = chain.raw("If", condition, then_branch=bodies[0], else_branch=bodies[1]).value
    assert sized(chain, 3, 8)[chosen] == (3, 16)


def test_the_branch_that_sizes_decide_on():
    """Long inputs are doubled in width, and short ones multiplied by a weight of the branch."""
    chain = Chain(("n", "s", 8))
    length = chain.raw("Gather", chain.raw("Shape", "input").value, chain.constant(np.array(1)))
    condition = chain.raw("Greater", length.value, chain.constant(np.array(4))).value
    weight = helper.make_tensor("weight", TensorProto.FLOAT, (8, 3), [0.0] * 24)
    nodes = [("Concat", ["input", "input"], {"axis": 2}), ("MatMul", ["input", "weight"], {})]
    bodies = [
        helper.make_graph(
            [helper.make_node(op, inputs, [op.lower()], **attributes)],
            op,
            [],
            [helper.make_tensor_value_info(op.lower(), TensorProto.FLOAT, None)],
            [weight],
        )
        for op, inputs, attributes in nodes
    ]
    chosen = chain.raw("If", condition, then_branch=bodies[0], else_branch=bodies[1]).value
    after = chain.raw("Size", chain.raw("Relu", chosen).value).value
    filled = chain.raw(
        "ConstantOfShape", chain.raw("Reshape", after, chain.constant(np.array([1]))).value
    ).value
    long, short = sized(chain, 2, 5, 8), sized(chain, 2, 4, 8)
    assert (long[chosen], short[chosen]) == ((2, 5, 16), (2, 4, 3))
    assert (long[filled], short[filled]) == ((160,), (24,))


def test_an_operator_of_somebody_else_is_no_namesake():
    chain = Chain(("n", 8))
    strange = chain.raw("Mul", "input", "input", domain="own").value
    model = chain.build(check=False)
    model.opset_import.append(helper.make_opsetid("own", 1))
    assert strange not in NodeInference(ir.from_proto(model)).shapes({"input": (3, 8)})
