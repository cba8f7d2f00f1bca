"""The same small networks as different exporters write them.

Each is compressed and proven, or declined with a reason; its names survive either way.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import nmcore
from chain import Chain, run
from nmcore.pipeline.result import Result
from nmcore.plugins import registry

F32 = TensorProto.FLOAT


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def tensor(name: str, *shape: int, dtype: type = np.float32) -> onnx.TensorProto:
    array = rng().standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
    return numpy_helper.from_array(array.astype(dtype), name)


def from_array(name: str, array: object, dtype: type = np.float32) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(array, dtype), name)


def model_of(
    nodes: list[onnx.NodeProto],
    initializers: list[onnx.TensorProto],
    *,
    dims: tuple[int | str, ...] = ("n", 3, 8, 8),
    out: tuple[int | str, ...] = ("n", 4, 4, 4),
    opset: int = 17,
    domains: tuple[str, ...] = (),
    functions: tuple[onnx.FunctionProto, ...] = (),
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("input", F32, list(dims))],
        [helper.make_tensor_value_info("output", F32, list(out))],
        initializers,
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    return helper.make_model(
        graph, opset_imports=opsets, functions=list(functions), ir_version=8 if opset < 19 else 10
    )


def node(op: str, inputs: str, output: str, **attributes: object) -> onnx.NodeProto:
    names = ["" if name == "-" else name for name in inputs.split()]
    return helper.make_node(op, names, output.split(), f"{op}_{output.split()[0]}", **attributes)


def compress(model: onnx.ModelProto, **options: object) -> tuple[Result, onnx.ModelProto]:
    """Half of every group gone, proven, with the same names as before."""
    before = model.SerializeToString(deterministic=True)
    result = nmcore.compress(
        model,
        **{"ratio": 0.5, "method": "merge", "verify": True, "providers": ("cpu",), **options},
    )
    assert model.SerializeToString(deterministic=True) == before
    proto = onnx.load_from_string(result.graph.serialize())
    onnx.checker.check_model(proto, full_check=True)
    check_face(model, proto)
    told = [*result.outcomes, *result.declined]
    assert told, "nothing is said of anything"
    assert all(place.reason.strip() for place in result.declined)
    return result, proto


def check_face(old: onnx.ModelProto, new: onnx.ModelProto) -> None:
    weights = {each.name for each in old.graph.initializer}
    faces = [
        [v for v in (*m.graph.input, *m.graph.output) if v.name not in weights] for m in (old, new)
    ]
    assert faces[0] == faces[1]
    assert list(old.opset_import) == list(new.opset_import)
    assert [f.name for f in old.functions] == [f.name for f in new.functions]
    # An If whose condition never changes becomes the branch that is taken.
    named = [each.name for each in old.graph.node if each.op_type != "If"]
    assert [each.name for each in new.graph.node if each.name in set(named)] == named


def feeds(model: onnx.ModelProto, batch: int = 2) -> dict[str, np.ndarray]:
    value = model.graph.input[0]
    shape = [d.dim_value or batch for d in value.type.tensor_type.shape.dim]
    dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    return {value.name: rng().standard_normal(shape).astype(dtype)}


def assert_smaller(model: onnx.ModelProto, **options: object) -> tuple[Result, onnx.ModelProto]:
    """Compressing must work here, by measuring as well as by merging."""
    measured, _ = compress(model, method="moments", samples=4)
    assert any(len(o.plan.kept) < o.plan.width for o in measured.outcomes)
    result, proto = compress(model, **options)
    assert result.after.params < result.before.params
    for batch in (1, 3):
        got, want = (run(each, feeds(model, batch)) for each in (proto, model))
        assert [g.shape for g in got] == [w.shape for w in want]
    return result, proto


def params(model: onnx.ModelProto) -> dict[str, bytes]:
    return {each.name: each.SerializeToString() for each in model.graph.initializer}


def same_outputs(got: onnx.ModelProto, want: onnx.ModelProto) -> None:
    for g, w in zip(run(got, feeds(want)), run(want, feeds(want)), strict=True):
        np.testing.assert_array_equal(g, w)


# weights in other places


def plain(opset: int = 17) -> Chain:
    return Chain(opset=opset).conv(8).node("Relu").conv(6).node("Relu").conv(4)


def as_constants(model: onnx.ModelProto, form: str = "value") -> onnx.ModelProto:
    nodes = []
    for each in model.graph.initializer:
        array = numpy_helper.to_array(each)
        if form == "value_floats" and array.ndim == 1:
            given: dict[str, object] = {"value_floats": array.tolist()}
        else:
            given = {"value": each}
        nodes.append(helper.make_node("Constant", [], [each.name], f"make_{each.name}", **given))
    nodes.extend(model.graph.node)
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


@pytest.mark.parametrize("form", ["value", "value_floats"])
def test_weights_in_constant_nodes(form):
    _, proto = assert_smaller(as_constants(plain().build(), form))
    assert not proto.graph.initializer


def test_initialisers_among_the_inputs():
    model = plain(opset=8).build()
    model.ir_version = 3
    for each in model.graph.initializer:
        model.graph.input.append(
            helper.make_tensor_value_info(each.name, each.data_type, each.dims)
        )
    _, proto = assert_smaller(model)
    shapes = {
        v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in proto.graph.input
    }
    assert all(shapes[each.name] == list(each.dims) for each in proto.graph.initializer)


def test_weights_that_pass_an_identity():
    model = plain().build()
    name = model.graph.initializer[2].name
    for each in model.graph.node:
        each.input[:] = ["same" if i == name else i for i in each.input]
    model.graph.node.insert(0, node("Identity", name, "same"))
    result, proto = compress(model)
    assert result.after.params < result.before.params
    assert sum(map(len, params(proto).values())) < sum(map(len, params(model).values()))


def turned(*, twice: bool = False) -> onnx.ModelProto:
    """PyTorch's Linear where the exporter folded no constants."""
    chain = Chain(("n", 6))
    for width in (8, 4):
        weight = chain.constant(chain.weight(width, chain.width))
        data = chain.value
        chain.raw("Transpose", weight, perm=[1, 0]).raw("MatMul", data, chain.value)
        chain.node("Add", chain.weight(width, 1)[:, 0])
        chain.width = width
    model = chain.build()
    if twice:
        name = model.graph.initializer[0].name
        model.graph.node.append(node("ReduceSum", name, "sum"))
        model.graph.output.append(helper.make_tensor_value_info("sum", F32, [1, 1]))
    return model


def test_weights_that_a_transpose_turns():
    model = turned()
    result = nmcore.compress(model, ratio=0.5, method="merge", verify=True, providers=("cpu",))
    proto = onnx.load_from_string(result.graph.serialize())
    onnx.checker.check_model(proto, full_check=True)
    assert [each.op_type for each in proto.graph.node] == ["MatMul", "Add", "MatMul", "Add"]
    assert {tuple(each.dims) for each in proto.graph.initializer} == {(6, 4), (4,), (4, 4)}
    untouched = nmcore.compress(model, ratio=0, providers=("cpu",))
    same_outputs(onnx.load_from_string(untouched.graph.serialize()), model)


def test_a_turned_weight_that_something_else_reads_stays():
    result = nmcore.compress(turned(twice=True), ratio=0.5, method="merge", providers=("cpu",))
    nodes = [each.name for each in result.graph.result().graph]
    assert nodes == [each.name for each in turned(twice=True).graph.node]
    assert result.after.params == result.before.params
    assert any(place.node == "matmul1" for place in result.declined)


def test_weights_stored_in_half_precision_and_cast():
    chain = Chain()
    for width in (8, 4):
        weight = chain.constant(chain.weight(width, chain.width, 3, 3).astype(np.float16))
        data = chain.value
        chain.raw("Cast", weight, to=int(F32)).raw("Conv", data, chain.value)
        chain.width = width
    _, proto = assert_smaller(chain.build())
    kinds = {each.name: each.data_type for each in proto.graph.initializer}
    casts = {node.input[0] for node in proto.graph.node if node.op_type == "Cast"}
    assert len(casts) == 2
    assert {kinds[name] for name in casts} == {TensorProto.FLOAT16}


def test_half_precision():
    chain = Chain(dtype=np.float16).conv(8).batch_norm().node("Relu").conv(4)
    _, proto = assert_smaller(chain.build())
    assert {each.data_type for each in proto.graph.initializer} == {TensorProto.FLOAT16}


def test_one_weight_in_two_nodes():
    """It reads what it makes, so all three layers lose the same channels."""
    chain = Chain().conv(8).node("Relu")
    shared = chain.constant(chain.weight(8, 8, 3, 3), "shared")
    for _ in range(2):
        chain.node("Conv", shared, pads=[1] * 4).node("Relu")
    _, proto = assert_smaller(chain.conv(4).build())
    assert [list(w.dims) for w in proto.graph.initializer if w.name == "shared"] == [[4, 4, 3, 3]]


def test_one_bias_in_two_nodes():
    chain = Chain().conv(8).node("Relu")
    bias = chain.constant(chain.weight(8, 1)[:, 0], "bias")
    for _ in range(2):
        chain.node("Conv", chain.weight(8, 8, 3, 3), bias, pads=[1] * 4).node("Relu")
    assert_smaller(chain.conv(4).build())


# operators written otherwise


@pytest.mark.parametrize("lead", [True, False])
def test_batch_norm_as_a_product_and_a_sum(lead):
    shape = (1, 8, 1, 1) if lead else (8, 1, 1)
    chain = Chain().conv(8)
    chain.node("Mul", chain.weight(8, 1).reshape(shape) + np.float32(1))
    chain.node("Add", chain.weight(8, 1).reshape(shape)).node("Relu")
    assert_smaller(chain.conv(4).build())


def test_channels_last_between_transposes():
    """What tf2onnx writes around everything that it cannot turn."""
    chain = Chain(("n", 8, 8, 3)).node("Transpose", perm=[0, 3, 1, 2])
    chain.width = 3
    chain.conv(8).node("Transpose", perm=[0, 2, 3, 1]).node("Add", chain.weight(8, 1)[:, 0])
    chain.node("Relu").node("Transpose", perm=[0, 3, 1, 2]).conv(4)
    assert_smaller(chain.node("Transpose", perm=[0, 2, 3, 1]).build())


@pytest.mark.parametrize("arithmetic", ["gather", "slice", "product"])
def test_shapes_computed_on_the_way(arithmetic):
    """A view(x.size(0), -1) as PyTorch traces it."""
    chain = Chain().conv(8).node("Relu").node("GlobalAveragePool")
    data = chain.value
    chain.node("Shape")
    shape = chain.value
    if arithmetic == "slice":
        zero, one = chain.constant([0]), chain.constant([1])
        batch = chain.raw("Slice", shape, zero, one, zero).value
    else:
        chain.raw("Gather", shape, chain.constant(np.int64(0)), axis=0)
        batch = chain.raw("Unsqueeze", chain.value, chain.constant([0])).value
    rest = chain.constant(np.array([-1]), "rest")
    if arithmetic == "product":  # channels times height times width, all of them computed
        axes = chain.constant(np.array([1, 2, 3]), "axes")
        chain.raw("Gather", shape, axes, axis=0).raw("ReduceProd", chain.value, keepdims=1)
        rest = chain.value
    target = chain.raw("Concat", batch, rest, axis=0).value
    chain.raw("Reshape", data, target)
    result, _ = compress(chain.gemm(5).build())
    if arithmetic != "product":
        assert result.after.params < result.before.params


@pytest.mark.parametrize("form", ["silu", "erf-gelu", "hard-swish"])
def test_activations_as_several_nodes(form):
    chain = Chain(("n", 6)).gemm(8)
    data = chain.value
    if form == "silu":
        chain.raw("Sigmoid", data).raw("Mul", data, chain.value)
    elif form == "hard-swish":
        chain.raw("HardSigmoid", data, alpha=1 / 6, beta=0.5).raw("Mul", data, chain.value)
    else:
        chain.node("Div", np.float32(np.sqrt(2))).node("Erf").node("Add", np.float32(1))
        chain.raw("Mul", data, chain.value).node("Mul", np.float32(0.5))
    assert_smaller(chain.gemm(4).build())


# every opset


def newest() -> int:
    """The newest opset that the installed onnx and runtime both know."""
    for opset in range(onnx.defs.onnx_opset_version(), 7, -1):
        try:
            run(plain(opset).build(), {"input": np.zeros((1, 3, 8, 8), np.float32)})
        except Exception:  # the runtime has classes of its own for this
            continue
        return opset
    return 7


@pytest.mark.parametrize("opset", range(7, newest() + 1))
def test_every_opset(opset):
    chain = Chain(opset=opset).conv(8).batch_norm().node("Relu").conv(6, group=2)
    chain.node("Relu").conv(8).node("Relu").node("GlobalAveragePool").node("Flatten")
    _, proto = assert_smaller(chain.gemm(5).node("Softmax").build())
    assert proto.opset_import[0].version == opset


# control flow


def body(weight: str | None, initializers: list[onnx.TensorProto]) -> onnx.GraphProto:
    """A branch: a convolution of the outer value "made", by its own or an outer weight."""
    name = weight or initializers[0].name
    nodes = [node("Conv", f"made {name}", f"branch_{name}", pads=[1] * 4)]
    value = helper.make_tensor_value_info(f"branch_{name}", F32, ["n", 8, 6, 6])
    return helper.make_graph(nodes, f"body_{name}", [], [value], initializers)


def branching() -> onnx.ModelProto:
    """conv, relu -> If: its branches read channels and weights of the outer graph -> conv, conv."""
    branches = {
        "then_branch": body("outer", []),
        "else_branch": body(None, [tensor("inner", 8, 8, 3, 3)]),
    }
    nodes = [
        node("Conv", "input first", "conv"),
        node("Relu", "conv", "made"),
        node("If", "yes", "chosen", **branches),
        node("Conv", "chosen outer", "middle", pads=[1] * 4),
        node("Relu", "middle", "bent"),
        node("Conv", "bent fourth", "narrow", pads=[1] * 4),
        node("Relu", "narrow", "straight"),
        node("Conv", "straight last", "output"),
    ]
    return model_of(
        nodes,
        [
            from_array("yes", True, np.bool_),
            tensor("first", 8, 3, 3, 3),
            tensor("outer", 8, 8, 3, 3),
            tensor("fourth", 6, 8, 3, 3),
            tensor("last", 4, 6, 3, 3),
        ],
    )


def test_branches_that_read_the_outer_graph():
    """What a branch reads must still fit it."""
    result, proto = compress(branching())
    assert result.after.params < result.before.params
    before, after = params(branching()), params(proto)
    if any("subgraph" in place.reason for place in result.declined):
        assert before["outer"] == after["outer"]


@pytest.mark.parametrize("op", ["Loop", "Scan"])
def test_bodies_of_loops(op):
    """The state keeps its width; what stands outside the loop may shrink."""
    inner = [tensor("step", 6, 6)]
    state = helper.make_tensor_value_info("state", F32, ["n", 6])
    after = helper.make_tensor_value_info("after", F32, ["n", 6])
    step = [node("MatMul", "state step", "stepped"), node("Tanh", "stepped", "after")]
    if op == "Loop":
        ins = [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            state,
        ]
        outs = [helper.make_tensor_value_info("on", TensorProto.BOOL, []), after]
        graph = helper.make_graph([node("Identity", "go", "on"), *step], "body", ins, outs, inner)
        run_loop = node("Loop", "times - hidden", "looped", body=graph)
    else:
        item = helper.make_tensor_value_info("item", F32, [])
        graph = helper.make_graph(step, "body", [state, item], [after], inner)
        run_loop = node("Scan", "hidden items", "looped", body=graph, num_scan_inputs=1)
    nodes = [
        node("MatMul", "input enter", "entered"),
        node("Relu", "entered", "bent"),
        node("MatMul", "bent middle", "hidden"),
        run_loop,
        node("MatMul", "looped leave", "left"),
        node("Relu", "left", "right"),
        node("MatMul", "right last", "output"),
    ]
    weights = [tensor("enter", 5, 8), tensor("middle", 8, 6), tensor("leave", 6, 8)]
    weights += [tensor("last", 8, 4), from_array("times", 3, np.int64), tensor("items", 3)]
    model = model_of(nodes, weights, dims=("n", 5), out=("n", 4))
    _, proto = assert_smaller(model)
    loop = next(each for each in proto.graph.node if each.op_type == op)
    (inner_after,) = (a.g.initializer for a in loop.attribute if a.name == "body")
    assert list(inner_after[0].dims) == [6, 6]


# functions of the model's own


def function(
    name: str, inputs: str, nodes: list[onnx.NodeProto], output: str
) -> onnx.FunctionProto:
    return helper.make_function(
        "own", name, inputs.split(), [output], nodes, [helper.make_opsetid("", 17)]
    )


def test_an_activation_as_a_function():
    silu = [node("Sigmoid", "x", "s"), node("Mul", "x s", "y")]
    nodes = [
        node("Conv", "input first", "conv"),
        helper.make_node("Silu", ["conv"], ["made"], "silu", domain="own"),
        node("Conv", "made second", "wide"),
        node("Relu", "wide", "bent"),
        node("Conv", "bent last", "output", pads=[1] * 4),
    ]
    weights = [
        tensor("first", 8, 3, 3, 3),
        tensor("second", 8, 8, 3, 3),
        tensor("last", 4, 8, 3, 3),
    ]
    model = model_of(
        nodes, weights, domains=("own",), functions=(function("Silu", "x", silu, "y"),)
    )
    result = nmcore.compress(model, ratio=0.5, method="merge", verify=True)
    assert [len(o.plan.kept) for o in result.outcomes] == [4, 4]
    assert not result.model.functions


def test_a_layer_as_a_function():
    """A function with a weighted node whose weights come from outside."""
    layer = [node("Conv", "x w", "c"), node("Relu", "c", "y")]
    nodes = [
        helper.make_node("Layer", ["input", "first"], ["a"], "layer1", domain="own"),
        helper.make_node("Layer", ["a", "second"], ["b"], "layer2", domain="own"),
        node("Conv", "b last", "output", pads=[1] * 4),
    ]
    weights = [
        tensor("first", 8, 3, 3, 3),
        tensor("second", 8, 8, 3, 3),
        tensor("last", 4, 8, 3, 3),
    ]
    model = model_of(
        nodes, weights, domains=("own",), functions=(function("Layer", "x w", layer, "y"),)
    )
    assert [group.width for group in registry.open_graph(model).groups] == [8, 8]
    result = nmcore.compress(model, ratio=0.5, method="merge", verify=True)
    assert [len(o.plan.kept) for o in result.outcomes] == [4, 4]


# quantised models


def scale(name: str) -> list[onnx.TensorProto]:
    return [from_array(f"{name}_scale", 0.05), from_array(f"{name}_zero", 0, np.int8)]


def integers(name: str, *shape: int) -> onnx.TensorProto:
    return from_array(name, rng().integers(-60, 60, shape), np.int8)


def qdq() -> onnx.ModelProto:
    """Weights stored as integers, and activations quantised and back between the layers."""
    nodes, weights = [], []
    value = "input"
    for k, (out, width) in enumerate([(8, 3), (4, 8)]):
        weights += [integers(f"w{k}", out, width, 3, 3), *scale(f"w{k}"), *scale(f"x{k}")]
        nodes += [
            node("QuantizeLinear", f"{value} x{k}_scale x{k}_zero", f"q{k}"),
            node("DequantizeLinear", f"q{k} x{k}_scale x{k}_zero", f"d{k}"),
            node("DequantizeLinear", f"w{k} w{k}_scale w{k}_zero", f"f{k}"),
            node("Conv", f"d{k} f{k}", "output" if k else "c0"),
        ]
        value = "c0"
    return model_of(nodes, weights)


def fake_quantised() -> onnx.ModelProto:
    """Quantisation aware training: float weights that are quantised and back while it runs."""
    nodes, weights = [], []
    for k, (out, width) in enumerate([(8, 3), (4, 8)]):
        weights += [tensor(f"w{k}", out, width, 3, 3), *scale(f"w{k}")]
        nodes += [
            node("QuantizeLinear", f"w{k} w{k}_scale w{k}_zero", f"q{k}"),
            node("DequantizeLinear", f"q{k} w{k}_scale w{k}_zero", f"f{k}"),
            node("Conv", f"{'c0' if k else 'input'} f{k}", "output" if k else "c0"),
        ]
    return model_of(nodes, weights)


def qlinear_conv() -> onnx.ModelProto:
    weights = [*scale("x"), *scale("y"), *scale("w"), integers("w", 4, 3, 5, 5)]
    nodes = [
        node("QuantizeLinear", "input x_scale x_zero", "q"),
        node("QLinearConv", "q x_scale x_zero w w_scale w_zero y_scale y_zero", "r"),
        node("DequantizeLinear", "r y_scale y_zero", "output"),
    ]
    return model_of(nodes, weights)


def qlinear_matmul() -> onnx.ModelProto:
    weights = [*scale("x"), *scale("y"), *scale("w"), integers("w", 8, 4)]
    nodes = [
        node("QuantizeLinear", "input x_scale x_zero", "q"),
        node("QLinearMatMul", "q x_scale x_zero w w_scale w_zero y_scale y_zero", "r"),
        node("DequantizeLinear", "r y_scale y_zero", "output"),
    ]
    return model_of(nodes, weights, dims=("n", 8), out=("n", 4))


QUANTISED: dict[str, Callable[[], onnx.ModelProto]] = {
    "fake quantised": fake_quantised,
    "QLinearConv": qlinear_conv,
    "QLinearMatMul": qlinear_matmul,
}


def test_weights_behind_dequantise_linear_are_compressed():
    result = nmcore.compress(qdq(), ratio=0.5, method="merge", verify=True)
    assert [len(o.plan.kept) for o in result.outcomes] == [4]


@pytest.mark.parametrize("kind", QUANTISED)
def test_quantised_weights_are_declined_with_advice(kind):
    model = QUANTISED[kind]()
    result, proto = compress(model)
    assert not [o for o in result.outcomes if len(o.plan.kept) < o.plan.width]
    assert any("before quantising" in place.reason for place in result.declined), result.declined
    assert params(proto) == params(model)
    same_outputs(proto, model)


# other domains


def test_operators_of_the_runtime():
    """A convolution and a Gelu of com.microsoft, as the runtime's own optimiser writes them."""
    nodes = [
        helper.make_node(
            *("FusedConv", ["input", "first"], ["fused"], "fused"),
            domain="com.microsoft",
            activation="Relu",
        ),
        node("Conv", "fused second", "conv"),
        helper.make_node("Gelu", ["conv"], ["bent"], "gelu", domain="com.microsoft"),
        node("Conv", "bent last", "output", pads=[1] * 4),
    ]
    weights = [
        tensor("first", 8, 3, 3, 3),
        tensor("second", 8, 8, 3, 3),
        tensor("last", 4, 8, 3, 3),
    ]
    result, _ = assert_smaller(model_of(nodes, weights, domains=("com.microsoft",)))
    members = {n for g in result.graph.groups for n in (*g.producers, *g.consumers)}
    assert "fused" in members | {place.node for place in result.declined}


def test_an_operator_that_nobody_knows():
    """It stops channels, and what is beyond its reach is compressed; no runtime can prove it."""
    nodes = [
        node("Conv", "input first", "conv"),
        helper.make_node("Mystery", ["conv"], ["odd"], "mystery", domain="some.where"),
        node("Conv", "odd second", "wide"),
        node("Relu", "wide", "bent"),
        node("Conv", "bent last", "output", pads=[1] * 4),
    ]
    weights = [
        tensor("first", 8, 3, 3, 3),
        tensor("second", 8, 8, 3, 3),
        tensor("last", 4, 8, 3, 3),
    ]
    model = model_of(nodes, weights, domains=("some.where",))
    result = nmcore.compress(model, ratio=0.5, method="merge")
    proto = onnx.load_from_string(result.graph.serialize())
    check_face(model, proto)
    assert result.after.params < result.before.params
    assert params(proto)["first"] == params(model)["first"]
    assert any("Mystery" in place.reason for place in result.declined)


def test_a_custom_operator_named_like_a_known_one():
    """Another domain's Relu is not ONNX's: it may do anything to channels."""
    nodes = [
        node("Conv", "input first", "conv"),
        helper.make_node("Relu", ["conv"], ["odd"], "odd_relu", domain="some.where"),
        node("Conv", "odd last", "output"),
    ]
    weights = [tensor("first", 8, 3, 3, 3), tensor("last", 4, 8, 3, 3)]
    result = nmcore.compress(model_of(nodes, weights, domains=("some.where",)), method="merge")
    assert not [o for o in result.outcomes if len(o.plan.kept) < o.plan.width]
    assert result.declined


# sizes computed while the model runs


def halved_and_shuffled(units: int) -> onnx.ModelProto:
    """ShuffleNetV2's units with dynamic axes, half of the channels computed as PyTorch does."""
    chain = Chain(("n", 3, 8, 8), opset=13).conv(32, 1).node("Relu")
    numbers = {
        name: chain.constant(np.asarray(value, np.int64), name)
        for name, value in {"zero": [0], "one": [1], "two": [2], "rest": [-1]}.items()
    }

    def size(value: str, axis: str) -> str:
        shape = chain.raw("Shape", value).value
        return chain.raw("Gather", shape, numbers.get(axis, axis)).value

    def shuffle(value: str) -> str:
        batch = size(value, "zero")
        half = chain.raw("Div", size(value, "one"), numbers["two"]).value
        three = chain.constant(np.array([3], np.int64))
        sides = [size(value, "two"), size(value, three)]
        target = chain.raw("Concat", batch, numbers["two"], half, *sides, axis=0).value
        chain.raw("Reshape", value, target).node("Transpose", perm=[0, 2, 1, 3, 4])
        turned = chain.value
        back = chain.raw("Concat", batch, numbers["rest"], *sides, axis=0).value
        return chain.raw("Reshape", turned, back).value

    for _ in range(units):
        whole = chain.value
        half = chain.raw("Div", size(whole, "one"), numbers["two"]).value
        full = chain.raw("Mul", half, numbers["two"]).value
        left = chain.raw("Slice", whole, numbers["zero"], half, numbers["one"]).value
        chain.raw("Slice", whole, half, full, numbers["one"])
        chain.width = 16
        right = chain.conv(16, 1).node("Relu").value
        shuffle(chain.raw("Concat", left, right, axis=1).value)
    chain.width = 32
    model = chain.conv(2, 1).build(check=False)
    model.graph.output[0].CopyFrom(
        helper.make_tensor_value_info(chain.value, F32, ["n", 2, "height", "width"])
    )
    return model


def test_halves_of_channels_whose_sizes_are_computed():
    model = halved_and_shuffled(units=3)
    result = nmcore.compress(model, ratio=0.5, method="merge", verify=True, providers=("cpu",))
    proto = onnx.load_from_string(result.graph.serialize())
    onnx.checker.check_model(proto, full_check=True)
    assert [place.op for place in result.declined] == ["Conv"]  # the model's output
    assert result.after.params < 0.5 * result.before.params
    for batch in (1, 3):
        (got,) = run(proto, feeds(model, batch))
        assert got.shape == (batch, 2, 8, 8)


def attention(heads: int = 4, width: int = 32) -> onnx.ModelProto:
    """Queries, keys and values from one matrix; the heads become as wide as the stream again."""
    chain = Chain(("n", "s", width))
    shape = chain.raw("Shape", "input").value
    batch, length, wide = (
        chain.raw("Gather", shape, chain.constant(np.array([axis]))).value for axis in range(3)
    )
    each = [chain.constant(np.array([size])) for size in (heads, width // heads)]
    inward = chain.raw("Concat", batch, length, *each, axis=0).value
    outward = chain.raw("Concat", batch, length, wide, axis=0).value
    whole = chain.raw("MatMul", "input", chain.constant(chain.weight(width, 3 * width))).value
    sizes = chain.constant(np.full(3, width))
    chain.nodes.append(helper.make_node("Split", [whole, sizes], ["q", "k", "v"], "apart", axis=2))
    query, key, value = (
        chain.raw("Reshape", name, inward).node("Transpose", perm=perm).value
        for name, perm in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3]))
    )
    chain.raw("MatMul", query, key).node("Softmax", axis=-1)
    chain.raw("MatMul", chain.value, value).node("Transpose", perm=[0, 2, 1, 3])
    chain.node("Reshape", outward)
    chain.node("MatMul", chain.weight(width, width))
    model = chain.build(check=False)
    model.graph.output[0].CopyFrom(
        helper.make_tensor_value_info(chain.value, F32, ["n", "s", width])
    )
    return model


def test_heads_that_become_as_wide_as_the_stream():
    model = attention()
    result = nmcore.compress(model, ratio=0.5, method="merge", verify=True, providers=("cpu",))
    proto = onnx.load_from_string(result.graph.serialize())
    onnx.checker.check_model(proto, full_check=True)
    (outcome,) = result.outcomes
    assert (outcome.plan.width, len(outcome.plan.kept)) == (4, 2)
    assert result.after.params == result.before.params / 2
    for batch, length in ((1, 5), (3, 2)):
        data = rng().standard_normal((batch, length, 32)).astype(np.float32)
        (got,) = run(proto, {"input": data})
        assert got.shape == (batch, length, 32)


def packed_attention(*, batch_first: bool = False, heads: int = 4) -> onnx.ModelProto:
    """PyTorch's MultiheadAttention: one product for all three, heads as a part of the batch."""
    width = 32
    chain = Chain(("s", "n", width))
    shape = chain.raw("Shape", "input").value
    length, batch = (
        chain.raw("Gather", shape, chain.constant(np.array([axis]))).value for axis in range(2)
    )
    number = {k: chain.constant(np.array([k])) for k in (3, width, heads, width // heads)}
    many = chain.raw("Mul", batch, number[heads]).value
    whole = chain.raw("MatMul", "input", chain.constant(chain.weight(width, 3 * width))).value
    packed = chain.raw("Concat", length, batch, number[3], number[width], axis=0).value
    chain.raw("Reshape", whole, packed).node("Unsqueeze", np.array([0]))
    stacked = chain.node("Transpose", perm=[3, 1, 2, 0, 4]).node("Squeeze", np.array([3])).value
    inward = chain.raw("Concat", length, many, number[width // heads], axis=0).value
    query, key, value = (
        chain.raw("Gather", stacked, chain.constant(np.array(k)), axis=0)
        .node("Reshape", inward)
        .node("Transpose", perm=perm)
        .value
        for k, perm in enumerate(([1, 0, 2], [1, 2, 0], [1, 0, 2]))
    )
    chain.raw("MatMul", query, key).node("Softmax", axis=-1)
    chain.raw("MatMul", chain.value, value).node("Transpose", perm=[1, 0, 2])
    outward = chain.raw("Concat", length, batch, number[width], axis=0).value
    mixed = next(each.output[0] for each in chain.nodes if each.name == "transpose5")
    chain.raw("Reshape", mixed, outward).node("MatMul", chain.weight(width, width))
    model = chain.build(check=False)
    model.graph.output[0].CopyFrom(
        helper.make_tensor_value_info(chain.value, F32, ["s", "n", width])
    )
    return model


def repeated_keys(heads: int = 4, keys: int = 2, *, by_split: bool = False) -> onnx.ModelProto:
    """Queries in groups that share keys and values, which are expanded as PyTorch writes it.

    onnxruntime writes several Gathers of one shape as one Split (``by_split``).
    """
    width, size = 32, 8
    chain = Chain(("n", "s", width))
    shape = chain.raw("Shape", "input").value
    batch, length = (
        chain.raw("Gather", shape, chain.constant(np.array([axis]))).value for axis in range(2)
    )
    number = {k: chain.constant(np.array([k])) for k in (keys, heads, size, heads // keys, -1)}
    fours = chain.constant(np.ones(4, np.int64))

    def split(count: int, perm: list[int]) -> str:
        weight = chain.constant(chain.weight(width, count * size))
        made = chain.raw("MatMul", "input", weight).value
        target = chain.raw("Concat", batch, length, number[count], number[size], axis=0).value
        return chain.raw("Reshape", made, target).node("Transpose", perm=perm).value

    def repeat(value: str) -> str:
        shape = chain.raw("Shape", value).value
        sizes = [chain.raw("Gather", shape, chain.constant(np.array([k]))).value for k in range(4)]
        if by_split:
            sizes = [f"{shape}_{k}" for k in range(4)]
            chain.nodes[-4:] = [helper.make_node("Split", [shape, fours], sizes, f"split_{shape}")]
        listed = [*sizes[:2], number[heads // keys], *sizes[2:]]
        chain.raw("Concat", *listed, axis=0).node("Reshape", np.array([-1]))
        target = chain.value
        count = chain.raw("Shape", target).value
        one = numpy_helper.from_array(np.array([1], np.int64))
        ones = chain.raw("ConstantOfShape", count, value=one).value
        minus = chain.raw("Mul", ones, number[-1]).value
        is_open = chain.raw("Equal", target, minus).value
        full = chain.raw("Where", is_open, ones, target).value
        flat = chain.raw("Mul", sizes[1], number[heads // keys]).value
        back = chain.raw("Concat", sizes[0], flat, *sizes[2:], axis=0).value
        chain.raw("Unsqueeze", value, chain.constant(np.array([2])))
        return chain.node("Expand", full).node("Reshape", back).value

    query = split(heads, [0, 2, 1, 3])
    key, value = repeat(split(keys, [0, 2, 1, 3])), repeat(split(keys, [0, 2, 1, 3]))
    turned = chain.raw("Transpose", key, perm=[0, 1, 3, 2]).value
    chain.raw("MatMul", query, turned).node("Softmax", axis=-1)
    chain.raw("MatMul", chain.value, value).node("Transpose", perm=[0, 2, 1, 3])
    chain.node("Reshape", np.array([0, 0, -1])).node("MatMul", chain.weight(width, width))
    model = chain.build(check=False)
    model.graph.output[0].CopyFrom(
        helper.make_tensor_value_info(chain.value, F32, ["n", "s", width])
    )
    return model


def fused_attention() -> onnx.ModelProto:
    """ONNX's own Attention, from opset 23 on."""
    chain = Chain(("n", "s", 32), opset=23)
    sides = []
    for _ in range(3):
        made = chain.raw("MatMul", "input", chain.constant(chain.weight(32, 32))).value
        target = chain.constant(np.array([0, 0, 4, 8]))
        sides.append(chain.raw("Reshape", made, target).node("Transpose", perm=[0, 2, 1, 3]).value)
    chain.raw("Attention", *sides).node("Transpose", perm=[0, 2, 1, 3])
    chain.node("Reshape", np.array([0, 0, -1])).node("MatMul", chain.weight(32, 32))
    model = chain.build(check=False)
    model.ir_version = 11
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info(chain.value, F32, ["n", "s", 32]))
    return model


@pytest.mark.parametrize(
    ("make", "units"),
    [
        (packed_attention, 4),
        (repeated_keys, 2),
        (lambda: repeated_keys(by_split=True), 2),
        (fused_attention, 4),
    ],
)
def test_heads(make, units):
    model = make()
    result = nmcore.compress(model, ratio=0.5, method="merge", verify=True, providers=("cpu",))
    proto = onnx.load_from_string(result.graph.serialize())
    onnx.checker.check_model(proto, full_check=True)
    (outcome,) = result.outcomes
    assert (outcome.plan.width, len(outcome.plan.kept)) == (units, units // 2)
    assert result.after.params == pytest.approx(result.before.params / 2, abs=20)
    for one, other in ((1, 5), (3, 2)):
        data = rng().standard_normal((one, other, 32)).astype(np.float32)
        (got,), (want,) = (run(each, {"input": data}) for each in (proto, model))
        assert got.shape == want.shape == (one, other, 32)


def test_a_mask_that_is_made_of_channels_stays():
    """What reaches an Attention as its mask has to keep its size."""
    model = fused_attention()
    weights = [tensor("to_mask", 32, 6), tensor("of_mask", 6, 3)]
    (attention_node,) = (each for each in model.graph.node if each.op_type == "Attention")
    place = list(model.graph.node).index(attention_node)
    model.graph.node.insert(place, node("MatMul", "input to_mask", "mask"))
    attention_node = model.graph.node[place + 1]
    attention_node.input.append("mask")
    model.graph.node.append(node("MatMul", "mask of_mask", "beside"))
    model.graph.initializer.extend(weights)
    model.graph.output.append(helper.make_tensor_value_info("beside", F32, ["n", "s", 3]))
    result = nmcore.compress(model, ratio=0.5, method="merge", providers=("cpu",))
    (declined,) = (place for place in result.declined if place.node == "MatMul_mask")
    assert "Attention" in declined.reason
