"""Channels that meet constants: class tokens, embeddings of positions."""

from __future__ import annotations

import numpy as np
import pytest

from chain import Chain
from proving import prove, reasons, widths

PATCHES, WIDTH = 4, 8


def patches(batch="n"):
    """A convolution whose channels end up last, as tokens (n, patches, width)."""
    chain = Chain((batch, 3, 8, 8)).conv(WIDTH, 4, strides=[4, 4])
    chain.node("Reshape", np.array([0, WIDTH, PATCHES])).node("Transpose", perm=[0, 2, 1])
    return chain


def batch_of(chain, value):
    """The batch, as exporters write it."""
    chain.raw("Shape", value)
    return chain.node("Slice", np.array([0]), np.array([1])).value


def classified(chain, tokens):
    """A batch norm and a layer on all tokens, class token first."""
    chain.raw("Relu", tokens)
    chain.width = WIDTH
    return chain.matmul(5).build()


def token(chain):
    return chain.constant(chain.weight(1, 1, WIDTH), "token")


def test_a_class_token_is_cut_with_the_channels_of_the_patches():
    chain = patches(1)
    value = chain.value
    chain.raw("Concat", token(chain), value, axis=1)
    prove(classified(chain, chain.value), {"conv1": WIDTH})


def expanded(chain, ending):
    """The class token once for each picture: expand(batch, -1, -1) as torch writes it."""
    value = chain.value
    count = batch_of(chain, value)
    target = chain.raw("Concat", count, chain.constant(np.array(ending)), axis=0).value
    if -1 in ending:
        minus = chain.constant(np.array([-1]))
        unset = chain.raw("Equal", target, minus).value
        target = chain.raw("Where", unset, chain.constant(np.array([1])), target).value
    return value, chain.raw("Expand", token(chain), target).value


@pytest.mark.parametrize("ending", [[-1, -1], [1, 1], [1, WIDTH]])
def test_a_class_token_that_is_expanded_for_each_picture_is_cut(ending):
    chain = patches()
    value, repeated = expanded(chain, ending)
    chain.raw("Concat", repeated, value, axis=1)
    prove(classified(chain, chain.value), {"conv1": WIDTH})


def test_a_class_token_may_be_transposed_and_tiled():
    chain = patches(2)
    value = chain.value
    column = chain.constant(chain.weight(WIDTH, 1))
    chain.raw("Unsqueeze", column, chain.constant(np.array([0])))
    chain.node("Transpose", perm=[0, 2, 1])
    chain.node("Tile", np.array([2, 1, 1]))
    chain.raw("Concat", chain.value, value, axis=1)
    prove(classified(chain, chain.value), {"conv1": WIDTH})


def test_positions_that_are_expanded_for_each_picture_are_cut():
    chain = patches()
    value = chain.value
    count = batch_of(chain, value)
    target = chain.raw("Concat", count, chain.constant(np.array([1, 1])), axis=0).value
    table = chain.constant(chain.weight(1, PATCHES, WIDTH))
    chain.raw("Add", chain.raw("Expand", table, target).value, value)
    prove(classified(chain, chain.value), {"conv1": WIDTH})


def test_a_class_token_that_something_else_reads_stays_with_all():
    chain = patches()
    value, repeated = expanded(chain, [-1, -1])
    joined = chain.raw("Concat", repeated, value, axis=1).value
    chain.raw("ReduceMax", repeated, axes=[1, 2], keepdims=1)
    chain.raw("Add", joined, chain.value)
    assert "takes their maximum" in reasons(classified(chain, chain.value))["conv1"]


def test_one_number_for_all_channels_of_the_token_stays_one():
    chain = patches()
    value = chain.value
    count = batch_of(chain, value)
    target = chain.raw("Concat", count, chain.constant(np.array([1, WIDTH])), axis=0).value
    chain.raw("Expand", chain.constant(chain.weight(1, 1, 1)), target)
    chain.raw("Concat", chain.value, value, axis=1)
    assert "must stay" in reasons(classified(chain, chain.value))["conv1"]


def windowed(*, channels_too=False):
    """Rows and columns are filled up to a multiple of 5, whatever the size of the picture."""
    chain = Chain(("n", 3, "h", "w")).conv(WIDTH)
    value = chain.value
    sizes = chain.raw("Shape", value).value
    picked = [1, 2, 3] if channels_too else [2, 3]
    sizes = chain.raw("Gather", sizes, chain.constant(np.array(picked))).value
    window = chain.constant(np.array([4, 5, 5][-len(picked) :]))
    rest = chain.raw("Mod", chain.raw("Neg", sizes).value, window).value
    nothing = chain.constant(np.zeros(8 - len(picked), np.int64))
    amounts = chain.raw("Concat", nothing, rest, axis=0).value
    chain.raw("Pad", value, amounts)
    return chain.conv(4).build()


def test_padding_that_fills_up_windows_is_of_other_axes():
    prove(windowed(), {"conv1": WIDTH})


def test_padding_that_is_computed_from_the_number_of_channels_stops_them():
    assert "conv1" in reasons(windowed(channels_too=True))


@pytest.mark.parametrize("axes", [[2, 3], [-1]])
def test_padding_of_named_axes(axes):
    chain = Chain(opset=18).conv(WIDTH)
    amounts = np.ones(2 * len(axes), np.int64)
    chain.node("Pad", amounts, "", np.array(axes))
    prove(chain.conv(4).build(), {"conv1": WIDTH})


def test_padding_of_the_channels_by_name_goes_with_those_that_it_is_added_to():
    chain = Chain(opset=18).conv(WIDTH)
    one = chain.value
    other = chain.conv(WIDTH + 4, 1).value
    padded = chain.raw("Pad", one, chain.constant(np.array([0, 4])), "", chain.constant([1])).value
    chain.raw("Add", padded, other)
    model = chain.conv(4, 1).build()
    assert set(widths(model)) == {"conv1", "conv2"}
    prove(model, widths(model))
