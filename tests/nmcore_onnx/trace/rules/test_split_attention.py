"""Split attention (ResNeSt): parts of equal channels are summed, and weighed by a softmax."""

from __future__ import annotations

import numpy as np
import pytest

from chain import Chain
from proving import prove, widths


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


def pooled(width: int, target: tuple[int, ...]) -> Chain:
    """A layer whose pooled channels are split into other axes."""
    chain = Chain((1, 3, 6, 6)).conv(width).node("GlobalAveragePool")
    return chain.node("Reshape", np.array(target))


@pytest.mark.parametrize(
    ("target", "units"), [((1, 3, 1, 4), 4), ((1, 2, 1, 6), 6), ((1, 12, 1, 1), 12), ((1, 12), 12)]
)
def test_axes_of_length_one_stand_for_nothing(target, units):
    chain = pooled(12, target).node("Relu").node("Flatten").gemm(5)
    prove(chain.build(), {"conv1": units})


@pytest.mark.parametrize("op", ["ReduceSum", "ReduceMean"])
@pytest.mark.parametrize(("target", "units"), [((1, 16, 2), 16), ((1, 2, 16), 16)])
def test_the_longer_axis_stands_where_one_is_summed(op, target, units):
    chain = pooled(32, target)
    if op == "ReduceSum":
        chain.node(op, np.array([1]), keepdims=0)
    else:
        chain.node(op, axes=[1], keepdims=0)
    chain.width = target[2]
    assert widths(chain.gemm(5).build()) == {"conv1": units}


@pytest.mark.parametrize(("op", "opset"), [("Softmax", 12), ("Softmax", 13), ("Hardmax", 13)])
def test_what_is_normalised_over_does_not_stand(op, opset):
    chain = Chain((1, 3, 6, 6), opset=opset).conv(24).node("GlobalAveragePool")
    chain.node("Reshape", np.array([1, 4, 6])).node("Transpose", perm=[0, 2, 1])
    chain.node(op, axis=2).node("Flatten")
    assert widths(chain.gemm(5, 24).build()) == {"conv1": 6}


@pytest.mark.parametrize("turned", [False, True])
def test_a_gate_from_the_parts_sum_may_stand_on_either_side(turned):
    """The sum over parts has tied nothing yet where the gate is met first."""
    chain = Chain((1, 3, 6, 6)).conv(32).node("Relu").node("Reshape", np.array([1, 4, 8, 16]))
    found = chain.value
    chain.node("ReduceSum", np.array([1]), keepdims=1).node("Sigmoid")
    chain.raw("Mul", *((chain.value, found) if turned else (found, chain.value)))
    chain.node("Reshape", np.array([1, 32, 4, 4]))
    prove(chain.conv(5).build(), {"conv1": 8})


@pytest.mark.parametrize("turned", [False, True])
def test_channels_that_are_tied_already_stand_without_tying_others(turned):
    """A gate that knows parts ties channel k of each; nothing tells that behind the ReLU."""
    chain = Chain((1, 3, 6, 6)).conv(32).node("GlobalAveragePool")
    found, chain.value, chain.width = chain.value, "input", 3
    chain.conv(32).node("GlobalAveragePool").node("Reshape", np.array([1, 4, 8]))
    chain.node("Softmax", axis=1).node("Reshape", np.array([1, 32, 1, 1]))
    chain.raw("Mul", *((chain.value, found) if turned else (found, chain.value)))
    chain.node("Reshape", np.array([1, 4, 8])).node("Relu").node("Softmax", axis=1).node("Flatten")
    prove(chain.gemm(5, 32).build(), {"conv1": 8})
