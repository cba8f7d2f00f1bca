"""Split attention (ResNeSt): parts of equal channels are summed, and weighed by a softmax."""

from __future__ import annotations

import numpy as np
import pytest

from chain import Chain
from proving import prove


def split_attention(parts: int, width: int) -> Chain:
    """A grouped convolution whose parts are weighed, channel by channel, by their sum."""
    chain = Chain((1, 3, 6, 6)).conv(12).node("Relu")
    chain.conv(parts * width, group=parts, pads=[1] * 4).node("Relu")
    chain.node("Reshape", np.array([1, parts, width, 4, 4]))
    found = chain.value
    chain.node("ReduceSum", np.array([1]), keepdims=0)
    chain.node("ReduceMean", axes=[2, 3], keepdims=1)
    chain.width = width
    chain.conv(6, 1).node("Relu").conv(parts * width, 1)
    chain.node("Reshape", np.array([1, 1, parts, width])).node("Transpose", perm=[0, 2, 1, 3])
    chain.node("Softmax", axis=1).node("Reshape", np.array([1, -1]))
    chain.node("Reshape", np.array([1, -1, 1, 1]))
    chain.node("Reshape", np.array([1, parts, width, 1, 1]))
    chain.raw("Mul", found, chain.value).node("ReduceSum", np.array([1]), keepdims=0)
    chain.width = width
    return chain.conv(5, 1)


@pytest.mark.parametrize("parts", [2, 3])
def test_channel_k_of_every_part_goes_at_once(parts):
    model = split_attention(parts, 8).build()
    prove(model, {"conv1": 12 // parts, "conv2": 8, "conv3": 6})
