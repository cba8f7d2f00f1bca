"""Which axes of a Reshape belong together."""

from __future__ import annotations

import pytest

from nmcore_onnx.shapes.reshape_axes import Segment, match


@pytest.mark.parametrize(
    ("source", "target", "axis", "expected"),
    [
        (["n", 16, 5, 5], [-1, 400], 1, Segment((1, 2, 3), (1,))),
        (["n", 64, 1, 1], ["n", -1], 1, Segment((1, 2, 3), (1,))),
        (["n", 64, 1, 1], [-1, 64], 1, Segment((1, 2, 3), (1,))),
        (["n", 64], ["n", 64, 1, 1], 1, Segment((1,), (1,))),
        (["n", 64, "h", "w"], ["n", 64, -1], 1, Segment((1,), (1,))),
        (["n", 64, "h", "w"], ["n", -1], 1, Segment((1, 2, 3), (1,))),
        (["n", "h", "w", 64], [-1, 64], 3, Segment((3,), (1,))),
        ([1, 8, 6, 6], [1, 8, 36], 1, Segment((1,), (1,))),
        ([8, 8], [64], 1, Segment((0, 1), (0,))),
    ],
)
def test_certain_cases(source, target, axis, expected):
    assert match(source, target, axis) == expected


@pytest.mark.parametrize(
    ("source", "target", "axis"),
    [
        (["n", 8, 6, 6], ["n", 2, 4, 36], 1),  # the channel axis is split
        (["n", "c", "h", "w"], [-1, 64], 1),  # nothing says what 64 is made of
        (["n", 8, "t"], [-1, "t2", 8], 1),
    ],
)
def test_what_is_not_certain_has_no_single_output_axis(source, target, axis):
    found = match(source, target, axis)
    assert found is None or len(found.outs) != 1
