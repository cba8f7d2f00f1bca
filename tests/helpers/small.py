"""A small network that tests of many parts work on."""

from __future__ import annotations

from chain import Chain


def small_network(shape: tuple[int | str, ...] = ("n", 3, 8, 8)) -> Chain:
    """Two convolutions and two fully connected layers: groups of 8, 16 and 12 channels."""
    chain = Chain(shape).conv(8).node("Relu").conv(16).node("Relu")
    return chain.node("GlobalAveragePool").node("Flatten").gemm(12).node("Relu").gemm(10)
