"""Small networks in every quantised form: cut, proven, and quantised again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import quantize_dynamic

import nmcore
from chain import Chain, initializer, run
from nmcore.pipeline.measuring import requantised
from nmcore.plugins import registry
from nmcore_onnx.quantisation.nbits import packed, unpacked

Layer = Callable[[Chain, np.ndarray, str], None]
SIZES = (16, 24, 20, 5)


def levels(weight, kind, bits, axis, symmetric):
    """The plain formulas: integers, scale and zero point of a weight, of all of it or an axis."""
    others = None if axis is None else tuple(k for k in range(weight.ndim) if k != axis)
    low, high = (0, 2**bits - 1) if kind == np.uint8 else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    least, most = (f(weight, axis=others, keepdims=True) for f in (np.min, np.max))
    if symmetric:
        middle = (low + high + 1) // 2
        scale = np.maximum(np.abs(least), np.abs(most)) / (high - middle)
        zero = np.full_like(scale, middle)
    else:
        least, most = np.minimum(least, 0), np.maximum(most, 0)
        scale = (most - least) / (high - low)
        zero = np.clip(np.round(low - least / scale), low, high)
    integers = np.clip(np.round(weight / scale) + zero, low, high).astype(kind)
    shape = () if axis is None else (-1,)
    return integers, scale.astype("f4").reshape(shape), zero.astype(kind).reshape(shape)


def static(kind=np.int8, axis=None, symmetric=True, transposed=False) -> Layer:
    def layer(chain, weight, name):
        weight = weight.T if transposed else weight
        parts = levels(weight, kind, 8, axis, symmetric)
        names = [chain.constant(p, f"{name}_{k}") for k, p in zip("wsz", parts, strict=True)]
        data = chain.value
        chain.raw("DequantizeLinear", *names, **({} if axis is None else {"axis": axis}))
        if transposed:
            chain.raw("Transpose", chain.value, perm=[1, 0])
        chain.raw("MatMul", data, chain.value)

    return layer


def blocks(axis: int, size: int, kind: type = np.int8) -> Layer:
    """DequantizeLinear with blocks, as of opset 21."""

    def layer(chain, weight, name):
        width = [(0, -n % size if k == axis else 0) for k, n in enumerate(weight.shape)]
        parts = np.split(np.pad(weight, width), range(size, weight.shape[axis], size), axis)
        scale = np.concatenate([np.abs(p).max(axis, keepdims=True) / 7 for p in parts], axis)
        full = np.repeat(scale, size, axis)[: weight.shape[0], : weight.shape[1]]
        integers = np.clip(np.round(weight / full), -8, 7).astype(kind)
        chain.initializers.append(_tensor(integers, f"{name}_w"))
        chain.constant(scale.astype("f4"), f"{name}_s")
        data, attributes = chain.value, {"axis": axis, "block_size": size}
        chain.raw("DequantizeLinear", f"{name}_w", f"{name}_s", **attributes)
        chain.raw("MatMul", data, chain.value)

    return layer


def _tensor(array, name):
    if array.dtype != ml_dtypes.int4:
        return numpy_helper.from_array(array, name)
    return helper.make_tensor(name, TensorProto.INT4, array.shape, array.astype(int).ravel())


def dynamic(kind=np.int8, axis=None, symmetric=True) -> Layer:
    def layer(chain, weight, name):
        parts = levels(weight, kind, 8, axis, symmetric)
        w, s, z = (chain.constant(p, f"{name}_{k}") for k, p in zip("wsz", parts, strict=True))
        quantised = [f"{chain.value}_{end}" for end in ("q", "scale", "zero")]
        if not any(quantised[0] in node.output for node in chain.nodes):
            chain.nodes.append(
                helper.make_node("DynamicQuantizeLinear", [chain.value], quantised, f"{name}_dql")
            )
        chain.raw("Mul", quantised[1], s)
        scales = chain.value
        chain.raw("MatMulInteger", quantised[0], w, quantised[2], z)
        chain.raw("Cast", chain.value, to=TensorProto.FLOAT).raw("Mul", chain.value, scales)

    return layer


def nbits(bits: int, block: int, symmetric: bool, bias: bool = False) -> Layer:
    def layer(chain, weight, name):
        length, rows = weight.shape
        count = -(-length // block)
        full = np.pad(weight.T, ((0, 0), (0, count * block - length))).reshape(-1, block)
        integers, scale, zero = levels(full, np.uint8, bits, 0, symmetric)
        data = packed(integers.reshape(rows, -1), bits).reshape(rows, count, -1)
        names = [chain.constant(data, f"{name}_w"), chain.constant(scale, f"{name}_s")]
        if not symmetric:
            names.append(chain.constant(packed(zero.reshape(rows, -1), bits).ravel(), f"{name}_z"))
        if bias:
            added = np.linspace(-1, 1, rows, dtype="f4")
            names += [""] * (4 - len(names)) + ["", chain.constant(added, f"{name}_b")]
            names = names[:5]
        chain.raw(
            *("MatMulNBits", chain.value, *names),
            K=length,
            N=rows,
            bits=bits,
            block_size=block,
            domain="com.microsoft",
        )

    return layer


FORMS: dict[str, Layer] = {
    "static int8": static(),
    "static uint8 asymmetric": static(np.uint8, symmetric=False),
    "static int8, a scale an output": static(axis=1),
    "static int8, a scale an input": static(axis=0),
    "static uint8, a scale an output, zero points": static(np.uint8, 1, symmetric=False),
    "static behind a Transpose": static(axis=0, transposed=True),
    "dynamic int8": dynamic(),
    "dynamic uint8 asymmetric": dynamic(np.uint8, symmetric=False),
    "dynamic int8, a scale an output": dynamic(axis=1),
    "blocks of inputs": blocks(0, 8),
    "blocks of outputs": blocks(1, 8),
    "blocks of 4 bits": blocks(0, 5, ml_dtypes.int4),
    "4 bits symmetric": nbits(4, 16, symmetric=True),
    "4 bits asymmetric": nbits(4, 16, symmetric=False),
    "4 bits with a bias": nbits(4, 16, symmetric=True, bias=True),
    "8 bits": nbits(8, 16, symmetric=False),
}
FEW_BITS = ("blocks of", "4 bits")


def weights() -> list[np.ndarray]:
    """Three layers; the second half of the first one's outputs are a quarter of the first half."""
    rng = np.random.default_rng(0)
    made = [
        (rng.standard_normal(shape) / np.sqrt(shape[0])).astype("f4") for shape in pairwise(SIZES)
    ]
    half = SIZES[1] // 2
    made[0][:, half:] = made[0][:, :half] / 4
    return made


def network(layer: Layer) -> onnx.ModelProto:
    chain = Chain(("n", SIZES[0]), opset=21)
    for number, weight in enumerate(weights()):
        layer(chain, weight, f"l{number}")
        if number < 2:
            chain.raw("Relu", chain.value)
    model = chain.build(check=False)
    model.ir_version = 10
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    width = model.graph.output[0].type.tensor_type.shape.dim
    del width[:]
    return model


def inputs():
    return {"input": np.random.default_rng(1).standard_normal((64, SIZES[0])).astype("f4")}


def compressed(model, **options):
    return nmcore.compress(
        model.SerializeToString(), ratio=0.5, method="merge", criterion="l1", verify=True, **options
    )


def operators(model):
    return Counter(node.op_type for node in model.graph.node)


def distance(one, other):
    return np.linalg.norm(one - other) / np.linalg.norm(other)


@pytest.mark.parametrize("form", FORMS)
def test_twin_channels_are_merged_and_the_form_stays(form):
    """Only the first layer is cut, by channels that others are multiples of."""
    model = network(FORMS[form])
    graph = registry.open_graph(model.SerializeToString())
    _, second = (group.name for group in graph.groups)
    result = compressed(model, exclude=[second])
    assert [len(o.plan.kept) for o in result.outcomes] == [SIZES[1] // 2, SIZES[2]]
    proto = result.to_onnx()
    onnx.checker.check_model(proto)
    behind = form.endswith("Transpose")  # it goes, as behind plain weights
    wanted = operators(model)
    assert operators(proto) == Counter({op: n for op, n in wanted.items() if op != "Transpose"})
    assert {n.name for n in proto.graph.node} <= {n.name for n in model.graph.node}
    # The last layer is not touched.
    for name in (t.name for t in model.graph.initializer if t.name.startswith("l2")):
        before, after = (initializer(each, name) for each in (model, proto))
        assert after.tobytes() == (before.T if behind else before).tobytes()
    before, after = run(model, inputs())[0], run(proto, inputs())[0]
    floats = run(result.graph.serialize_floats(), inputs())[0]
    bound = 0.25 if form.startswith(FEW_BITS) else 0.03
    # Some processors add products of integers with saturation, in the original as well.
    own = distance(before, run(result.graph.serialize_floats(original=True), inputs())[0])
    assert distance(after, before) < bound
    assert distance(after, floats) < bound + own


def test_rows_that_are_only_cut_keep_their_integers():
    model = network(static(axis=1))
    result = compressed(model)
    kept = list(result.outcomes[0].plan.kept)
    proto = result.to_onnx()
    assert np.array_equal(initializer(proto, "l0_w"), initializer(model, "l0_w")[:, kept])
    assert np.array_equal(initializer(proto, "l0_s"), initializer(model, "l0_s")[kept])


def test_a_model_of_which_nothing_is_cut_stays_as_it_is():
    for form in ("dynamic int8", "4 bits asymmetric", "static uint8 asymmetric"):
        model = network(FORMS[form])
        result = nmcore.compress(model.SerializeToString(), ratio=0.0, method="merge")
        proto = result.to_onnx()
        assert list(proto.graph.node) == list(model.graph.node)
        assert list(proto.graph.initializer) == list(model.graph.initializer)


def test_counts_are_those_of_the_floats():
    macs = sum(a * b for a, b in pairwise(SIZES))
    for form in ("dynamic int8", "4 bits asymmetric", "static uint8 asymmetric"):
        found = nmcore.inspect(network(FORMS[form]))
        assert (found.macs, found.params) == (macs, macs)


def test_several_products_read_one_weight_and_one_input():
    """What quantises the input, and the weight, stand once, as before."""
    chain = Chain(("n", 16), opset=17)
    rng = np.random.default_rng(0)
    dynamic()(chain, rng.standard_normal((16, 12)).astype("f4"), "a")
    chain.raw("Relu", chain.value)
    middle = chain.value
    second = rng.standard_normal((12, 10)).astype("f4")
    dynamic()(chain, second, "b")
    one, made = chain.value, list(chain.initializers)
    chain.value = middle
    dynamic()(chain, second, "b")
    chain.initializers = made
    chain.raw("Add", one, chain.value)
    model = chain.build(check=False)
    result = compressed(model)
    assert [len(o.plan.kept) for o in result.outcomes] == [6]
    proto = result.to_onnx()
    assert operators(proto) == operators(model)
    assert len(proto.graph.initializer) == len(model.graph.initializer)


def convolutions(axis: int | None, pair_axis: bool = False) -> onnx.ModelProto:
    """Static quantisation of two convolutions with a ReLU in the bounds of the levels between."""
    chain, rng = Chain(opset=17), np.random.default_rng(0)
    for number, (width, made) in enumerate([(3, 8), (8, 6)]):
        step = np.float32(0.05 if number else 0.03)
        zero = np.uint8(0 if number else 128)
        scale, zeros = chain.constant(step), chain.constant(zero)
        attributes = {}
        if pair_axis and number:
            scale, zeros = (chain.constant(np.full(width, v)) for v in (step, zero))
            attributes = {"axis": 1}
        for op in ("QuantizeLinear", "DequantizeLinear"):
            chain.raw(op, chain.value, scale, zeros, **attributes)
        data = chain.value
        weight = rng.standard_normal((made, width, 3, 3)).astype("f4") / 5
        parts = levels(weight, np.int8, 8, axis, True)
        names = [chain.constant(p, f"c{number}_{k}") for k, p in zip("wsz", parts, strict=True)]
        along = {} if axis is None else {"axis": axis}
        chain.raw("DequantizeLinear", *names, **along)
        read = chain.value
        bias = rng.standard_normal(made)
        product = np.float32(step * parts[1])
        whole = np.round(bias / product).astype(np.int32)
        names = [chain.constant(whole, f"c{number}_b"), chain.constant(product, f"c{number}_bs")]
        chain.raw("DequantizeLinear", *names, **along)
        chain.raw("Conv", data, read, chain.value)
    return chain.build()


@pytest.mark.parametrize("axis", [None, 0])
def test_biases_follow_the_scale_of_data_and_weight(axis):
    model = convolutions(axis)
    result = compressed(model)
    assert [len(o.plan.kept) for o in result.outcomes] == [4]
    proto = result.to_onnx()
    assert initializer(proto, "c1_b").dtype == np.int32
    product = np.float32(0.05) * initializer(proto, "c1_s")
    assert np.allclose(initializer(proto, "c1_bs"), product, rtol=1e-6)
    feeds = {"input": np.random.default_rng(2).standard_normal((4, 3, 8, 8)).astype("f4")}
    after, floats = run(proto, feeds)[0], run(result.graph.serialize_floats(), feeds)[0]
    assert distance(after, floats) < 0.03


def test_scales_of_activations_are_cut_with_their_channels():
    result = compressed(convolutions(None, pair_axis=True))
    assert [len(o.plan.kept) for o in result.outcomes] == [4]


def test_a_bias_that_is_new_is_stored_as_integers():
    chain, rng = Chain(("n", 6)), np.random.default_rng(0)
    for number, (width, made) in enumerate([(6, 8), (8, 5)]):
        for op in ("QuantizeLinear", "DequantizeLinear"):
            chain.node(op, np.float32(0.05), np.uint8(0 if number else 128))
        data = chain.value
        parts = levels(rng.standard_normal((made, width)).astype("f4"), np.int8, 8, None, True)
        chain.raw("DequantizeLinear", *map(chain.constant, parts))
        chain.raw("Gemm", data, chain.value, transB=1)
    model = chain.build()
    data = rng.standard_normal((64, 6)).astype("f4")
    result = nmcore.compress(model, ratio=0.5, method="moments", data=data)
    proto = result.to_onnx()
    made = [n for n in proto.graph.node if n.op_type == "Gemm" and len(n.input) > 2]
    assert made
    makers = {n.output[0]: n for n in proto.graph.node}
    whole = initializer(proto, makers[made[0].input[2]].input[0])
    assert whole.dtype == np.int32
    models = (proto, result.graph.serialize_floats())
    after, floats = (run(each, {"input": data})[0] for each in models)
    assert distance(after, floats) < 0.05


def with_activations(chain, scale, zero):
    for op in ("QuantizeLinear", "DequantizeLinear"):
        chain.node(op, np.float32(scale), np.uint8(zero))
    return chain.value


def test_scales_along_what_a_layer_reads_are_none_of_a_bias():
    chain, rng = Chain(("n", 6)), np.random.default_rng(0)
    for number, (width, made) in enumerate([(6, 8), (8, 5)]):
        data = with_activations(chain, 0.05, 0 if number else 128)
        parts = levels(rng.standard_normal((width, made)).astype("f4"), np.int8, 8, 0, True)
        chain.raw("DequantizeLinear", *map(chain.constant, parts), axis=0)
        chain.raw("Gemm", data, chain.value)
    data = rng.standard_normal((64, 6)).astype("f4")
    proto = nmcore.compress(chain.build(), ratio=0.5, method="moments", data=data).to_onnx()
    (last,) = (n for n in proto.graph.node if n.op_type == "Gemm" and len(n.input) > 2)
    assert initializer(proto, last.input[2]).dtype == np.float32


def test_a_bias_of_two_layers_keeps_the_scale_of_data_times_weight():
    chain, rng = Chain(), np.random.default_rng(0)
    weight = rng.standard_normal((8, 3, 3, 3)).astype("f4")
    data = with_activations(chain, 0.05, 128)
    chain.raw("DequantizeLinear", *map(chain.constant, levels(weight, np.int8, 8, None, True)))
    chain.raw("Conv", data, chain.value, pads=[1] * 4)
    data = with_activations(chain.raw("Relu", chain.value), 0.05, 0)
    integers, scale, zero = levels(rng.standard_normal((5, 8, 1, 1)), np.int8, 8, None, True)
    whole = chain.constant(np.arange(5, dtype=np.int32))
    bias = chain.raw("DequantizeLinear", whole, chain.constant(np.float32(0.05) * scale)).value
    shared = chain.raw("DequantizeLinear", *map(chain.constant, (integers, scale, zero))).value
    first = chain.raw("Conv", data, shared, bias).value
    chain.raw("MaxPool", data, kernel_shape=[2, 2])
    chain.raw("Conv", with_activations(chain, 0.05, 0), shared, bias)
    model = chain.build(check=False)
    model.graph.output.append(helper.make_tensor_value_info(first, TensorProto.FLOAT, None))
    proto = nmcore.compress(model, ratio=0.5, method="ridge").to_onnx()
    makers = {output: node for node in proto.graph.node for output in node.output}
    ends = [n for n in proto.graph.node if n.op_type == "Conv"][1:]
    assert len(ends) == 2
    for node in ends:
        parts = [makers[name] for name in node.input]
        assert [each.op_type for each in parts] == ["DequantizeLinear"] * 3
        given, weights, added = (initializer(proto, each.input[1]) for each in parts)
        np.testing.assert_allclose(added, given * weights, rtol=1e-5)


def test_a_convolution_of_dynamic_quantisation_may_get_a_bias():
    chain, rng = Chain(), np.random.default_rng(0)
    for number, (width, made) in enumerate([(3, 8), (8, 6)]):
        weight = rng.standard_normal((made, width, 3, 3)).astype("f4")
        parts = levels(weight, np.uint8, 8, None, False)
        w, s, z = (chain.constant(p, f"c{number}_{k}") for k, p in zip("wsz", parts, strict=True))
        outs = [f"q{number}{end}" for end in "abc"]
        chain.nodes.append(helper.make_node("DynamicQuantizeLinear", [chain.value], outs))
        chain.raw("Mul", outs[1], s)
        scales = chain.value
        chain.raw("ConvInteger", outs[0], w, outs[2], z)
        chain.raw("Cast", chain.value, to=TensorProto.FLOAT).raw("Mul", chain.value, scales)
        if not number:
            chain.raw("Sigmoid", chain.value)
    model = chain.build(check=False)
    data = rng.standard_normal((32, 3, 8, 8)).astype("f4")
    result = nmcore.compress(model, ratio=0.5, method="moments", data=data)
    proto = result.to_onnx()
    assert operators(proto) == operators(model) + Counter(["Add"])
    models = (proto, result.graph.serialize_floats())
    after, floats = (run(each, {"input": data})[0] for each in models)
    assert distance(after, floats) < 0.05


def test_scales_of_half_precision():
    chain = Chain(("n", 16), opset=19)
    chain.raw("Cast", chain.value, to=TensorProto.FLOAT16)
    for number, weight in enumerate(weights()):
        integers, scale, _ = levels(weight, np.int8, 8, 1, True)
        names = [chain.constant(integers, f"l{number}_w")]
        names.append(chain.constant(scale.astype("f2"), f"l{number}_s"))
        data = chain.value
        chain.raw("DequantizeLinear", *names, axis=1).raw("MatMul", data, chain.value)
        chain.raw("Relu", chain.value)
    chain.raw("Cast", chain.value, to=TensorProto.FLOAT)
    model = chain.build(check=False)
    model.ir_version = 9
    result = compressed(model)
    proto = result.to_onnx()
    assert initializer(proto, "l1_s").dtype == np.float16
    assert initializer(proto, "l1_w").shape == (12, 10)
    floats = run(result.graph.serialize_floats(), inputs())[0]
    assert distance(run(proto, inputs())[0], floats) < 0.05


def group_index(model):
    node = next(n for n in model.graph.node if n.op_type == "MatMulNBits")
    node.input.extend([""] * (4 - len(node.input)) + ["g_idx"])
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(16, np.int32), "g_idx"))


def floating_zero(model):
    node = next(n for n in model.graph.node if n.op_type == "MatMulNBits")
    node.input.extend(["fz"])
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((24, 1), "f4"), "fz"))


def float8(model):
    node = next(n for n in model.graph.node if n.op_type == "DequantizeLinear")
    numbers = np.zeros(SIZES[0] * SIZES[1])
    kind = TensorProto.FLOAT8E4M3FN
    model.graph.initializer.append(helper.make_tensor("w8", kind, SIZES[:2], numbers))
    node.input[0] = "w8"
    del node.input[2:]


def another_cast(model):
    node = next(n for n in model.graph.node if n.op_type == "Cast")
    model.graph.node.insert(4, helper.make_node("Identity", [node.input[0]], ["same"]))
    node.input[0] = "same"


def floating_weight(model):
    """Quantised while the model runs, as training for quantisation leaves it."""
    node = next(n for n in model.graph.node if n.op_type == "DequantizeLinear")
    model.graph.initializer.append(numpy_helper.from_array(weights()[0], "plain"))
    quantise = helper.make_node("QuantizeLinear", ["plain", *node.input[1:]], ["rq"])
    model.graph.node.insert(0, quantise)
    node.input[0] = "rq"


DECLINED = {
    group_index: ("4 bits symmetric", "g_idx"),
    floating_zero: ("4 bits symmetric", "no integers"),
    float8: ("static int8", "float8e4m3fn"),
    another_cast: ("dynamic int8", "other nodes than"),
    floating_weight: ("static int8", "not read back"),
}


@pytest.mark.parametrize("change", DECLINED, ids=lambda each: each.__name__)
def test_other_forms_are_declined_with_a_reason(change):
    form, words = DECLINED[change]
    model = network(FORMS[form])
    change(model)
    graph = registry.open_graph(model.SerializeToString())
    reasons = [each.reason for each in graph.declined if "before quantising" in each.reason]
    assert any(words in reason for reason in reasons)
    assert SIZES[1] not in [group.width for group in graph.groups]


def in_a_body(model):
    """The network as both branches of an If."""
    graph = model.graph
    parts = []
    for _ in range(2):
        inner = helper.make_graph(graph.node, "body", [], graph.output, graph.initializer)
        parts.append(inner)
    flag = helper.make_tensor_value_info("flag", TensorProto.BOOL, [])
    chosen = helper.make_node("If", ["flag"], ["y"], then_branch=parts[0], else_branch=parts[1])
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    whole = helper.make_graph([chosen], "whole", [*graph.input, flag], [output])
    return helper.make_model(whole, opset_imports=model.opset_import, ir_version=8)


@pytest.mark.parametrize("form", ["static int8", "dynamic int8"])
def test_what_bodies_hold_stays_and_is_said_to_be_there(form):
    declined = nmcore.inspect(in_a_body(network(FORMS[form]))).declined
    told = [each for each in declined if "quantised" in each.reason]
    assert len(told) == 2 * (len(SIZES) - 1)
    assert all("in the body of an If, Loop or Scan, and stays so" in each.reason for each in told)


def test_a_layer_that_reads_a_quantised_table_is_said_to(tmp_path):
    chain = Chain(("n", 4), dtype=np.int64)
    table, weight = (chain.rng.random(shape).astype("f4") for shape in ((20, 6), (6, 8)))
    chain.raw("Gather", chain.constant(table, "table"), chain.value)
    chain.raw("MatMul", chain.value, chain.constant(weight, "weight"))
    graph = chain.build(check=False).graph
    graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "floats.onnx")
    files = (tmp_path / "floats.onnx", tmp_path / "int8.onnx")
    quantize_dynamic(*files, op_types_to_quantize=["MatMul", "Gather"])
    (only,) = nmcore.inspect(tmp_path / "int8.onnx").declined
    assert "rows of the quantised table of Gather 'gather1'" in only.reason


def test_bytes_of_few_bits():
    numbers = np.random.default_rng(0).integers(0, 4, (3, 7)).astype(np.uint8)
    assert np.array_equal(unpacked(packed(numbers, 2), 2)[:, :7], numbers)


def test_the_losses_of_both_steps_are_told_apart():
    result = compressed(network(FORMS["dynamic int8"]))
    sessions = result.original.session(), result.original.loaded(result.serialize())
    found = requantised(result, *sessions)
    assert found.weights == len(SIZES) - 1
    assert min(found.quantisation, found.before, found.compression) > 0.1
    floats = compressed(Chain(("n", SIZES[0])).matmul(12).node("Relu").matmul(5).build())
    assert requantised(floats, *sessions) is None


def test_older_operator_sets_prove_the_cut_as_well():
    model = convolutions(None)
    model.opset_import[0].version = 10
    assert [len(o.plan.kept) for o in compressed(model).outcomes] == [4]
