"""What models weigh, counted by hand."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from chain import Chain
from nmcore.plugins import registry
from unfolding import values


def cost(model):
    return registry.open_graph(model).cost()


def ones(*shape, dtype=np.float32):
    return np.ones(shape, dtype)


def node(op, shape, *inputs, **attributes):
    return Chain(shape).node(op, *inputs, **attributes).build()


# Multiply-accumulates of one sample, and numbers in the weights.
NODES = {
    "Conv": (
        lambda: node("Conv", ("n", 3, 8, 8), ones(5, 3, 3, 3), ones(5)),
        5 * 36 * 27,
        5 * 27 + 5,
    ),
    "Conv, strides, pads, dilations": (
        lambda: node(
            *("Conv", ("n", 3, 9, 8), ones(5, 3, 3, 2)),
            strides=[2, 1],
            pads=[1, 0, 1, 1],
            dilations=[1, 2],
        ),
        5 * (5 * 7) * 18,
        90,
    ),
    "Conv, groups": (
        lambda: node("Conv", ("n", 4, 8, 8), ones(6, 2, 3, 3), group=2),
        6 * 36 * 18,
        108,
    ),
    "Conv, depthwise": (
        lambda: node("Conv", ("n", 4, 8, 8), ones(4, 1, 3, 3), group=4),
        4 * 36 * 9,
        36,
    ),
    "Conv, SAME": (
        lambda: node("Conv", (1, 3, 7, 8), ones(2, 3, 3, 3), auto_pad="SAME_UPPER", strides=[2, 2]),
        2 * 16 * 27,
        54,
    ),
    "Conv, 1-D": (lambda: node("Conv", ("n", 3, 10), ones(5, 3, 4)), 5 * 7 * 12, 60),
    "Conv, 3-D": (lambda: node("Conv", (1, 2, 4, 5, 6), ones(3, 2, 2, 2, 2)), 3 * 60 * 16, 48),
    "ConvTranspose": (
        lambda: node("ConvTranspose", ("n", 3, 4, 4), ones(3, 5, 3, 3), ones(5), strides=[2, 2]),
        3 * 16 * 45,
        140,
    ),
    "ConvTranspose, groups": (
        lambda: node("ConvTranspose", (1, 4, 4, 4), ones(4, 3, 2, 2), group=2),
        4 * 16 * 12,
        48,
    ),
    "Gemm": (lambda: node("Gemm", ("n", 6), ones(6, 5), ones(5)), 30, 35),
    "Gemm, transB": (lambda: node("Gemm", ("n", 6), ones(5, 6), transB=1), 30, 30),
    "Gemm, transA": (lambda: node("Gemm", (6, 4), ones(6, 5), transA=1), 4 * 30, 30),
    "MatMul": (lambda: node("MatMul", ("n", 6), ones(6, 5)), 30, 30),
    "MatMul, sequence": (lambda: node("MatMul", ("n", 7, 6), ones(6, 5)), 210, 30),
    "MatMul, stack": (lambda: node("MatMul", (2, 3, 7, 6), ones(3, 6, 5)), 2 * 3 * 7 * 30, 90),
    "MatMul, vector": (lambda: node("MatMul", (7, 6), ones(6)), 42, 6),
    "Einsum": (
        lambda: node("Einsum", (2, 7, 6), ones(6, 5), equation="b s i, i o -> b s o"),
        2 * 7 * 6 * 5,
        30,
    ),
    "Einsum, indices that stay and one summed alone": (
        lambda: node("Einsum", (2, 7, 6), ones(2, 7, 4), equation="bsi,bsj->bij"),
        2 * 7 * 6 * 4,
        56,
    ),
    "Einsum, ellipsis": (
        lambda: node("Einsum", (2, 7, 6), ones(1, 7, 6, 5), equation="...i,...io->...o"),
        2 * 7 * 6 * 5,
        210,
    ),
    "Einsum, one factor": (lambda: node("Einsum", (2, 6), equation="ij->ji"), 0, 0),
    "nothing": (lambda: node("Relu", ("n", 3, 8, 8)), 0, 0),
    "batch norm": (lambda: Chain().conv(4).batch_norm().build(), 4 * 36 * 27, 4 * 28 + 16),
}


@pytest.mark.parametrize("name", NODES)
def test_one_node(name):
    make, macs, params = NODES[name]
    found = cost(make())
    assert (found.macs, found.params) == (macs, params)


@pytest.mark.parametrize(("op", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
@pytest.mark.parametrize("directions", [1, 2])
def test_recurrent_layers(op, gates, directions):
    chain = Chain((7, 1, 6))
    chain.node(
        *(op, ones(directions, gates * 5, 6), ones(directions, gates * 5, 5)),
        ones(directions, 2 * gates * 5),
        hidden_size=5,
        direction="bidirectional" if directions == 2 else "forward",
    )
    found = cost(chain.build())
    assert found.macs == 7 * directions * gates * 5 * (6 + 5)
    assert found.params == directions * gates * 5 * (6 + 5 + 2)


def test_the_product_of_two_computed_values():
    chain = Chain((1, 4, 8, 6)).node("Transpose", perm=[0, 1, 3, 2])
    assert cost(chain.raw("MatMul", "input", "transpose1_out").build()).macs == 4 * 8 * 6 * 8


def test_dynamic_axes_are_assumed():
    pictures = Chain(("n", 3, "h", "w")).conv(4, strides=[2, 2], pads=[1] * 4).build()
    assert cost(pictures).macs == 4 * 112 * 112 * 27
    sequences = Chain(("n", "t", 6))
    sequences.width = 6
    assert cost(sequences.matmul(5).build()).macs == 32 * 30
    batches = [Chain((count, 3, 8, 8)).conv(4).build() for count in (1, 5)]
    assert [cost(model).macs for model in batches] == [4 * 36 * 27, 5 * 4 * 36 * 27]


def test_declared_sizes_do_not_contradict_assumed_ones():
    """Exporters leave symbolic shapes behind; assumed inputs make them numbers."""
    model = Chain(("n", 3, "h", "w")).conv(4).node("Relu").conv(5, 1).build()
    inferred = onnx.shape_inference.infer_shapes(model)
    assert cost(inferred).macs == cost(model).macs == 222 * 222 * (4 * 27 + 20)


def test_sizes_of_an_earlier_export_do_not_count():
    """The batch was made dynamic by hand; the values inside still declare the old one."""
    fixed = onnx.shape_inference.infer_shapes(
        Chain((8, 3, 8, 8)).conv(4).node("Relu").conv(5).build()
    )
    assert fixed.graph.value_info
    for value in (fixed.graph.input[0], fixed.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_param = "n"
    assert cost(fixed) == cost(Chain().conv(4).node("Relu").conv(5).build())


def computed_pads():
    """Pads as exporters of channels-last frameworks compute them: constants, but not written so."""
    chain = Chain(("n", 3, 8, 8))
    front = chain.constant(np.array([0, 0, 1, 2], np.int64))
    back = chain.constant(np.array([0, 0, 0, 1], np.int64))
    zero = chain.constant(np.array([0, 0, 0, 1], np.int64))
    chain.raw("Add", back, zero).raw("Concat", front, chain.value, axis=0)
    pads, chain.value = chain.value, "input"
    return chain.node("Pad", pads).conv(4).node("Relu").conv(5, 1).build(check=False)


def test_computed_pads():
    model = computed_pads()
    (y,) = values(model, ["conv1_out"], {"input": ones(1, 3, 8, 8)})
    assert y.shape == (1, 4, 7, 10)
    assert cost(model).macs == 70 * (4 * 27 + 20)


def test_a_size_that_nobody_knows():
    chain = Chain(("n", 3, 8, 8)).node("NonZero").node("Cast", to=TensorProto.FLOAT)
    model = chain.node("Transpose", perm=[1, 0]).node("MatMul", ones(4, 5)).build(check=False)
    assert cost(model).macs is None
    assert cost(model).uncounted == ("matmul1",)
    assert cost(model).params == 20


def test_sizes_computed_from_open_axes_are_evaluated():
    """Half of the height, as exporters write it, decides what the last convolution costs."""
    chain = Chain(("n", 3, "h", "w")).conv(4, 1)
    chain.raw("Shape", "conv1_out").node("Div", np.array([1, 1, 2, 2]))
    target, chain.value = chain.value, "conv1_out"
    chain.raw("Resize", "conv1_out", "", "", target, mode="nearest").conv(5, 1)
    found = cost(chain.build(check=False))
    assert found.macs == 224 * 224 * 12 + 112 * 112 * 20
    assert (found.assumed, found.uncounted) == ({"input": (1, 3, 224, 224)}, ())


def test_an_open_batch_alone_assumes_nothing():
    assert cost(Chain(("n", 3, 8, 8)).conv(4).build()).assumed == {}


def test_numbers_in_constant_nodes_and_small_integers_count():
    chain = Chain(("n", 6))
    tensor = onnx.numpy_helper.from_array(ones(6, 5), "w")
    chain.nodes.append(helper.make_node("Constant", [], ["w"], "make_w", value=tensor))
    chain.node("MatMul", "w")
    found = cost(chain.build())
    assert (found.nodes, found.params, found.macs) == (2, 30, 30)
    quantised = Chain(("n", 5))
    weight = quantised.constant(ones(5, 4, dtype=np.int8))
    quantised.raw("DequantizeLinear", weight, quantised.constant(np.float32(0.1)))
    quantised.raw("MatMul", "input", quantised.value)
    assert cost(quantised.build()).params == 20
    sizes = Chain(("n", 6)).node("Reshape", np.array([-1, 2, 3]))
    assert cost(sizes.build()).params == 0


def test_weights_and_work_in_subgraphs_count():
    def branch(name, width):
        weight = onnx.numpy_helper.from_array(ones(6, width), f"w_{name}")
        product = helper.make_node("MatMul", ["input", f"w_{name}"], [name])
        result = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        return helper.make_graph([product], name, [], [result], [weight])

    chain = Chain(("n", 6))
    condition = chain.node("ReduceSum", keepdims=0).node("Greater", np.float32(0)).value
    chain.nodes.append(
        helper.make_node(
            *("If", [condition], ["y"], "if"),
            then_branch=branch("one", 4),
            else_branch=branch("two", 3),
        )
    )
    chain.value = "y"
    found = cost(chain.build(check=False))
    assert found.nodes == 5
    assert found.params == 43
    assert found.macs == 6 * 4 + 6 * 3


def test_half_and_double_precision_count_alike():
    for dtype in (np.float16, np.float64):
        assert cost(Chain(dtype=dtype).conv(4).build()) == cost(Chain().conv(4).build())


@pytest.mark.parametrize("method", ["prune", "merge"])
def test_the_cost_of_a_result_is_that_of_the_file(method, tmp_path):
    import nmcore

    model = Chain().conv(8).batch_norm().node("Relu").conv(6).node("Flatten").gemm(5, 96).build()
    result = nmcore.compress(model, method=method, ratio=0.5)
    result.save(tmp_path / "m.onnx")
    assert cost(tmp_path / "m.onnx") == result.after
    assert result.after.params == sum(
        math.prod(t.dims) for t in onnx.load(tmp_path / "m.onnx").graph.initializer
    )


def test_attention_counts_as_the_two_products_that_it_is():
    nodes = [helper.make_node("Attention", ["q", "k", "v"], ["out"], "attention")]
    inputs = {"q": [1, 4, 5, 8], "k": [1, 4, 7, 8], "v": [1, 4, 7, 6]}
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, d) for n, d in inputs.items()]
    out = [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 4, 5, 6])]
    model = helper.make_model(
        helper.make_graph(nodes, "network", values, out),
        opset_imports=[helper.make_opsetid("", 23)],
        ir_version=11,
    )
    assert registry.open_graph(model).cost().macs == 4 * 5 * 7 * (8 + 6)


# Queries (2 of 4 heads), and what brings keys and values, by input; how many keys that are.
WITH_PAST = {
    "Attention": (
        ({0: [1, 4, 5, 8], 1: [1, 4, 7, 8], 2: [1, 4, 7, 8], 4: [1, 4, 3, 8], 5: [1, 4, 3, 8]}, ""),
        10,
    ),
    "keys and values in one": (({0: [1, 5, 32], 1: [1, 7, 4, 2, 8]}, "MultiHeadAttention"), 7),
    "turned keys": (
        ({0: [1, 5, 32], 1: [1, 4, 7, 8], 2: [1, 4, 7, 8]}, "MultiHeadAttention"),
        7,
    ),
    "all in one": (({0: [1, 5, 4, 3, 8]}, "MultiHeadAttention"), 5),
    "a past": (
        (
            {0: [1, 5, 32], 1: [1, 5, 32], 2: [1, 5, 32], 6: [1, 4, 3, 8], 7: [1, 4, 3, 8]},
            "MultiHeadAttention",
        ),
        8,
    ),
    "grouped queries with a past": (
        (
            {0: [1, 5, 32], 1: [1, 5, 16], 2: [1, 5, 16], 3: [1, 2, 3, 8], 4: [1, 2, 3, 8]},
            "GroupQueryAttention",
        ),
        8,
    ),
}


@pytest.mark.parametrize("name", WITH_PAST)
def test_keys_of_all_kinds_count(name):
    (inputs, op), keys = WITH_PAST[name]
    names = [f"i{k}" if k in inputs else "" for k in range(max(inputs) + 1)]
    domain = "com.microsoft" if op else ""
    counts = {"num_heads": 4} | ({"kv_num_heads": 2} if op.startswith("Group") else {})
    made = helper.make_node(
        op or "Attention", names, ["out"], "attention", domain=domain, **(counts if op else {})
    )
    values = [
        helper.make_tensor_value_info(f"i{k}", TensorProto.FLOAT, d) for k, d in inputs.items()
    ]
    sizes = [1, 5, 32] if op else [1, 4, 5, 8]
    out = [helper.make_tensor_value_info("out", TensorProto.FLOAT, sizes)]
    opsets = [helper.make_opsetid("", 23), helper.make_opsetid("com.microsoft", 1)]
    graph = helper.make_graph([made], "network", values, out)
    model = helper.make_model(graph, opset_imports=opsets, ir_version=11)
    assert registry.open_graph(model).cost().macs == 5 * keys * 4 * (8 + 8)


@pytest.mark.parametrize("past", [False, True])
def test_packed_attention_counts_its_projection_and_a_past(past):
    weight = helper.make_tensor("w", TensorProto.FLOAT, [6, 24], np.ones(144))
    inputs = {"x": [1, 5, 6]} | ({"past": [2, 1, 2, 3, 4]} if past else {})
    names = ["x", "w", "", "", *(["past"] if past else [])]
    made = helper.make_node(
        "Attention", names, ["out"], "attention", domain="com.microsoft", num_heads=2
    )
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, d) for n, d in inputs.items()]
    out = [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 5, 8])]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    graph = helper.make_graph([made], "network", values, out, [weight])
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    assert registry.open_graph(model).cost().macs == 5 * (144 + (5 + 3 * past) * 16)
