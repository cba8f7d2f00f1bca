"""Small residual networks."""

from __future__ import annotations

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


def residual_network(**options: str) -> Chain:
    """A stem, three blocks, of which the second changes the width, and a classifier."""
    chain = Chain(seed=2).conv(6, pads=[1] * 4).node("Relu")
    block(block(block(chain, 8, **options), 10, width=9, **options), 8, **options)
    return chain.node("Flatten").gemm(5, features=9 * 4 * 4)
