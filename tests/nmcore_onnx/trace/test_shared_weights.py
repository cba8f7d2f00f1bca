"""Weights that several nodes read: they stay one weight, and channels still go."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import nmcore
from chain import run
from cutting import cut
from nmcore.plugins import Span, registry

F32 = TensorProto.FLOAT


def weights(**shapes: tuple[int, ...]) -> list[onnx.TensorProto]:
    rng = np.random.default_rng(0)
    return [
        numpy_helper.from_array(
            (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]) or 1)).astype("f4"), name
        )
        for name, shape in shapes.items()
    ]


def network(
    nodes: list[tuple[str, str, str]],
    initializers: list[onnx.TensorProto],
    inputs: dict[str, list[int | str]],
    outputs: dict[str, list[int | str]],
) -> onnx.ModelProto:
    return helper.make_model(
        helper.make_graph(
            [helper.make_node(op, i.split(), o.split(), o.split()[0]) for op, i, o in nodes],
            "network",
            [helper.make_tensor_value_info(n, F32, d) for n, d in inputs.items()],
            [helper.make_tensor_value_info(n, F32, d) for n, d in outputs.items()],
            initializers,
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )


def pyramid(second_bias: str = "b2") -> onnx.ModelProto:
    """One head on two levels of a pyramid, as detectors have."""
    nodes = [
        ("Conv", "x stem", "low"),
        ("Relu", "low", "low_on"),
        ("MaxPool", "low_on", "high_on"),
    ]
    for level in ("low", "high"):
        bias = "b2" if level == "low" else second_bias
        nodes += [
            ("Conv", f"{level}_on w1 b1", f"{level}1"),
            ("Relu", f"{level}1", f"{level}1_on"),
            ("Conv", f"{level}1_on w2 {bias}", f"{level}2"),
            ("Relu", f"{level}2", f"{level}2_on"),
            ("Conv", f"{level}2_on w3", f"{level}3"),
        ]
    model = network(
        nodes,
        weights(
            stem=(6, 3, 3, 3),
            w1=(8, 6, 1, 1),
            b1=(8,),
            w2=(10, 8, 1, 1),
            b2=(10,),
            other=(10,),
            w3=(2, 10, 1, 1),
        ),
        {"x": ["n", 3, 10, 10]},
        {"low3": ["n", 2, "h", "w"], "high3": ["n", 2, "i", "j"]},
    )
    for node in model.graph.node:
        if node.op_type == "MaxPool":
            node.attribute.append(helper.make_attribute("kernel_shape", [1, 1]))
            node.attribute.append(helper.make_attribute("strides", [2, 2]))
    return model


def repeated() -> onnx.ModelProto:
    """The same feed-forward weights in three layers, behind norms that keep the stream."""
    nodes = [("Identity", "x", "s0")]
    for k in range(3):
        nodes += [
            ("LayerNormalization", f"s{k} gain", f"n{k}"),
            ("MatMul", f"n{k} up", f"u{k}"),
            ("Add", f"u{k} up_bias", f"v{k}"),
            ("Relu", f"v{k}", f"r{k}"),
            ("MatMul", f"r{k} down", f"d{k}"),
            ("Add", f"s{k} d{k}", f"s{k + 1}"),
        ]
    made = weights(gain=(8,), up=(8, 16), up_bias=(16,), down=(16, 8))
    return network(nodes, made, {"x": ["n", 5, 8]}, {"s3": ["n", 5, 8]})


def compressed(model: onnx.ModelProto, method: str) -> tuple[nmcore.Result, onnx.ModelProto]:
    result = nmcore.compress(
        model, ratio=0.5, method=method, samples=8, verify=True, providers=("cpu",)
    )
    proto = onnx.load_from_string(result.graph.serialize())
    onnx.checker.check_model(proto, full_check=True)
    return result, proto


def shapes(model: onnx.ModelProto) -> dict[str, list[int]]:
    return {each.name: list(each.dims) for each in model.graph.initializer}


@pytest.mark.parametrize("method", ["prune", "merge", "ridge", "moments"])
@pytest.mark.parametrize("make", [pyramid, repeated])
def test_a_shared_weight_stays_one(make, method):
    before = make()
    result, after = compressed(before, method)
    assert result.after.params < 0.7 * result.before.params
    assert result.after.macs < 0.7 * result.before.macs
    assert result.after.params == sum(
        numpy_helper.to_array(each).size for each in after.graph.initializer
    )
    matrices = [each for each in before.graph.initializer if len(each.dims) > 1]
    assert len([each for each in after.graph.initializer if len(each.dims) > 1]) == len(matrices)


def test_all_readers_lose_the_same_channels():
    _, after = compressed(pyramid(), "merge")
    found = shapes(after)
    widths = {name: found[name] for name in ("stem", "w1", "w2", "w3")}
    assert widths == {
        "stem": [3, 3, 3, 3],
        "w1": [4, 3, 1, 1],
        "w2": [5, 4, 1, 1],
        "w3": [2, 5, 1, 1],
    }


def test_nothing_removed_changes_nothing():
    model = pyramid()
    result = nmcore.compress(model, ratio=0, providers=("cpu",))
    feeds = {"x": np.random.default_rng(1).standard_normal((2, 3, 10, 10)).astype("f4")}
    got, want = (
        run(each, feeds) for each in (onnx.load_from_string(result.graph.serialize()), model)
    )
    for one, other in zip(got, want, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_refit_minds_every_place_where_the_weight_is_read():
    """The level that is read second counts as much: its moments are summed with the first's."""
    model = pyramid()
    graph = registry.open_graph(model)
    reading = next(r for r in graph.readings() if r.group == "low1")
    probe = graph.moment_probe([reading], original=Span(), rows=10**9, samples=2)
    feeds = {"x": np.random.default_rng(2).standard_normal((2, 3, 10, 10)).astype("f4")}
    count, mean, *_ = run(onnx.load_from_string(probe), feeds)
    assert count == 2 * (64 + 16)
    inner = onnx.ModelProto()
    inner.CopyFrom(model)
    del inner.graph.output[:]
    inner.graph.output.extend(
        helper.make_tensor_value_info(name, F32, None) for name in ("low1_on", "high1_on")
    )
    seen = run(inner, feeds)
    rows = np.concatenate([np.moveaxis(each, 1, -1).reshape(-1, each.shape[1]) for each in seen])
    np.testing.assert_allclose(mean, rows.mean(axis=0), rtol=1e-5)


def test_the_meter_counts_a_shared_weight_once():
    from nmcore.budgets.meter import Meter

    graph = registry.open_graph(pyramid())
    meter = Meter(graph.terms(), {group.name: group.width for group in graph.groups}, "params")
    before, cost = meter.total(), graph.cost().params
    kept = np.arange(4)
    group = next(group for group in graph.groups if group.name == "low1")
    consumers = graph.consumers(group)
    cut(graph, group, kept, [c.weight[:, kept] for c in consumers], [None for _ in consumers])
    meter.kept["low1"] = 4
    assert before - meter.total() == pytest.approx(cost - graph.cost().params)


def test_readers_with_biases_of_their_own_lose_the_same_columns():
    result, after = compressed(pyramid(second_bias="other"), "merge")
    assert shapes(after)["w2"] == [5, 4, 1, 1]
    assert not any("'w2' that several nodes share" in place.reason for place in result.declined)


def test_a_weight_that_is_also_read_otherwise_stays():
    model = pyramid()
    model.graph.node.append(helper.make_node("ReduceSum", ["w2"], ["sum"], "sum"))
    model.graph.output.append(helper.make_tensor_value_info("sum", F32, [1, 1, 1, 1]))
    result, after = compressed(model, "merge")
    assert shapes(after)["w2"] == [10, 8, 1, 1]
    assert result.after.params < result.before.params


def behind_identity() -> onnx.ModelProto:
    """One Identity that several nodes read, as PyTorch writes tied weights."""
    model = pyramid()
    model.graph.node.insert(0, helper.make_node("Identity", ["w2"], ["tied"], "tied"))
    for node in model.graph.node:
        if node.op_type == "Conv":
            node.input[:] = ["tied" if name == "w2" else name for name in node.input]
    return model


def among_the_inputs() -> onnx.ModelProto:
    """Up to IR version 3 every initialiser is an input as well."""
    model = pyramid()
    model.ir_version = 3
    model.opset_import[0].version = 8
    for each in model.graph.initializer:
        model.graph.input.append(
            helper.make_tensor_value_info(each.name, each.data_type, each.dims)
        )
    return model


def in_constant_nodes() -> onnx.ModelProto:
    """Each weight in a node of its own, as some exporters write them."""
    model = pyramid()
    for each in model.graph.initializer:
        model.graph.node.insert(0, helper.make_node("Constant", [], [each.name], value=each))
    del model.graph.initializer[:]
    return model


def test_a_weight_in_a_constant_node_stays_one_under_its_name():
    plain, _ = compressed(pyramid(), "merge")
    result, after = compressed(in_constant_nodes(), "merge")
    assert result.after.params == plain.after.params < result.before.params
    made = [each.output[0] for each in after.graph.node if each.op_type == "Constant"]
    names = [*made, *shapes(after)]
    assert sorted(names) == sorted(each.name for each in pyramid().graph.initializer)


@pytest.mark.parametrize("make", [behind_identity, among_the_inputs])
def test_however_it_is_shared_it_stays_one(make):
    plain, _ = compressed(pyramid(), "merge")
    result, after = compressed(make(), "merge")
    assert result.after.params == plain.after.params
    weights = {each.name for each in after.graph.initializer}
    given = {each.name for each in after.graph.input}
    assert given - weights == {"x"}
    assert len(weights) <= len(pyramid().graph.initializer)


def test_a_transpose_in_a_subgraph_keeps_its_weight():
    model = pyramid()
    body = helper.make_graph(
        [
            helper.make_node("Transpose", ["w2"], ["turned"]),
            helper.make_node("Identity", ["flag"], ["chosen"]),
        ],
        "body",
        [],
        [helper.make_tensor_value_info("chosen", TensorProto.BOOL, [])],
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "flag"))
    model.graph.node.append(
        helper.make_node("If", ["flag"], ["out"], "if", then_branch=body, else_branch=body)
    )
    model.graph.output.append(helper.make_tensor_value_info("out", TensorProto.BOOL, []))
    result, after = compressed(model, "merge")
    assert shapes(after)["w2"] == [10, 8, 1, 1]
    assert result.after.params < result.before.params


@pytest.mark.parametrize("method", ["merge", "moments"])
@pytest.mark.parametrize("biases", [("b1", "b2"), ("b1", ""), ("b1", "b1")])
def test_heads_that_share_a_weight_with_biases_of_their_own(method, biases):
    """What is lost is made up for in every head, and exactly so where channels are twins."""
    tensors = weights(w1=(8, 3), w2=(8, 3), w=(5, 8), b0=(8, 1), b1=(5, 1), b2=(5, 1))
    arrays = {t.name: numpy_helper.to_array(t).copy() for t in tensors}
    for name in ("w1", "w2", "b0"):
        arrays[name][4:] = 0.5 * arrays[name][:4]
    arrays |= {name: arrays[name].ravel() for name in ("b0", "b1", "b2")}
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b0"], ["a"], "first", transB=1),
        helper.make_node("Gemm", ["y", "w2", "b0"], ["b"], "second", transB=1),
        helper.make_node("Relu", ["a"], ["ra"], "relu1"),
        helper.make_node("Relu", ["b"], ["rb"], "relu2"),
    ]
    for name, value, bias in zip(("p", "q"), ("ra", "rb"), biases, strict=True):
        inputs = [value, "w", *([bias] if bias else [])]
        nodes.append(helper.make_node("Gemm", inputs, [name], f"head_{name}", transB=1))
    infos = [
        [helper.make_tensor_value_info(name, F32, ["n", size]) for name in names]
        for names, size in (("xy", 3), ("pq", 5))
    ]
    used = {name for node in nodes for name in node.input}
    kept = [numpy_helper.from_array(a, name) for name, a in arrays.items() if name in used]
    model = helper.make_model(
        helper.make_graph(nodes, "heads", *infos, kept),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    plan = {"groups": {"first": [0, 1, 2, 3]}}
    result = nmcore.compress(model, plan=plan, method=method, verify=True)
    assert len(result.outcomes) == 1
    rng = np.random.default_rng(0)
    feeds = {name: rng.standard_normal((6, 3)).astype("f4") for name in "xy"}
    small = result.graph.serialize()
    for before, after in zip(run(model, feeds), run(small, feeds), strict=True):
        np.testing.assert_allclose(after, before, atol=2e-3 * np.abs(before).max())
