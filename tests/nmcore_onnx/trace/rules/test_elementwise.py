"""Operators on every element alone."""

from __future__ import annotations

import numpy as np
import pytest

from chain import Chain
from proving import prove, widths

# Asin and Acos of numbers beyond one, Acosh below it and Atanh are not defined: behind Tanh.
BOUNDED = ["Asin", "Acos", "Atanh"]
FREE = ["Tan", "Atan", "Sinh", "Cosh", "Asinh"]


@pytest.mark.parametrize("op", FREE)
def test_functions_of_an_angle_pass(op):
    prove(Chain().conv(8).node("Tanh").node(op).conv(4).build(), {"conv1": 8})


@pytest.mark.parametrize("op", BOUNDED)
def test_their_inverses_pass(op):
    chain = Chain().conv(8).node("Tanh").node("Tanh").node(op)
    assert widths(chain.conv(4).build()) == {"conv1": 8}


def test_swish_passes():
    chain = Chain(opset=24).conv(8).node("Swish", alpha=1.5).conv(4)
    assert widths(chain.build()) == {"conv1": 8}


def test_a_test_for_infinity_passes_as_a_mask():
    chain = Chain(opset=20).conv(8).node("Relu")
    value = chain.value
    infinite = chain.raw("IsInf", value).value
    zero = chain.constant(np.zeros((1, 1, 1), np.float32))
    chain.raw("Where", infinite, zero, value).conv(4)
    prove(chain.build(), {"conv1": 8})
