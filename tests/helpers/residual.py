"""Small residual networks."""

from __future__ import annotations

import numpy as np

from chain import Chain


def block(chain: Chain, inner: int, *, width: int | None = None, between: str = "Relu") -> Chain:
    """Two convolutions beside a shortcut, which has one of its own where ``width`` changes."""
    source, before = chain.value, chain.width
    strides = [1, 1] if width is None else [2, 2]
    chain.conv(inner, pads=[1] * 4, strides=strides).node(between)
    made = chain.conv(width or before, pads=[1] * 4).value
    if width is not None:
        chain.value, chain.width = source, before
        source = chain.conv(width, 1, strides=strides).value
    return chain.raw("Add", made, source).node("Relu")


def inverted(chain: Chain, inner: int) -> Chain:
    """A wide block as those of MobileNetV3: pointwise, depthwise, gate, pointwise."""
    source, before = chain.value, chain.width
    chain.conv(inner, 1).batch_norm().node("Clip", np.float32(0), np.float32(1))
    made = chain.conv(inner, pads=[1] * 4, group=inner).value
    chain.node("GlobalAveragePool").conv(4, 1).node("Relu").conv(inner, 1).node("Sigmoid")
    return chain.raw("Mul", made, chain.value).conv(before, 1).raw("Add", chain.value, source)


def residual_network(**options: str) -> Chain:
    """A stem, three blocks, of which the second changes the width, and a classifier."""
    chain = Chain(seed=2).conv(6, pads=[1] * 4).node("Relu")
    block(block(block(chain, 8, **options), 10, width=9, **options), 8, **options)
    return chain.node("Flatten").gemm(5, features=9 * 4 * 4)
