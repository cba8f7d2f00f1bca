"""Attention as one operator: whole heads stay or go, in every layout."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from chain import Chain, run
from proving import prove, reasons, widths

LENGTH, WIDTH, HEADS, SIZE = 5, 16, 4, 8
CONTRIB = onnx.helper.make_opsetid("com.microsoft", 1)


def start(opset=17):
    chain = Chain((1, LENGTH, WIDTH), opset=opset)
    chain.width = WIDTH
    return chain


def projected(chain, heads, *, apart=False):
    """A projection of the input, heads side by side or as an axis of their own."""
    chain.value, chain.width = "input", WIDTH
    chain.matmul(heads * SIZE)
    if apart:
        chain.node("Reshape", np.array([0, 0, heads, SIZE])).node("Transpose", perm=[0, 2, 1, 3])
    return chain.value


def finish(chain, width=HEADS * SIZE):
    chain.width = width
    model = chain.matmul(3).build(check=False)
    model.opset_import.append(CONTRIB)
    for node in model.graph.node:
        if node.op_type in ("MultiHeadAttention", "GroupQueryAttention") or "packed" in node.name:
            node.domain = CONTRIB.domain
    return model


def standard(*, apart, kv_heads=HEADS, mask=None):
    chain = start(opset=23)
    parts = [projected(chain, heads, apart=apart) for heads in (HEADS, kv_heads, kv_heads)]
    counts = {} if apart else {"q_num_heads": HEADS, "kv_num_heads": kv_heads}
    masks = [] if mask is None else [chain.constant(mask)]
    chain.raw("Attention", *parts, *masks, **counts)
    if apart:
        chain.node("Transpose", perm=[0, 2, 1, 3]).node("Reshape", np.array([0, 0, -1]))
    return finish(chain)


def multi_head(*, bias=False):
    chain = start()
    parts = [projected(chain, HEADS) for _ in range(3)]
    added = [chain.constant(chain.weight(3 * HEADS * SIZE, 1)[:, 0])] if bias else []
    chain.raw("MultiHeadAttention", *parts, *added, num_heads=HEADS)
    return finish(chain)


def multi_head_in_one():
    chain = start()
    projected(chain, HEADS * 3)
    chain.node("Reshape", np.array([0, 0, HEADS, 3, SIZE]))
    chain.raw("MultiHeadAttention", chain.value, num_heads=HEADS)
    return finish(chain)


def packed(*, bias=True, past=False, rng=0):
    """onnxruntime's Attention, whose weight is a part of it."""
    chain = start()
    weight = np.ascontiguousarray(chain.weight(3 * HEADS * SIZE, WIDTH).T)
    names = [chain.constant(weight)]
    names += [chain.constant(chain.weight(3 * HEADS * SIZE, 1)[:, 0])] if bias else []
    chain.raw("Attention", "input", *names, num_heads=HEADS)
    chain.nodes[-1].name = "packed"
    return finish(chain)


@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize("kv_heads", [4, 2])
def test_heads_of_standard_attention(apart, kv_heads):
    prove(standard(apart=apart, kv_heads=kv_heads), {"matmul1": kv_heads})


@pytest.mark.parametrize("apart", [True, False])
def test_a_constant_mask_with_an_entry_a_head_is_cut(apart):
    mask = np.random.default_rng(0).standard_normal((1, HEADS, LENGTH, LENGTH)).astype("f4")
    prove(standard(apart=apart, mask=mask), {"matmul1": HEADS})


def test_a_mask_for_all_heads_stays():
    mask = np.zeros((LENGTH, LENGTH), "f4")
    prove(standard(apart=False, mask=mask), {"matmul1": HEADS})


@pytest.mark.parametrize("bias", [False, True])
def test_heads_of_multi_head_attention(bias):
    prove(multi_head(bias=bias), {"matmul1": HEADS})


def test_heads_of_multi_head_attention_in_one():
    prove(multi_head_in_one(), {"matmul1": HEADS})


@pytest.mark.parametrize("bias", [False, True])
def test_heads_of_attention_with_its_weight(bias):
    prove(packed(bias=bias), {"packed": HEADS})


def grouped_queries(*, in_one=False):
    """As language models have it: the past is empty, lengths come from constants."""
    chain = start()
    if in_one:
        parts = [projected(chain, HEADS + 4), "", ""]
    else:
        parts = [projected(chain, heads) for heads in (HEADS, 2, 2)]
    lengths = [np.array([LENGTH - 1], np.int32), np.array(LENGTH, np.int32)]
    names = [*parts, "", "", *(chain.constant(each) for each in lengths)]
    chain.raw("GroupQueryAttention", *names, num_heads=HEADS, kv_num_heads=2)
    return finish(chain)


@pytest.mark.parametrize("in_one", [False, True])
def test_query_heads_go_with_the_key_head_they_read(in_one):
    prove(grouped_queries(in_one=in_one), {"matmul1": 2})


def test_a_past_keeps_all_heads():
    model = grouped_queries()
    (node,) = (each for each in model.graph.node if each.op_type == "GroupQueryAttention")
    for index, name in ((3, "past_key"), (4, "past_value")):
        node.input[index] = name
        kind = onnx.TensorProto.FLOAT
        model.graph.input.append(
            onnx.helper.make_tensor_value_info(name, kind, [1, 2, "past", SIZE])
        )
    assert widths(model) == {}
    assert "part of the model's interface" in reasons(model)["matmul1"]


def test_a_head_whose_twin_is_kept_is_lost_without_loss():
    """Two heads with equal queries, keys and values: one stands for both."""
    import nmcore

    model = packed()
    weight = model.graph.initializer[0]
    array = onnx.numpy_helper.to_array(weight).copy().reshape(WIDTH, 3, HEADS, SIZE)
    array[:, :, 2:] = array[:, :, :2]
    weight.CopyFrom(onnx.numpy_helper.from_array(array.reshape(WIDTH, -1), weight.name))
    bias = model.graph.initializer[1]
    offsets = onnx.numpy_helper.to_array(bias).copy().reshape(3, HEADS, SIZE)
    offsets[:, 2:] = offsets[:, :2]
    bias.CopyFrom(onnx.numpy_helper.from_array(offsets.reshape(-1), bias.name))
    result = nmcore.compress(model, keep={"packed": 2}, method="merge", providers=("cpu",))
    feeds = {"input": np.random.default_rng(1).standard_normal((1, LENGTH, WIDTH)).astype("f4")}
    small = run(result.to_bytes() if hasattr(result, "to_bytes") else result.model, feeds)
    np.testing.assert_allclose(small[0], run(model, feeds)[0], atol=1e-5)
