"""Rotary embeddings: heads stay or go as a whole."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from chain import Chain
from proving import prove, reasons, widths

LENGTH, HEADS, SIZE = 6, 4, 8


def angles():
    turns = np.outer(np.arange(LENGTH), 1 / (1 + np.arange(SIZE // 2)))
    return [np.cos(turns).astype(np.float32)[None], np.sin(turns).astype(np.float32)[None]]


def projected(chain, source, *, apart):
    """A projection of ``source`` turned by angles, as heads (n, heads, length, size)."""
    chain.value, chain.width = source, 16
    chain.matmul(HEADS * SIZE)
    if apart:
        chain.node("Reshape", np.array([0, 0, HEADS, SIZE])).node("Transpose", perm=[0, 2, 1, 3])
        return chain.node("RotaryEmbedding", *angles()).value
    chain.node("RotaryEmbedding", *angles(), num_heads=HEADS)
    chain.node("Reshape", np.array([0, 0, HEADS, SIZE]))
    return chain.node("Transpose", perm=[0, 2, 1, 3]).value


def attention(*, apart, domain=""):
    model = _attention(apart)
    if domain:
        model.opset_import.append(onnx.helper.make_opsetid(domain, 1))
        places = np.arange(LENGTH)[None]
        model.graph.initializer.append(onnx.numpy_helper.from_array(places, "places"))
        caches = [
            onnx.numpy_helper.from_array(each[0], f"cache{k}") for k, each in enumerate(angles())
        ]
        model.graph.initializer.extend(caches)
    for node in model.graph.node if domain else ():
        if node.op_type == "RotaryEmbedding":
            node.domain = domain
            node.input[1:] = ["places", "cache0", "cache1"]
    return model


def _attention(apart):
    chain = Chain((1, LENGTH, 16), opset=23)
    query = projected(chain, "input", apart=apart)
    key = projected(chain, "input", apart=apart)
    turned = chain.raw("Transpose", key, perm=[0, 1, 3, 2]).value
    weights = chain.raw("MatMul", query, turned).node("Softmax", axis=-1).value
    chain.value, chain.width = "input", 16
    chain.matmul(HEADS * SIZE).node("Reshape", np.array([0, 0, HEADS, SIZE]))
    value = chain.node("Transpose", perm=[0, 2, 1, 3]).value
    chain.raw("MatMul", weights, value).node("Transpose", perm=[0, 2, 1, 3])
    chain.node("Reshape", np.array([0, 0, -1]))
    chain.width = HEADS * SIZE
    return chain.matmul(5).build()


@pytest.mark.parametrize("domain", ["", "com.microsoft"])
def test_heads_on_an_axis_of_their_own_pass(domain):
    prove(attention(apart=True, domain=domain), {"matmul1": HEADS})


@pytest.mark.parametrize("domain", ["", "com.microsoft"])
def test_heads_inside_of_the_last_axis_stay_or_go_as_a_whole(domain):
    prove(attention(apart=False, domain=domain), {"matmul1": HEADS})


def test_without_a_number_of_heads_it_is_declined():
    chain = Chain((1, LENGTH, 16), opset=23)
    chain.width = 16
    chain.matmul(HEADS * SIZE)
    chain.node("RotaryEmbedding", *angles(), num_heads=HEADS)
    chain.matmul(5)
    model = chain.build()
    assert widths(model) == {"matmul1": HEADS}
    (node,) = (node for node in model.graph.node if node.op_type == "RotaryEmbedding")
    node.domain = "com.microsoft"
    del node.attribute[:]
    positions, cosine, sine = np.arange(LENGTH)[None], *node.input[1:]
    model.graph.initializer.append(onnx.numpy_helper.from_array(positions, "positions"))
    node.input[1:] = ["positions", cosine, sine]
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    assert widths(model) == {}


def test_angles_made_from_channels_stay():
    chain = Chain((1, LENGTH, 4), opset=23)
    chain.width = 4
    chain.matmul(4)
    cosine = chain.value
    wide = chain.constant(chain.weight(1, LENGTH, HEADS * SIZE))
    chain.raw("RotaryEmbedding", wide, cosine, cosine, num_heads=HEADS)
    chain.width = HEADS * SIZE
    assert "takes angles from them" in reasons(chain.matmul(3).build())["matmul1"]
