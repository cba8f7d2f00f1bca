"""Layers of which onnxruntime makes one operator with what is beside them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from chain import Chain
from proving import prove, prove_twins, reasons, widths

LENGTH, WIDTH, HIDDEN = 5, 8, 24
CONTRIB = onnx.helper.make_opsetid("com.microsoft", 1)
MS = {"domain": CONTRIB.domain}


def start():
    chain = Chain((1, LENGTH, WIDTH))
    chain.width = WIDTH
    return chain


def finish(chain, width=3):
    model = chain.matmul(width).build(check=False)
    model.opset_import.append(CONTRIB)
    return model


def row(chain, width):
    return chain.weight(width, 1)[:, 0]


def bent(operator, *, bias=True, **attributes):
    """A hidden layer whose bias is a part of what bends it."""
    chain = start().matmul(HIDDEN, bias=not bias)
    extra = [row(chain, HIDDEN)] if bias else []
    return finish(chain.node(operator, *extra, **attributes, **MS))


def fused_matmul(*, alpha=0.5, turned=0, **attributes):
    """Two of them, the first of which makes hidden channels that the second reads."""
    chain = start()
    for width in (HIDDEN, 4):
        weight = chain.weight(width, chain.width)
        weight = weight if turned else np.ascontiguousarray(weight.T)
        chain.node("FusedMatMul", weight, alpha=alpha, transB=turned, **attributes, **MS)
        chain.width = width
        chain.node("Add", row(chain, width)).node("Relu")
    model = chain.build(check=False)
    model.opset_import.append(CONTRIB)
    return model


def scores(alpha=0.25):
    """Attention whose scores are a FusedMatMul that turns the keys."""
    chain = start()
    parts = []
    for _ in range(3):
        chain.value, chain.width = "input", WIDTH
        chain.matmul(16).node("Reshape", np.array([0, 0, 4, 4]))
        parts.append(chain.node("Transpose", perm=[0, 2, 1, 3]).value)
    query, key, value = parts
    chain.raw("FusedMatMul", query, key, transB=1, alpha=alpha, **MS).node("Softmax", axis=-1)
    chain.raw("MatMul", chain.value, value).node("Transpose", perm=[0, 2, 1, 3])
    chain.node("Reshape", np.array([0, 0, -1]))
    chain.width = 16
    return finish(chain)


def residual(*, simplified):
    """A hidden layer beside a stream, whose sum with it is normalised and read further on."""
    chain = start().matmul(WIDTH)
    stream = chain.value
    chain.matmul(HIDDEN, bias=False).node("FastGelu", row(chain, HIDDEN), **MS).matmul(WIDTH)
    gamma, beta = row(chain, WIDTH), row(chain, WIDTH)
    name = "SkipSimplifiedLayerNormalization" if simplified else "SkipLayerNormalization"
    given = [stream, gamma] if simplified else [stream, gamma, beta]
    chain.node(name, *given, **MS)
    chain.nodes[-1].output.extend(["", "", "sum"])
    chain.matmul(16).node("Relu").matmul(WIDTH)
    chain.raw("Add", chain.value, "sum")
    chain.node("SimplifiedLayerNormalization", gamma, axis=-1, epsilon=1e-5)
    return finish(chain)


def embedded():
    """Words, places and segments looked up and normalised, and a hidden layer behind."""
    chain = Chain((1, LENGTH))
    tables = [chain.constant(chain.weight(count, WIDTH)) for count in (11, LENGTH, 2)]
    norm = [chain.constant(row(chain, WIDTH)) for _ in range(2)]
    segments = chain.constant(np.zeros((1, LENGTH), np.int32))
    chain.raw("EmbedLayerNormalization", "input", segments, *tables, *norm, **MS)
    chain.nodes[-1].output.append("mask")
    chain.width = WIDTH
    chain.matmul(HIDDEN, bias=False).node("BiasGelu", row(chain, HIDDEN), **MS)
    model = finish(chain)
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.INT32
    return model


GELUS = {
    "BiasGelu": lambda: bent("BiasGelu"),
    "FastGelu with a bias": lambda: bent("FastGelu"),
    "FastGelu": lambda: bent("FastGelu", bias=False),
    "QuickGelu": lambda: bent("QuickGelu", bias=False, alpha=1.702),
    "Gelu": lambda: bent("Gelu", bias=False),
    "FusedMatMul": fused_matmul,
}


@pytest.mark.parametrize("form", GELUS)
def test_a_unit_whose_twin_is_kept_goes_without_loss(form):
    prove_twins(GELUS[form](), HIDDEN, {HIDDEN: [HIDDEN]})


def test_a_bias_in_a_gelu_tells_units_apart():
    """Rows that differ in their bias alone are merged with those of the same bias."""
    from nmcore_onnx import backend

    graph = backend.open(bent("BiasGelu"))
    (producer,) = graph.producers(graph.groups[0])
    (bias,) = (t for t in bent("BiasGelu").graph.initializer if list(t.dims) == [HIDDEN])
    np.testing.assert_array_equal(producer.folded().bias, onnx.numpy_helper.to_array(bias))


@pytest.mark.parametrize("turned", [0, 1])
@pytest.mark.parametrize("alpha", [1.0, 0.5, -2.0])
def test_weights_of_fused_products(turned, alpha):
    prove(fused_matmul(alpha=alpha, turned=turned), {"fusedmatmul1": HIDDEN})


def test_heads_pass_scores_with_turned_keys():
    prove(scores(), {"matmul1": 4})


def test_turned_data_make_channels_too():
    chain = Chain((1, WIDTH, LENGTH))
    weight = np.ascontiguousarray(chain.weight(HIDDEN, WIDTH).T)
    chain.node("FusedMatMul", weight, transA=1, **MS).node("Relu")
    chain.width = HIDDEN
    prove(finish(chain), {"fusedmatmul1": HIDDEN})


def test_channels_in_turned_data_stay():
    """The weight is square, so that they could be taken for positions that it mixes."""
    chain = start().matmul(HIDDEN).node("Relu").node("Transpose", perm=[0, 2, 1])
    chain.node("FusedMatMul", chain.weight(HIDDEN, HIDDEN), transA=1, **MS).node("Relu")
    model = finish(chain)
    prove(model, {"fusedmatmul1": HIDDEN})
    assert "which turns them" in reasons(model)["matmul1"]


def test_channels_on_the_last_axis_of_turned_data_stay():
    """There are as many as the weight has columns, so that these could be taken to read them."""
    chain = Chain((1, HIDDEN, WIDTH))
    chain.width = WIDTH
    chain.matmul(HIDDEN).node("Relu")
    chain.node("FusedMatMul", chain.weight(HIDDEN, 16), transA=1, **MS).node("Relu")
    chain.width = 16
    model = finish(chain)
    prove(model, {"fusedmatmul1": 16})
    assert "which turns them" in reasons(model)["matmul1"]


@pytest.mark.parametrize(
    ("given", "why"), [({"alpha": 0.0}, "switched off"), ({"transBatchA": 1}, "turns batches")]
)
def test_products_that_are_switched_off_or_turn_batches_are_left_alone(given, why):
    model = fused_matmul(**given)
    assert widths(model) == {}
    assert why in reasons(model)["fusedmatmul1"]


@pytest.mark.parametrize("simplified", [False, True])
def test_hidden_layers_beside_a_normalised_stream(simplified):
    model = residual(simplified=simplified)
    prove(model, {"matmul2": HIDDEN, "matmul4": 16})
    assert "normalises across it" in reasons(model)["matmul1"]


def test_a_hidden_layer_behind_normalised_embeddings():
    prove(embedded(), {"matmul1": HIDDEN})


@pytest.mark.parametrize("operator", ["MatMulNBits", "DynamicQuantizeMatMul"])
def test_integer_weights_are_left_alone(operator):
    chain = start().matmul(WIDTH)
    chain.node(operator, np.zeros((WIDTH, WIDTH), "u1"), np.ones(WIDTH, "f4"), **MS)
    model = finish(chain)
    assert widths(model) == {}
    assert "quantised" in reasons(model)[f"{operator.lower()}1"]


# Activations that are part of a convolution, with their parameters.
BENT = {
    "Relu": [],
    "Tanh": [],
    "Sigmoid": [],
    "LeakyRelu": [0.2],
    "Clip": [-0.3, 0.8],
    "HardSigmoid": [0.2, 0.5],
}


def convolved(activation, *, group=1, added=False):
    """Convolutions with activations in them, one behind the other; the second may add another."""
    fused = {"activation": activation, "pads": [1] * 4, **MS}
    if BENT[activation]:
        fused["activation_params"] = BENT[activation]
    chain = Chain((1, 3, 6, 6))
    chain.node("FusedConv", chain.weight(HIDDEN, 3, 3, 3), row(chain, HIDDEN), **fused)
    chain.width = HIDDEN
    first = chain.value
    if group > 1:
        kernel = chain.weight(HIDDEN, HIDDEN // group, 3, 3)
        chain.node("FusedConv", kernel, row(chain, HIDDEN), group=group, **fused)
    if added:
        beside = chain.raw("Neg", first).value
        kernel = chain.weight(HIDDEN, HIDDEN, 3, 3)
        chain.value = first
        chain.node("FusedConv", kernel, row(chain, HIDDEN), beside, **fused)
    chain.conv(5)
    model = chain.build(check=False)
    model.opset_import.append(CONTRIB)
    return model


@pytest.mark.parametrize("activation", BENT)
def test_activations_inside_of_a_convolution(activation):
    prove(convolved(activation), {"fusedconv1": HIDDEN})


@pytest.mark.parametrize("group", [HIDDEN, HIDDEN // 4, 2])
def test_groups_with_an_activation(group):
    units = {HIDDEN: HIDDEN, HIDDEN // 4: HIDDEN // 4}.get(group)
    expected = {"fusedconv1": units} if units else {"fusedconv1": 12, "fusedconv2": 12}
    prove(convolved("Relu", group=group), expected)


def test_what_is_added_before_the_activation_goes_too():
    prove(convolved("Relu", added=True), {"fusedconv1": HIDDEN})


def test_what_is_added_and_has_other_channels_keeps_them():
    model = convolved("Relu", added=True)
    (node,) = (each for each in model.graph.node if len(each.input) > 3)
    constant = onnx.numpy_helper.from_array(np.ones((1, HIDDEN, 6, 6), "f4"), "fixed")
    model.graph.initializer.append(constant)
    node.input[3] = "fixed"
    assert widths(model) == {"fusedconv1": HIDDEN}
    assert "channels must stay" in reasons(model)["fusedconv2"]


def test_channels_whose_filters_are_alike_merge_without_loss():
    """Rows, columns and biases alike: what the activation makes of them is alike, too."""
    import nmcore
    from chain import run

    model = convolved("LeakyRelu")
    for tensor in model.graph.initializer:
        if tensor.dims[0] == HIDDEN:
            array = onnx.numpy_helper.to_array(tensor).copy()
            array[HIDDEN // 2 :] = array[: HIDDEN // 2]
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    keep = {"groups": {"fusedconv1": list(range(HIDDEN // 2))}}
    x = {"input": np.random.default_rng(0).standard_normal((1, 3, 6, 6)).astype(np.float32)}
    expected = run(model, x)[0]
    for method in ("merge", "moments"):
        small = nmcore.compress(model, plan=keep, method=method, verify=True).graph.serialize()
        np.testing.assert_allclose(run(onnx.load_from_string(small), x)[0], expected, atol=2e-3)
