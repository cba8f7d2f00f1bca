"""Shapes that the inference leaves open."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx import TensorProto, helper

from chain import Chain
from nmcore_onnx.shapes.refinement import refined


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


def test_a_bound_that_all_but_very_short_axes_reach():
    chain = Chain(("n", "s", 8))
    total = chain.node("Slice", np.array([0]), np.array([10]), np.array([1])).value
    assert isinstance(shapes_of(chain.build(check=False))[total][1], str)


def test_an_axis_a_little_longer_than_another_is_no_third():
    """Whatever its length differs by, some other axis may differ by as much in one trial."""
    names = ["a", "b", "c", "d", "e"]
    chain = Chain(("a", 4))
    model = chain.node("Relu").build(check=False)
    for name in names[1:]:
        model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [name, 4]))
    for name in names:
        for more in (1, 2, 4, 6):
            rows = chain.constant(np.zeros((more, 4), np.float32))
            source = "input" if name == "a" else name
            node = helper.make_node("Concat", [source, rows], [f"{name}{more}"], axis=0)
            model.graph.node.append(node)
    model.graph.initializer.extend(chain.initializers)
    found = shapes_of(model)
    longer = [found[f"{name}{more}"][0] for name in names for more in (1, 2, 4, 6)]
    assert not set(longer) & set(names)
    assert all(isinstance(length, str) for length in longer)


def test_a_side_that_is_padded_to_a_multiple_is_not_the_side():
    chain = Chain(("n", 3, "h", "w"))
    shape = chain.raw("Shape", "input").value
    height = chain.raw("Gather", shape, chain.constant(np.array([2]))).value
    by = chain.constant(np.array([32]))
    rest = chain.raw("Mod", height, by).value
    lacking = chain.raw("Mod", chain.raw("Sub", by, rest).value, by).value
    zeros = chain.constant(np.zeros(6, np.int64)), chain.constant(np.zeros(1, np.int64))
    pads = chain.raw("Concat", zeros[0], lacking, zeros[1], axis=0).value
    padded = chain.raw("Pad", "input", pads).value
    assert shapes_of(chain.build(check=False))[padded][2] != "h"


def test_a_crop_that_small_pictures_do_not_reach():
    """Every side that is tried for its own sake is longer than the crop."""
    chain = Chain((1, 3, "h", "w"))
    bounds = [np.array(pair) for pair in ((0, 0), (100, 100), (2, 3))]
    cropped = chain.node("Slice", *bounds).value
    assert not any(
        isinstance(size, int) for size in shapes_of(chain.build(check=False))[cropped][2:]
    )


def test_a_crop_of_sides_that_are_fixed():
    chain = Chain(("n", 3, 128, "w"))
    bounds = [np.array(one) for one in ((0,), (100,), (2,))]
    cropped = chain.node("Slice", *bounds).value
    assert shapes_of(chain.build(check=False))[cropped] == ("n", 3, 100, "w")


def test_a_norm_has_as_many_scales_as_channels():
    """So an axis that is left open has but one length, which may decide an If."""
    chain = Chain(("n", "c", "s"))
    normed = chain.node("InstanceNormalization", np.ones(1), np.zeros(1)).value
    chain.node("Abs")
    found = shapes_of(chain.build(check=False))
    assert found["input"] == ("n", 1, "s")
    assert found[normed] == ("n", 1, "s")


def test_a_name_that_several_axes_have_is_no_length():
    """Some exporters give all open axes one name."""
    chain = Chain(("d", "d", "s"))
    normed = chain.node("InstanceNormalization", np.ones(1), np.zeros(1)).value
    found = shapes_of(chain.build(check=False))
    assert found["input"] == found[normed] == ("d", "d", "s")
