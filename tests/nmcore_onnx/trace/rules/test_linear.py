"""Products that mix positions."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

import nmcore
from chain import Chain, run
from proving import prove, reasons, widths

PATCHES, WIDTH = 4, 8


def tokens():
    """A convolution whose channels end up last, as tokens (n, patches, width)."""
    chain = Chain(("n", 3, 8, 8)).conv(WIDTH, 4, strides=[4, 4])
    chain.node("Reshape", np.array([0, WIDTH, PATCHES])).node("Transpose", perm=[0, 2, 1])
    return chain


def mixed(chain, size=PATCHES):
    """Positions mixed by a weight: from as many as there are to ``size``."""
    chain.node("Transpose", perm=[0, 2, 1]).node("MatMul", chain.weight(PATCHES, size))
    chain.node("Add", chain.weight(size, 1)[:, 0])
    return chain.node("Transpose", perm=[0, 2, 1])


def test_channels_pass_a_product_that_mixes_positions():
    chain = tokens()
    stream = chain.value
    mixed(chain)
    chain.raw("Add", stream, chain.value)
    chain.width = WIDTH
    model = chain.matmul(5).build()
    assert "mixes positions" in reasons(model)["matmul1"]
    prove(model, {"conv1": WIDTH})


def test_one_that_makes_other_positions_makes_channels_of_its_own():
    chain = mixed(tokens(), 6)
    chain.node("Relu").node("Transpose", perm=[0, 2, 1])
    chain.node("MatMul", chain.weight(6, PATCHES))
    model = chain.build()
    assert widths(model) == {"matmul1": 6}
    assert "along another axis" in reasons(model)["conv1"]


def halved(chain):
    """Two halves, of stated sizes; one that states none keeps them equal."""
    value, sizes = chain.value, chain.constant(np.array([12, 12]))
    split = helper.make_node("Split", [value, sizes], ["pass", "gate"], "split", axis=2)
    chain.nodes.append(split)


def gated(chain):
    """The spatial gating unit of gMLP: one half, normalised and mixed, is a gate of the other."""
    chain.width = WIDTH
    chain.matmul(24).node("Relu")
    halved(chain)
    chain.value = "gate"
    scale, offset = (chain.weight(12, 1)[:, 0] + k for k in (1, 0))
    chain.node("LayerNormalization", scale, offset)
    return chain.raw("Mul", "pass", mixed(chain).value)


def test_what_a_gate_passes_goes_and_the_gate_is_taken_in_part():
    chain = gated(tokens())
    chain.width = 12
    model = chain.matmul(5).build()
    assert "normalises across channels" in reasons(model)["matmul1"]
    assert widths(model)["matmul1"] == 12
    prove(model, widths(model))


@pytest.mark.parametrize("how", ["Add", "Concat", "MatMul"])
def test_what_a_norm_keeps_whole_keeps_all_that_it_is_matched_with_otherwise(how):
    chain = tokens()
    chain.width = WIDTH
    chain.matmul(24).node("Relu")
    halved(chain)
    chain.value = "gate"
    chain.node("LayerNormalization", chain.weight(12, 1)[:, 0])
    normalised = chain.value
    if how == "MatMul":
        heads = chain.constant(np.array([0, PATCHES, 3, 4]))
        one = chain.raw("Reshape", normalised, heads).node("Transpose", perm=[0, 2, 1, 3]).value
        other = chain.raw("Reshape", "pass", heads).node("Transpose", perm=[0, 2, 3, 1]).value
        scores = chain.raw("MatMul", one, other).value
        chain.raw("MatMul", scores, one).node("Transpose", perm=[0, 2, 1, 3])
        chain.node("Reshape", np.array([0, 0, -1]))
    elif how == "Concat":
        chain.raw("Concat", "pass", normalised, axis=1)
    else:
        chain.raw("Add", "pass", normalised)
    chain.width = 12
    model = chain.matmul(5).build()
    assert "matmul1" not in widths(model)
    assert "conv1" in widths(model)
    prove(model, {"conv1": WIDTH})


def test_a_gate_that_is_added_as_well_keeps_all():
    chain = gated(tokens())
    value = chain.value
    normalised = next(n.output[0] for n in chain.nodes if n.op_type == "LayerNormalization")
    chain.raw("Add", value, normalised)
    chain.width = 12
    assert "matmul1" not in widths(chain.matmul(5).build())


def test_a_gate_of_two_layers_is_taken_for_both_alike():
    chain = gated(tokens())
    chain.nodes[-1].output[0] = "first"
    gate = next(n for n in chain.nodes if n.op_type == "Mul").input[1]
    other = tokens_of(chain)
    chain.raw("Mul", other, gate)
    chain.raw("Add", "first", chain.value)
    chain.width = 12
    model = chain.matmul(5).build()
    found = widths(model)
    assert found["matmul1"] == 12
    prove(model, found)


def tokens_of(chain):
    """A second layer of twelve on what the first reads."""
    first = next(n for n in chain.nodes if n.op_type == "MatMul")
    chain.value, chain.width = first.input[0], WIDTH
    return chain.matmul(12).value


def test_scores_of_queries_that_no_input_changes_are_a_product():
    """As the first layer of a decoder of objects has them: heads go, as they do elsewhere."""
    heads, size, length = 4, 4, 5
    chain = Chain((1, length, WIDTH))
    parts = []
    for source in (chain.constant(chain.weight(1, 3, WIDTH)), "input", "input"):
        chain.value, chain.width = source, WIDTH
        chain.matmul(heads * size).node("Reshape", np.array([0, 0, heads, size]))
        parts.append(chain.node("Transpose", perm=[0, 2, 1, 3]).value)
    query, key, value = parts
    turned = chain.raw("Transpose", key, perm=[0, 1, 3, 2]).value
    chain.raw("MatMul", query, turned).node("Softmax", axis=-1)
    chain.raw("MatMul", chain.value, value).node("Transpose", perm=[0, 2, 1, 3])
    chain.node("Reshape", np.array([0, 0, -1]))
    chain.width = heads * size
    prove(chain.matmul(3).build(), {"matmul1": heads})


# weights on the left of what they multiply


def from_the_left(*, bias=True, twins=False):
    """Two products (N, F) x (batch, F, positions), with an activation between them."""
    chain = Chain(("n", 3, 7))
    hidden = chain.weight(12, 3)
    offsets = chain.weight(12, 1)
    if twins:
        hidden[6:], offsets[6:] = hidden[:6], offsets[:6]
    chain.raw("MatMul", chain.constant(hidden), chain.value)
    if bias:
        chain.node("Add", offsets)
    chain.node("Relu")
    chain.raw("MatMul", chain.constant(chain.weight(4, 12)), chain.value)
    return chain.build()


@pytest.mark.parametrize("bias", [True, False])
def test_weights_on_the_left(bias):
    prove(from_the_left(bias=bias), {"matmul1": 12})


@pytest.mark.parametrize("method", ["merge", "moments"])
def test_twins_of_a_weight_on_the_left_go_without_loss(method):
    model = from_the_left(twins=True)
    plan = {"groups": {"matmul1": list(range(6))}}
    small = nmcore.compress(model, plan=plan, method=method, verify=True).graph.serialize()
    x = {"input": np.random.default_rng(0).standard_normal((2, 3, 7)).astype(np.float32)}
    expected, found = (run(each, x)[0] for each in (model, onnx.load_from_string(small)))
    np.testing.assert_allclose(found, expected, atol=1e-5 if method == "merge" else 2e-3)


def test_channels_that_stand_beside_what_a_weight_on_the_left_mixes():
    """As the positions of a mixer, of which there may be others behind."""
    chain = Chain(("n", 5, 8))
    chain.width = 8
    chain.matmul(12).node("Relu")
    chain.raw("MatMul", chain.constant(chain.weight(9, 5)), chain.value).node("Relu")
    model = chain.matmul(3).build()
    prove(model, {"matmul1": 12})
    assert reasons(model)["matmul2"] == "it mixes positions, of which all stay"
