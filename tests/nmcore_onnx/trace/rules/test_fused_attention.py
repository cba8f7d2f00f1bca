"""Attention as one operator: whole heads stay or go, in every layout."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import nmcore
from chain import Chain
from nmcore_onnx import backend
from proving import prove, prove_twins, reasons, widths

LENGTH, WIDTH, HEADS, SIZE = 5, 16, 4, 8
CONTRIB = onnx.helper.make_opsetid("com.microsoft", 1)
MS = {"domain": CONTRIB.domain}


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
    return model


def standard(*, apart=False, kv_heads=HEADS, mask=None):
    chain = start(opset=23)
    parts = [projected(chain, heads, apart=apart) for heads in (HEADS, kv_heads, kv_heads)]
    counts = {} if apart else {"q_num_heads": HEADS, "kv_num_heads": kv_heads}
    masks = [] if mask is None else [chain.constant(mask)]
    chain.raw("Attention", *parts, *masks, **counts)
    if apart:
        chain.node("Transpose", perm=[0, 2, 1, 3]).node("Reshape", np.array([0, 0, -1]))
    return finish(chain)


def multi_head(*, bias=True, others=()):
    chain = start()
    parts = [projected(chain, HEADS) for _ in range(3)]
    added = chain.constant(chain.weight(3 * HEADS * SIZE, 1)[:, 0]) if bias else ""
    chain.raw("MultiHeadAttention", *parts, added, *others, num_heads=HEADS, **MS)
    return finish(chain)


def packed(*others, sizes=None):
    """onnxruntime's Attention, whose weight is a part of it."""
    chain, columns = start(), 3 * HEADS * SIZE if sizes is None else sum(sizes)
    weight = np.ascontiguousarray(chain.weight(columns, WIDTH).T)
    names = [chain.constant(weight), chain.constant(chain.weight(columns, 1)[:, 0])]
    given = {} if sizes is None else {"qkv_hidden_sizes": sizes}
    chain.raw("Attention", "input", *names, *others, num_heads=HEADS, **given, **MS)
    return finish(chain, HEADS * SIZE if sizes is None else sizes[-1])


def grouped_queries(*, in_one=False, chain=None, angles=None):
    """As language models have it; the past is empty, lengths come from constants."""
    chain = chain or start()
    if in_one:
        parts = [projected(chain, HEADS + 4), "", ""]
    else:
        parts = [projected(chain, heads) for heads in (HEADS, 2, 2)]
    lengths = [np.array([LENGTH - 1], np.int32), np.array(LENGTH, np.int32)]
    names = [*parts, "", "", *(chain.constant(each) for each in lengths)]
    counts = {"num_heads": HEADS, "kv_num_heads": 2}
    if angles is not None:
        names, counts = [*names, angles, angles], {**counts, "do_rotary": 1}
    chain.raw("GroupQueryAttention", *names, **counts, **MS)
    return finish(chain)


def scores(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype("f4")


@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize("kv_heads", [4, 2])
def test_heads_of_standard_attention(apart, kv_heads):
    prove(standard(apart=apart, kv_heads=kv_heads), {"matmul1": kv_heads})


@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize("shape", [(1, HEADS, LENGTH, LENGTH), (HEADS, LENGTH, LENGTH)])
def test_a_constant_mask_with_an_entry_a_head_is_cut(apart, shape):
    prove(standard(apart=apart, mask=scores(*shape)), {"matmul1": HEADS})


@pytest.mark.parametrize("shape", [(LENGTH, LENGTH), (1, 1, LENGTH, LENGTH)])
def test_a_mask_for_all_heads_stays(shape):
    prove(standard(mask=scores(*shape)), {"matmul1": HEADS})


def test_a_mask_whose_heads_a_weight_makes_loses_them_too():
    chain = start(opset=23)
    parts = [projected(chain, HEADS) for _ in range(3)]
    chain.value, chain.width = chain.constant(scores(LENGTH, LENGTH, 6)), 6
    mask = chain.matmul(HEADS).node("Transpose", perm=[2, 0, 1]).value
    chain.raw("Attention", *parts, mask, q_num_heads=HEADS, kv_num_heads=HEADS)
    prove(finish(chain), {"matmul1": HEADS})


@pytest.mark.parametrize("bias", [False, True])
def test_heads_of_multi_head_attention(bias):
    prove(multi_head(bias=bias), {"matmul1": HEADS})


@pytest.mark.parametrize("sizes", [None, (32, 32, 16)])
def test_heads_of_attention_with_its_weight(sizes):
    prove(packed(sizes=sizes), {"attention1": HEADS})


@pytest.mark.parametrize("in_one", [False, True])
def test_query_heads_go_with_the_key_head_they_read(in_one):
    prove(grouped_queries(in_one=in_one), {"matmul1": 2})


# Equal heads: the last is a copy of the first, which is the smallest.

PACKED = [HEADS * SIZE] * 3
TWINS = {
    "standard": (standard, HEADS, {32: [32]}),
    "standard, heads apart": (lambda: standard(apart=True), HEADS, {32: [32]}),
    "standard, grouped queries": (lambda: standard(kv_heads=2), 2, {32: [32], 16: [16]}),
    "MultiHeadAttention": (multi_head, HEADS, {32: [32], 96: PACKED}),
    "Attention": (packed, HEADS, {96: PACKED}),
    "GroupQueryAttention": (grouped_queries, 2, {32: [32], 16: [16]}),
    "GroupQueryAttention in one": (lambda: grouped_queries(in_one=True), 2, {64: [32, 16, 16]}),
}


@pytest.mark.parametrize("form", TWINS)
def test_a_head_whose_twin_is_kept_goes_without_loss(form):
    make, heads, parts = TWINS[form]
    prove_twins(make(), heads, parts)


def test_what_is_measured_behind_attention_makes_up_for_heads():
    result = nmcore.compress(packed(), ratio=0.5, method="moments", samples=2, verify=True)
    assert result.report.verified
    assert [group.kept for group in result.report.groups] == [HEADS // 2]


@pytest.mark.parametrize("make", [packed, multi_head, grouped_queries])
def test_work_is_counted(make):
    """Half of the heads is half of the work."""
    model = make()
    before = backend.open(model).cost().macs
    weights = sum(
        tensor.dims[0] * tensor.dims[1]
        for tensor in model.graph.initializer
        if len(tensor.dims) == 2
    )
    assert before == LENGTH * (weights + 2 * LENGTH * HEADS * SIZE)
    assert nmcore.compress(model, ratio=0.5, method="prune").after.macs == before // 2


# what is left alone


def add_input(model, name, shape, kind=onnx.TensorProto.FLOAT):
    model.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, shape))
    return model


def test_a_past_keeps_all_heads():
    model = grouped_queries()
    (node,) = (each for each in model.graph.node if each.op_type == "GroupQueryAttention")
    for index, name in ((3, "past_key"), (4, "past_value")):
        node.input[index] = name
        add_input(model, name, [1, 2, "past", SIZE])
    assert widths(model) == {}
    assert "part of the model's interface" in reasons(model)["matmul1"]


def test_a_past_of_attention_with_its_weight_keeps_all_heads():
    model = add_input(packed("", "past"), "past", [2, 1, HEADS, "past_length", SIZE])
    assert widths(model) == {}
    assert "part of the model's interface" in reasons(model)["attention1"]


def test_keys_that_are_given_out_keep_all_heads():
    model = multi_head()
    (node,) = (each for each in model.graph.node if each.op_type == "MultiHeadAttention")
    node.output.extend(["key", "value"])
    kind = onnx.TensorProto.FLOAT
    shape = [1, HEADS, LENGTH, SIZE]
    model.graph.output.append(onnx.helper.make_tensor_value_info("key", kind, shape))
    assert widths(model) == {}
    assert "are the model's output 'key'" in reasons(model)["matmul1"]


@pytest.mark.parametrize(
    "make", [lambda: multi_head(others=("", "mask")), lambda: packed("", "", "mask")]
)
@pytest.mark.parametrize("heads", [HEADS, "heads"])
def test_a_mask_that_is_given_with_an_entry_a_head_keeps_them(make, heads):
    model = add_input(make(), "mask", [1, heads, LENGTH, LENGTH])
    assert widths(model) == {}
    assert any("that cannot shrink" in reason for reason in reasons(model).values())


def test_a_mask_that_is_given_for_all_heads_does_not():
    model = add_input(multi_head(others=("", "mask")), "mask", [1, 1, LENGTH, LENGTH])
    prove(model, {"matmul1": HEADS})


def test_keys_that_no_weight_makes_keep_all_heads():
    model = multi_head(bias=False)
    (node,) = (each for each in model.graph.node if each.op_type == "MultiHeadAttention")
    node.input[1] = "keys"
    add_input(model, "keys", [1, LENGTH, HEADS * SIZE])
    assert widths(model) == {}
    assert "do not all come from weights" in reasons(model)["matmul1"]


def test_queries_keys_and_values_in_one_of_five_axes_stay():
    chain = start()
    projected(chain, HEADS * 3)
    chain.node("Reshape", np.array([0, 0, HEADS, 3, SIZE]))
    chain.raw("MultiHeadAttention", chain.value, num_heads=HEADS, **MS)
    assert widths(finish(chain)) == {}


def test_angles_that_a_weight_makes_stay():
    chain = start()
    chain.value, chain.width = "table", 4
    angles = chain.matmul(SIZE // 2).value
    model = add_input(grouped_queries(chain=chain, angles=angles), "table", [LENGTH, 4])
    assert widths(model) == {"matmul2": 2}
    assert "something else than queries" in reasons(model)["matmul1"]


def test_a_bias_from_a_table_that_two_layers_share_loses_heads_of_both():
    table = np.random.default_rng(0).standard_normal((9, HEADS)).astype("f4")
    places = np.random.default_rng(1).integers(0, 9, (LENGTH, LENGTH))
    chain = start()
    chain.raw("Gather", chain.constant(table), chain.constant(places))
    chain.node("Transpose", perm=[2, 0, 1]).node("Unsqueeze", np.array([0]))
    bias, states = chain.value, "input"
    for _ in range(2):
        weight = chain.constant(chain.weight(3 * HEADS * SIZE, WIDTH).T.copy())
        added = chain.constant(np.zeros(3 * HEADS * SIZE, "f4"))
        inputs = (states, weight, added, "", "", bias)
        chain.raw("Attention", *inputs, num_heads=HEADS, **MS)
        chain.width = HEADS * SIZE
        states = chain.matmul(WIDTH).value
    model = finish(chain, WIDTH)
    result = nmcore.compress(model, ratio=0.5, method="merge", verify=True)
    (heads,) = (group for group in result.plan.groups if group.width == HEADS)
    assert len(heads.kept) == HEADS // 2
    cut = onnx.load_from_string(result.graph.serialize())
    counts = [
        each.i for node in cut.graph.node for each in node.attribute if each.name == "num_heads"
    ]
    assert counts == [HEADS // 2, HEADS // 2]
