"""Operators that sample positions, or run along them."""

from __future__ import annotations

import numpy as np
import pytest

from chain import Chain
from proving import prove, reasons, widths


def grid(rng):
    return rng.uniform(-1, 1, (2, 4, 4, 2)).astype(np.float32)


def test_channels_pass_a_grid_of_positions():
    chain = Chain((2, 3, 8, 8), opset=16).conv(8)
    prove(chain.node("GridSample", grid(chain.rng)).conv(4).build(), {"conv1": 8})


def test_channels_that_are_a_grid_stay():
    chain = Chain((2, 3, 8, 8), opset=16).conv(2)
    moved = chain.node("Transpose", perm=[0, 2, 3, 1]).value
    chain.raw("GridSample", "input", moved)
    chain.width = 3
    assert "takes them as positions" in reasons(chain.conv(4).build())["conv1"]


@pytest.mark.parametrize("op", ["RoiAlign", "MaxRoiPool"])
def test_channels_pass_regions(op):
    chain = Chain((2, 3, 8, 8), opset=16).conv(8)
    if op == "RoiAlign":
        regions = [[0, 0, 4, 4], [1, 1, 5, 5], [0, 2, 3, 6]]
        given = [np.array(regions, np.float32), np.array([0, 1, 1])]
        chain.node(op, *given, output_height=4, output_width=4)
    else:
        chain.node(op, np.array([[0, 0, 0, 4, 4]], np.float32), pooled_shape=[4, 4])
    prove(chain.conv(4).build(), {"conv1": 8})


def test_sums_along_positions_pass():
    prove(Chain().conv(8).node("CumSum", np.array(3)).conv(4).build(), {"conv1": 8})


@pytest.mark.parametrize("axis", [1, -3])
def test_sums_along_channels_do_not(axis):
    model = Chain().conv(8).node("CumSum", np.array(axis)).conv(4).build()
    assert "adds them up one after the other" in reasons(model)["conv1"]


def test_a_triangle_of_the_positions_passes():
    prove(Chain().conv(8).node("Trilu", upper=1).conv(4).build(), {"conv1": 8})
    flat = Chain(("n", 6)).gemm(8).node("Trilu").gemm(4)
    assert "cuts a triangle" in reasons(flat.build(check=False))["gemm1"]


def test_sequences_are_turned_round():
    chain = Chain((6, 2, 3))
    chain.width = 3
    chain.matmul(8).node("ReverseSequence", np.array([2, 4]), time_axis=0, batch_axis=1)
    prove(chain.matmul(4).build(), {"matmul1": 8})
    along = Chain((2, 3, 6)).conv(8, 3)
    along.node("ReverseSequence", np.array([2, 4]), time_axis=1, batch_axis=0)
    assert widths(along.conv(4, 3).build()) == {}
