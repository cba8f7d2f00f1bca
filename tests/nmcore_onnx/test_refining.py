"""Shapes that the inference leaves open."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx import TensorProto, helper

from chain import Chain
from nmcore_onnx.refining import refined


def shapes_of(model):
    return refined(ir.from_proto(model))


def test_an_axis_that_the_inference_cannot_tell_from_another():
    """A range as long as the sequence is broadcast against it, as in rotary embeddings."""
    chain = Chain(("n", "s", 8))
    shape = chain.raw("Shape", "input").value
    length = chain.raw("Gather", shape, chain.constant(np.array(1))).value
    zero, one = chain.constant(np.array(0)), chain.constant(np.array(1))
    chain.raw("Range", zero, length, one).node("Cast", to=int(TensorProto.FLOAT))
    positions = chain.node("Unsqueeze", np.array([1])).value
    total = chain.raw("Add", "input", positions).value
    assert shapes_of(chain.build(check=False))[total] == ("n", "s", 8)


def test_an_axis_that_is_cut_off_at_a_bound_is_no_other():
    """It is the sequence for short ones and the bound for long ones."""
    chain = Chain(("n", "s", 8))
    total = chain.node("Slice", np.array([0]), np.array([16]), np.array([1])).value
    found = shapes_of(chain.build(check=False))[total]
    assert (found[0], found[2]) == ("n", 8)
    assert isinstance(found[1], str)
    assert found[1] != "s"


def test_an_axis_that_grows_is_no_other():
    chain = Chain(("n", "s", 8))
    total = chain.raw("Concat", "input", "input", axis=1).value
    found = shapes_of(chain.build(check=False))[total]
    assert isinstance(found[1], str)
    assert found[1] != "s"


def test_axes_of_the_same_name_are_tried_alike():
    chain = Chain(("n", "s", 8))
    total = chain.raw("Add", "input", "other").value
    model = chain.build(check=False)
    model.graph.input.append(
        helper.make_tensor_value_info("other", TensorProto.FLOAT, ["n", "s", 8])
    )
    assert shapes_of(model)[total] == ("n", "s", 8)


def test_what_is_left_where_dynamic_axes_cancel():
    chain = Chain(("n", "s", 4, 6))
    shape = chain.raw("Shape", "input").value
    sizes = [chain.raw("Gather", shape, chain.constant(np.array([axis]))).value for axis in (0, 1)]
    target = chain.raw("Concat", *sizes, chain.constant(np.array([-1])), axis=0).value
    flat = chain.raw("Reshape", "input", target).value
    assert shapes_of(chain.build(check=False))[flat] == ("n", "s", 24)
