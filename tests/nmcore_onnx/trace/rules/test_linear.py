"""Products that mix positions."""

from __future__ import annotations

import numpy as np

from chain import Chain
from proving import prove, reasons, widths

PATCHES, WIDTH = 4, 8


def tokens():
    """A convolution whose channels end up last, as tokens (n, patches, width)."""
    chain = Chain(("n", 3, 8, 8)).conv(WIDTH, 4, strides=[4, 4])
    chain.node("Reshape", np.array([0, WIDTH, PATCHES])).node("Transpose", perm=[0, 2, 1])
    return chain


def mixed(chain, size=PATCHES):
    """Positions mixed by a weight: from as many as there are to ``size``."""
    chain.node("Transpose", perm=[0, 2, 1]).node("MatMul", chain.weight(PATCHES, size))
    chain.node("Add", chain.weight(size, 1)[:, 0])
    return chain.node("Transpose", perm=[0, 2, 1])


def test_channels_pass_a_product_that_mixes_positions():
    chain = tokens()
    stream = chain.value
    mixed(chain)
    chain.raw("Add", stream, chain.value)
    chain.width = WIDTH
    model = chain.matmul(5).build()
    assert "mixes positions" in reasons(model)["matmul1"]
    prove(model, {"conv1": WIDTH})


def test_one_that_makes_other_positions_makes_channels_of_its_own():
    chain = mixed(tokens(), 6)
    chain.node("Relu").node("Transpose", perm=[0, 2, 1])
    chain.node("MatMul", chain.weight(6, PATCHES))
    model = chain.build()
    assert widths(model) == {"matmul1": 6}
    assert "along another axis" in reasons(model)["conv1"]
