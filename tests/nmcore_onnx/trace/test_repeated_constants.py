"""Biases of attention that are picked from a table, or filled with one number."""

from __future__ import annotations

import numpy as np
import pytest

from chain import Chain
from proving import prove, reasons, widths

LENGTH, WIDTH, HEADS, SIZE = 5, 8, 4, 4


def heads_of(chain, source):
    """A projection as heads (1, heads, length, size)."""
    chain.value, chain.width = source, WIDTH
    chain.matmul(HEADS * SIZE).node("Reshape", np.array([0, 0, HEADS, SIZE]))
    return chain.node("Transpose", perm=[0, 2, 1, 3]).value


def attended(chain, source, bias):
    """Attention with a bias on its scores, and the stream behind it."""
    query, key, value = (heads_of(chain, source) for _ in range(3))
    turned = chain.raw("Transpose", key, perm=[0, 1, 3, 2]).value
    chain.raw("MatMul", query, turned).node("Add", bias).node("Softmax", axis=-1)
    chain.raw("MatMul", chain.value, value).node("Transpose", perm=[0, 2, 1, 3])
    chain.node("Reshape", np.array([0, 0, -1]))
    chain.width = HEADS * SIZE
    added = chain.matmul(WIDTH).value
    return chain.raw("Add", source, added).value


def picked(chain, heads=HEADS):
    """As T5 has it: a table of distances, looked up for each pair of positions, and a mask."""
    distances = np.abs(np.subtract.outer(np.arange(LENGTH), np.arange(LENGTH)))
    # That depends on the input only in appearance, as lengths do.
    zero = chain.raw("Mul", "input", chain.constant(np.float32(0))).node("ReduceMax", keepdims=0)
    zero = chain.raw("Cast", zero.value, to=7).value
    places = chain.raw("Add", zero, chain.constant(distances)).value
    chain.raw("Gather", chain.constant(chain.weight(LENGTH, heads)), places)
    bias = chain.node("Transpose", perm=[2, 0, 1]).node("Unsqueeze", np.array([0])).value
    causal = chain.constant(np.tri(LENGTH, dtype=bool)[None, None])
    return chain.raw("Where", causal, bias, chain.constant(np.float32(-1e4))).value


def filled(chain, heads=HEADS):
    """As its cross attention has it: no bias, written as zeros of its shape."""
    sizes = chain.raw("Shape", "input").value
    length = chain.raw("Slice", sizes, *(chain.constant(np.array([k])) for k in (1, 2))).value
    front = chain.constant(np.array([1, heads]))
    chain.raw("Concat", front, length, length, axis=0)
    return chain.node("ConstantOfShape").value


def layers(make, count=1, **options):
    chain = Chain((1, LENGTH, WIDTH))
    bias = make(chain, **options)
    stream = "input"
    for _ in range(count):
        stream = attended(chain, stream, bias)
    chain.value, chain.width = stream, WIDTH
    return chain, bias


BIASES = {"picked": picked, "filled": filled}


@pytest.mark.parametrize("make", BIASES.values(), ids=BIASES)
def test_a_bias_with_an_entry_a_head_is_cut_with_them(make):
    chain, _ = layers(make)
    prove(chain.matmul(3).build(), {"matmul1": HEADS})


@pytest.mark.parametrize("make", BIASES.values(), ids=BIASES)
def test_layers_that_share_a_bias_lose_the_same_heads(make):
    chain, _ = layers(make, count=2)
    prove(chain.matmul(3).build(), {"matmul1": HEADS})


def test_attention_as_one_operator_has_such_a_bias_too():
    chain = Chain((1, LENGTH, WIDTH), opset=23)
    bias = picked(chain)
    parts = [heads_of(chain, "input") for _ in range(3)]
    chain.raw("Attention", *parts, bias).node("Transpose", perm=[0, 2, 1, 3])
    chain.node("Reshape", np.array([0, 0, -1]))
    chain.width = HEADS * SIZE
    prove(chain.matmul(3).build(), {"matmul1": HEADS})


@pytest.mark.parametrize("make", BIASES.values(), ids=BIASES)
def test_a_bias_for_all_heads_stays_as_it_is(make):
    """It is broadcast: no head is cut out of it."""
    chain, _ = layers(make, heads=1)
    prove(chain.matmul(3).build(), {"matmul1": HEADS})


@pytest.mark.parametrize("make", BIASES.values(), ids=BIASES)
def test_a_bias_that_was_read_before_keeps_all_heads(make):
    """Whatever came before took it for as long as it is."""
    chain = Chain((1, LENGTH, WIDTH))
    bias = make(chain)
    total = chain.raw("ReduceSum", bias, keepdims=0).value
    attended(chain, "input", bias)
    chain.node("Add", total)
    assert widths(chain.matmul(3).build()) == {}


@pytest.mark.parametrize("make", BIASES.values(), ids=BIASES)
def test_a_bias_that_is_given_out_keeps_all_heads(make):
    chain, bias = layers(make)
    model = chain.matmul(3).build(chain.value, bias)
    assert widths(model) == {}
    assert "must stay" in reasons(model)["matmul1"]


def test_a_bias_that_is_read_on_behind_is_followed_there():
    chain, bias = layers(picked)
    chain.raw("Add", chain.value, chain.raw("ReduceSum", bias, keepdims=0).value)
    assert widths(chain.matmul(3).build()) == {}
