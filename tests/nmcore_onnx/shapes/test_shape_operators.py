"""Shapes of single operators."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from nmcore_onnx.shapes import shape_operators


def constant(name, *numbers):
    return ir.Value(name=name, const_value=ir.tensor(np.array(numbers, np.int64), name=name))


@pytest.mark.parametrize(("axis", "shape"), [(1, (4, 2)), (-1, (4, 2)), (2, None), (-3, None)])
def test_a_slice_of_an_axis_that_is_not_there_says_nothing(axis, shape):
    """So it is in a branch that is never taken, of an input of another rank."""
    source, sliced = ir.Value(name="x"), ir.Value(name="y")
    bounds = constant("starts", 0), constant("ends", 2), constant("axes", axis)
    node = ir.Node("", "Slice", [source, *bounds], outputs=[sliced])
    assert shape_operators.refine(node, {"x": (4, 3)}) == shape
