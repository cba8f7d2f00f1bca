"""Reductions over positions."""

from __future__ import annotations

import numpy as np
import pytest

from chain import Chain
from proving import prove, reasons

REDUCTIONS = ["ReduceSumSquare", "ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceProd"]


@pytest.mark.parametrize("op", REDUCTIONS)
def test_reductions_over_positions_pass(op):
    chain = Chain().conv(8).node("Sigmoid").node(op, axes=[2, 3], keepdims=0).gemm(4)
    prove(chain.build(), {"conv1": 8})


def test_their_axes_may_be_an_input():
    chain = Chain(opset=18).conv(8).node("ReduceSumSquare", np.array([-1, -2]), keepdims=0)
    prove(chain.gemm(4).build(), {"conv1": 8})


@pytest.mark.parametrize("op", REDUCTIONS)
def test_reductions_over_channels_do_not(op):
    chain = Chain().conv(8).node("Sigmoid").node(op, axes=[1])
    chain.width = 1
    assert op in reasons(chain.conv(4).build())["conv1"]
