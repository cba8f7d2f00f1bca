"""Sums formed inside the runtime equal those of NumPy on the activations themselves."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper

import nmcore
from chain import Chain, run
from cutting import cut
from nmcore.compression.moments import Sums, add_outputs
from nmcore.plugins import Span, registry
from unfolding import attributes, features, last, outputs, readings, sums, values

ALL = 10**9


def picture(model, count=3, seed=1):
    kind = model.graph.input[0].type.tensor_type
    shape = [count if d.dim_param else d.dim_value for d in kind.shape.dim]
    dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
    return {"input": np.random.default_rng(seed).standard_normal(shape).astype(dtype)}


def probe(graph, group, feeds, *, targets=True, rows=ALL):
    model = graph.moment_probe(
        readings(graph, [group]),
        original=Span() if targets else None,
        rows=rows,
        samples=len(feeds["input"]),
    )
    return run(model, feeds)


def assert_sums(found, expected, rtol=2e-5):
    assert len(found) == len(expected)
    for index, (got, want) in enumerate(zip(found, expected, strict=True)):
        assert got.shape == want.shape, index
        assert got.dtype == np.float32
        scale = np.abs(want).max() or 1.0
        np.testing.assert_allclose(got, want, rtol=0, atol=rtol * scale, err_msg=str(index))


def node_of(model, name):
    return next(node for node in model.graph.node if node.name == name)


def given(model, name):
    """The name of what a node gives once its bias is added."""
    node = node_of(model, name)
    readers = [other for other in model.graph.node if node.output[0] in other.input]
    known = {tensor.name for tensor in model.graph.initializer}
    if node.op_type == "MatMul" and len(readers) == 1 and readers[0].op_type == "Add":
        added = readers[0]
        if set(added.input) & known:
            return added.output[0]
    return node.output[0]


def check(model, name=-1, *, order=None, rtol=2e-5, feeds=None):
    """Compare the sums of one group's first consumer, and its arrays, with NumPy's."""
    before = model.SerializeToString(deterministic=True)
    feeds = feeds or picture(model)
    graph = registry.open_graph(model)
    group = graph.groups[name]
    (consumer,) = graph.consumers(group)
    node = node_of(model, consumer.name)
    x, y = values(model, [node.input[0], given(model, node.name)], feeds)
    rows, target = features(model, node, x), outputs(node, y)
    if order is not None:
        rows = order(rows)
    assert_sums(probe(graph, group, feeds), sums(rows, target), rtol)
    assert_sums(probe(graph, group, feeds, targets=False), sums(rows), rtol)
    weight = consumer.weight.reshape(len(consumer.weight), -1).astype(np.float64)
    bias = 0 if consumer.bias is None else consumer.bias
    np.testing.assert_allclose(rows @ weight.T + bias, target, atol=50 * rtol * np.abs(y).max())
    assert model.SerializeToString(deterministic=True) == before
    assert graph.serialize() == registry.open_graph(model).serialize()


def consumer(kernel=3, shape=("n", 3, 9, 8), **attributes):
    return Chain(shape).conv(4, 1).node("Relu").conv(3, kernel, **attributes)


CONVS = {
    "plain": lambda: consumer(),
    "pointwise": lambda: consumer(1),
    "strides": lambda: consumer(strides=[2, 1]),
    "dilations": lambda: consumer(dilations=[2, 3]),
    "oblong kernel": lambda: consumer((3, 2)),
    "asymmetric pads": lambda: consumer(pads=[0, 1, 2, 0]),
    "all of them": lambda: consumer((3, 2), strides=[2, 3], dilations=[2, 1], pads=[2, 0, 1, 1]),
    "SAME_UPPER": lambda: consumer((4, 2), auto_pad="SAME_UPPER"),
    "SAME_LOWER": lambda: consumer((4, 2), auto_pad="SAME_LOWER"),
    "SAME_UPPER, strides": lambda: consumer(strides=[2, 3], auto_pad="SAME_UPPER"),
    "VALID": lambda: consumer(auto_pad="VALID"),
    "1-D": lambda: consumer(shape=("n", 3, 12), strides=[2], pads=[2, 1]),
    "3-D": lambda: consumer((2, 3, 1), shape=("n", 3, 5, 4, 3), pads=[1, 0, 0, 0, 1, 0]),
}


@pytest.mark.parametrize("name", CONVS)
def test_convolutions(name):
    check(CONVS[name]().build())


def flattened(features=4 * 6 * 5):
    return Chain(("n", 3, 6, 5)).conv(4, 1).node("Relu").node("Flatten").gemm(3, features)


def test_gemm():
    for flag in (0, 1):
        chain = Chain(("n", 6)).gemm(5).node("Relu").gemm(4, transB=flag)
        check(chain.build())
    check(Chain(("n", 6)).gemm(5).gemm(4, alpha=0.5, beta=2.0).build())


def test_gemm_that_transposes_its_input():
    chain = Chain((4, 6)).gemm(5).node("Transpose", perm=[1, 0])
    chain.node("Gemm", chain.weight(3, 5), transA=1, transB=1)
    check(chain.build())


def test_matmul_on_sequences():
    for shape in (("n", 5, 6), ("n", 2, 5, 6), ("n", 6)):
        chain = Chain(shape)
        chain.width = 6
        check(chain.matmul(5).node("Relu").matmul(4).build())
        chain = Chain(shape)
        chain.width = 6
        check(chain.matmul(5, bias=False).node("Tanh").matmul(4, bias=False).build())


def test_flattened_channels_own_neighbouring_columns():
    check(flattened().build())
    chain = Chain(("n", 3, 6, 5)).conv(4, 1).node("Relu")
    check(chain.node("Reshape", np.array([0, -1])).gemm(3, features=120).build())


def test_flattened_channels_last():
    """Columns are position by position there; features still come channel by channel."""
    chain = Chain(("n", 3, 6, 5)).conv(4, 1).node("Relu").node("Transpose", perm=[0, 2, 3, 1])
    model = chain.node("Flatten").gemm(3, features=120).build()

    def by_channel(rows):
        return rows.reshape(len(rows), 30, 4).transpose(0, 2, 1).reshape(len(rows), -1)

    check(model, order=by_channel)


@pytest.mark.parametrize("filters", [1, 2])
def test_depthwise_before(filters):
    chain = Chain().conv(4, 1).node("Relu").conv(4 * filters, group=4).batch_norm().node("Relu")
    check(chain.conv(3, 2).build())


def test_batch_norms_between_and_behind():
    check(Chain().conv(4).batch_norm().node("Relu").conv(3).batch_norm().node("Relu").build())
    check(Chain(("n", 6)).gemm(5).batch_norm().node("Relu").gemm(3).batch_norm().build())


@pytest.mark.parametrize("opset", [8, 9, 11, 13, 18, 21])
def test_opsets(opset):
    check(Chain(opset=opset).conv(4).batch_norm().node("Relu").conv(3, strides=[2, 2]).build())
    check(Chain(("n", 3, 6, 5), opset=opset).conv(4).node("Flatten").gemm(3, 4 * 12).build())


@pytest.mark.parametrize("layers", ["conv", "batch norm", "gemm"])
def test_half_precision(layers):
    chain = Chain(dtype=np.float16)
    if layers == "gemm":
        chain = Chain(("n", 6), dtype=np.float16).gemm(5).node("Relu").gemm(4)
    elif layers == "batch norm":
        chain = chain.conv(4).batch_norm().node("Relu").conv(3)
    else:
        chain = chain.conv(4).node("Relu").conv(3)
    check(chain.build(), rtol=2e-3)


def test_double_precision():
    check(Chain(("n", 6), dtype=np.float64).gemm(5).node("Relu").gemm(4).build())


@pytest.mark.parametrize("ir_version", [3, 8])
def test_initialisers_that_are_also_inputs(ir_version):
    model = Chain(opset=8).conv(4).batch_norm().node("Relu").conv(3).batch_norm().build()
    model.ir_version = ir_version
    for tensor in model.graph.initializer:
        model.graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        )
    check(model)


def test_weights_in_constant_nodes():
    chain = Chain().conv(4).batch_norm().node("Relu").conv(3)
    model = chain.build()
    made = [
        helper.make_node("Constant", [], [tensor.name], f"make_{tensor.name}", value=tensor)
        for tensor in chain.initializers
    ]
    moved = Chain()
    moved.nodes, moved.value = made + chain.nodes, chain.value
    moved = moved.build()
    graph, original = registry.open_graph(moved), registry.open_graph(model)
    for targets in (True, False):
        found, expected = (
            probe(each, each.groups[0], picture(model), targets=targets)
            for each in (graph, original)
        )
        for got, want in zip(found, expected, strict=True):
            np.testing.assert_array_equal(got, want)


def test_several_groups_and_consumers_at_once():
    """A value with two readers: the sums of each come in the order of consumers()."""
    chain = Chain().conv(4).node("Relu")
    shared = chain.value
    chain.conv(3, 3, strides=[2, 2]).node("Relu").conv(5, 1)
    chain.width, first, chain.value = 4, chain.value, shared
    model = chain.conv(6, 2).build(first, "conv4_out")
    graph, feeds = registry.open_graph(model), picture(model)
    expected = []
    for group in graph.groups:
        for each in graph.consumers(group):
            node = node_of(model, each.name)
            (x,) = values(model, [node.input[0]], feeds)
            expected += sums(features(model, node, x))
    assert [len(graph.consumers(group)) for group in graph.groups] == [2, 1]
    found = run(graph.moment_probe(readings(graph, graph.groups), rows=ALL, samples=3), feeds)
    assert_sums(found, expected)


def test_batches_of_different_sizes_add_up():
    model = Chain().conv(4).node("Relu").conv(3).batch_norm().build()
    graph = registry.open_graph(model)
    x = picture(model, 7)["input"]
    data = graph.moment_probe(readings(graph, graph.groups), original=Span(), rows=ALL, samples=7)
    session = registry.runtime().session(data, providers=("cpu",))
    sizes = [6] * len(readings(graph, graph.groups))
    parts, whole = ([Sums() for _ in sizes] for _ in range(2))
    for some in (x[:4], x[4:5], x[5:]):
        add_outputs(parts, session.run({"input": some}), sizes)
    add_outputs(whole, session.run({"input": x}), sizes)
    for part, total in zip(parts, whole, strict=True):
        for name in ("mean", "covariance", "target_mean", "target_variance", "cross"):
            one, other = (getattr(each.measured(), name) for each in (part, total))
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5, err_msg=name)


class TestRows:
    """A probe skips rows where there would be more than wanted."""

    @pytest.mark.parametrize(("opset", "share", "step"), [(10, 3, 3), (17, 1, 1), (17, 6, 5)])
    @pytest.mark.parametrize(
        ("kernel", "places"),
        [
            (1, {}),
            (1, {"strides": [2, 2]}),
            (1, {"pads": [1, 0, 0, 2]}),
            (3, {"pads": [1] * 4}),
            (3, {"strides": [2, 1], "dilations": [1, 2], "pads": [0, 2, 1, 2]}),
            (3, {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
        ],
    )
    def test_every_so_many_positions(self, kernel, places, opset, share, step):
        """The same ones of each input, wherever the filters stand."""
        chain = Chain(("n", 3, 11, 8), opset=opset).conv(4, 1).node("Relu")
        model = chain.conv(3, kernel, **places).build()
        graph, feeds = registry.open_graph(model), picture(model)
        x, y = values(model, ["relu1_out", "conv2_out"], feeds)
        node = node_of(model, "conv2")
        made, wanted = (
            each.reshape(3, -1, each.shape[1])
            for each in (features(model, node, x), outputs(node, y))
        )
        found = probe(graph, graph.groups[0], feeds, rows=3 * made.shape[1] // share)
        taken = [each[:, ::step].reshape(-1, each.shape[2]) for each in (made, wanted)]
        assert_sums(found, sums(*taken))

    def test_sequences(self):
        chain = Chain(("n", 16, 6))
        chain.width = 6
        model = chain.matmul(5).node("Relu").matmul(4).build()
        graph, feeds = registry.open_graph(model), picture(model)
        (x,) = values(model, ["relu1_out"], feeds)
        found = probe(graph, graph.groups[0], feeds, rows=12, targets=False)
        assert_sums(found, sums(last(x, 2)[::3]))

    def test_before_steps_were_known(self):
        """Slice has no steps before opset 10: all rows are taken."""
        model = Chain(opset=9).conv(4).node("Relu").conv(3, 1).build()
        graph, feeds = registry.open_graph(model), picture(model)
        assert probe(graph, graph.groups[0], feeds, rows=5)[0] == 3 * 36


def residual_net(norm=False, projected=False, swapped=False, opset=17):
    """A stream of 4 channels and two blocks of 6 around it."""
    chain = Chain(opset=opset).conv(4, 1).node("Relu")
    for block in range(2):
        stream = chain.value
        if projected and block == 1:
            chain.conv(4, 1)
            if norm:
                chain.batch_norm()
            start, stream = stream, chain.value
            chain.value = start
        chain.conv(6, 3, pads=[1] * 4).node("Relu").conv(4, 1)
        if norm:
            chain.batch_norm()
        names = (stream, chain.value) if swapped else (chain.value, stream)
        chain.raw("Add", *names).node("Relu")
    return chain.conv(3, 1).build()


def blocks(graph):
    """The groups inside the blocks of a residual network; that of the stream has more producers."""
    return [group for group in graph.groups if len(group.producers) == 1]


def cut_first(graph):
    """Keep half of the first block's inner channels, with other weights and a bias."""
    group = blocks(graph)[0]
    (each,) = graph.consumers(group)
    kept = np.array([0, 2, 5])
    cut(graph, group, kept, [1.3 * each.weight[:, kept]], [np.float32([0.1, -0.2, 0.3, 0.4])])


def inner(model):
    """The second block: its last convolution, its sum, and the two values that are added."""
    add = [node for node in model.graph.node if node.op_type == "Add"][1]
    makers = {node.output[0]: node for node in model.graph.node}
    branches = []
    for name in add.input:
        maker = makers[name]
        norm = maker if maker.op_type == "BatchNormalization" else None
        branches.append((makers[norm.input[0]] if norm else maker, norm, name))
    group = registry.open_graph(model).groups[-1]
    own = next(branch for branch in branches if branch[0].name in group.consumers)
    other = next(name for name in add.input if name != own[2])
    return own[0], own[1], add, other


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("projected", [False, True])
@pytest.mark.parametrize("norm", [False, True])
def test_targets_make_up_for_what_a_sum_has_lost(norm, projected, swapped):
    model = residual_net(norm, projected, swapped)
    feeds = picture(model)
    graph = registry.open_graph(model)
    conv, follower, _, other = inner(model)
    cut_first(graph)
    current = onnx.load_from_string(graph.serialize())
    (x, now), (y, before) = (
        values(current, [conv.input[0], other], feeds),
        values(model, [conv.output[0], other], feeds),
    )
    lost = last(before) - last(now)
    assert np.abs(lost).max() > 0.05
    if follower is not None:
        gamma, _, _, var = (
            onnx.numpy_helper.to_array(
                next(t for t in model.graph.initializer if t.name == follower.input[index])
            )
            for index in range(1, 5)
        )
        lost = lost / (gamma / np.sqrt(var + 1e-5))
    found = probe(graph, graph.groups[-1], feeds)
    assert_sums(found, sums(features(current, conv, x), last(y) + lost), 1e-4)
    # Nothing of this reaches the result.
    assert graph.serialize() == current.SerializeToString() or (
        onnx.load_from_string(graph.serialize()) == current
    )


def test_a_batch_norm_that_blocks_a_channel_asks_for_nothing():
    model = residual_net(norm=True)
    conv, follower, *_ = inner(model)
    tensor = next(t for t in model.graph.initializer if t.name == follower.input[1])
    gamma = onnx.numpy_helper.to_array(tensor).copy()
    gamma[1], gamma[2] = 0, 1e-5
    tensor.CopyFrom(onnx.numpy_helper.from_array(gamma, tensor.name))
    feeds = picture(model)
    graph = registry.open_graph(model)
    cut_first(graph)
    (y,) = values(model, [conv.output[0]], feeds)
    found = probe(graph, graph.groups[-1], feeds)
    np.testing.assert_allclose(found[3][1:3], last(y).mean(0)[1:3], rtol=1e-4, atol=1e-5)
    assert not np.allclose(found[3][[0, 3]], last(y).mean(0)[[0, 3]], rtol=1e-2)


@pytest.mark.parametrize("norm", [False, True])
def test_without_targets_the_sum_itself_is_measured(norm):
    model = residual_net(norm)
    feeds = picture(model)
    graph = registry.open_graph(model)
    conv, _, add, _ = inner(model)
    (each,) = graph.consumers(graph.groups[-1])
    assert each.feeds_sum
    assert (each.scale is not None) == norm
    x, stream = values(model, [conv.input[0], add.output[0]], feeds)
    expected = sums(features(model, conv, x))
    expected += [last(stream).mean(0), len(last(stream)) * last(stream).var(0)]
    assert_sums(probe(graph, graph.groups[-1], feeds, targets=False), expected)


def test_a_sum_with_a_constant_or_a_broadcast_value_is_no_residual():
    chain = Chain().conv(4, 1).node("Relu").conv(3, 1).node("Add", np.ones((1, 3, 1, 1), "f4"))
    graph = registry.open_graph(chain.build())
    assert [c.feeds_sum for c in graph.consumers(blocks(graph)[0])] == [False]
    chain = Chain((2, 3, 4, 4)).conv(4, 1).node("Relu").conv(3, 1)
    graph = registry.open_graph(chain.node("Add", np.ones((2, 3, 4, 4), "f4")).build())
    assert [c.feeds_sum for c in graph.consumers(blocks(graph)[0])] == [False]
    for shape in (("n", 3, 4, 4), ("n", 3, "h", "w")):
        chain = Chain(shape).conv(3, 1).node("GlobalAveragePool")
        pooled = chain.value
        chain.raw("Relu", "input").conv(4, 1).node("Relu").conv(3, 1).node("Add", pooled)
        graph = registry.open_graph(chain.build())
        group = next(group for group in graph.groups if group.name == "conv2")
        assert [c.feeds_sum for c in graph.consumers(group)] == [False]
        check(chain.build(), feeds={"input": np.ones((2, 3, 4, 4), np.float32)})


def test_earlier_groups_change_what_is_read_but_not_the_targets():
    model = Chain().conv(4).node("Relu").conv(6).node("Relu").conv(3).build()
    feeds = picture(model)
    graph = registry.open_graph(model)
    group = blocks(graph)[0]
    (each,) = graph.consumers(group)
    cut(graph, group, np.array([1, 3]), [each.weight[:, [1, 3]]], [np.ones(6, np.float32)])
    current = onnx.load_from_string(graph.serialize())
    conv = node_of(model, "conv3")
    ((x,), (y,)) = (values(current, ["relu2_out"], feeds), values(model, ["conv3_out"], feeds))
    assert_sums(probe(graph, blocks(graph)[1], feeds), sums(features(model, conv, x), last(y)))


def test_targets_do_not_read_cut_weights_that_are_also_inputs():
    model = Chain(opset=8).conv(4).node("Relu").conv(6).node("Relu").conv(3).build()
    model.ir_version = 3
    for tensor in model.graph.initializer:
        model.graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        )
    feeds = picture(model)
    graph = registry.open_graph(model)
    group = blocks(graph)[0]
    (each,) = graph.consumers(group)
    cut(graph, group, np.array([1, 3]), [each.weight[:, [1, 3]]], [np.ones(6, np.float32)])
    (y,) = values(model, ["conv3_out"], feeds)
    found = probe(graph, blocks(graph)[1], feeds)
    np.testing.assert_allclose(found[3], last(y).mean(0), rtol=1e-4, atol=1e-5)


def test_a_group_that_was_cut_can_be_measured_in_its_neighbour_s_place():
    """The second group is cut first: the first one's consumer then has fewer outputs."""
    model = Chain().conv(4).node("Relu").conv(6).node("Relu").conv(3).build()
    feeds = picture(model)
    graph = registry.open_graph(model)
    (each,) = graph.consumers(blocks(graph)[1])
    cut(graph, blocks(graph)[1], np.array([1, 3]), [each.weight[:, [1, 3]]], [None])
    conv = node_of(model, "conv2")
    x, y = values(model, ["relu1_out", "conv2_out"], feeds)
    assert_sums(
        probe(graph, blocks(graph)[0], feeds), sums(features(model, conv, x), last(y)[:, [1, 3]])
    )


def test_a_matmul_that_got_a_bias_is_measured_behind_it():
    """Cutting gives a MatMul without a bias one; a later sum sees the new value."""
    chain = Chain(("n", 5, 6))
    chain.width = 6
    chain.matmul(4, bias=False)
    for _ in range(2):
        stream = chain.value
        chain.matmul(8).node("Relu").matmul(4, bias=False).node("Add", stream)
    model = chain.matmul(3).build()
    feeds = picture(model)
    graph = registry.open_graph(model)
    group = blocks(graph)[0]
    (each,) = graph.consumers(group)
    kept = np.array([0, 1, 5])
    cut(graph, group, kept, [each.weight[:, kept]], [np.float32([1, 2, 3, 4])])
    current = onnx.load_from_string(graph.serialize())
    adds = [
        n.output[0] for n in model.graph.node if n.op_type == "Add" and n.input[1] == "matmul1_out"
    ]
    assert len(adds) == 1
    stream = adds[0]
    name = graph.consumers(blocks(graph)[1])[0].name
    conv = node_of(model, name)
    (x, now), (y, before) = (
        values(current, [conv.input[0], stream], feeds),
        values(model, [conv.output[0], stream], feeds),
    )
    expected = sums(last(x, 2), last(y, 2) + last(before, 2) - last(now, 2))
    assert_sums(probe(graph, blocks(graph)[1], feeds), expected)


@pytest.mark.parametrize("make", [lambda m: m, ir.from_proto, "file"])
def test_the_caller_s_model_is_never_changed(make, tmp_path):
    proto = residual_net(norm=True)
    before = proto.SerializeToString(deterministic=True)
    if make == "file":
        model = tmp_path / "m.onnx"
        model.write_bytes(before)
    else:
        model = make(proto)
    graph = registry.open_graph(model)
    feeds = picture(proto)
    statistics = run(graph.norm_probe(), feeds)
    graph.set_norms(statistics)
    cut_first(graph)
    for targets in (True, False):
        probe(graph, blocks(graph)[1], feeds, targets=targets)
    graph.serialize()
    if make == "file":
        after = model.read_bytes()
    else:
        proto = model if isinstance(model, onnx.ModelProto) else ir.to_proto(model)
        after = proto.SerializeToString(deterministic=True)
    expected = (
        before
        if make == "file" or isinstance(model, onnx.ModelProto)
        else (
            ir.to_proto(ir.from_proto(residual_net(norm=True))).SerializeToString(
                deterministic=True
            )
        )
    )
    assert after == expected


def test_attributes_are_read():
    """The reference itself: it must see what the node says."""
    model = CONVS["all of them"]().build()
    assert attributes(node_of(model, "conv2"))["pads"] == [2, 0, 1, 1]


def weighed(rows, target):
    """What a probe gives where sigmoids follow: each row counts by its uncertainty."""
    likely = 1 / (1 + np.exp(-target))
    weights = (4 * likely * (1 - likely)).sum(axis=1) + 1e-6
    means = [np.average(each, axis=0, weights=weights) for each in (rows, target)]
    x, y = (
        (each - mean) * np.sqrt(weights)[:, None]
        for each, mean in zip((rows, target), means, strict=True)
    )
    return [weights.sum(keepdims=True), means[0], x.T @ x, means[1], (y * y).sum(0), x.T @ y]


def tokens():
    chain = Chain(("n", 5, 6))
    chain.width = 6
    return chain.matmul(4).node("Relu").matmul(3)


LIKELY = {
    "masks": lambda: consumer().node("Sigmoid"),
    "frames": lambda: tokens().node("Sigmoid"),
    "another layout": lambda: consumer(1).node("Transpose", perm=[0, 2, 3, 1]).node("Sigmoid"),
}


@pytest.mark.parametrize("name", LIKELY)
@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_rows_of_probabilities_count_by_their_uncertainty(name, scale):
    model = LIKELY[name]().build()
    for tensor in model.graph.initializer[2:4]:  # far from zero, sigmoids are certain
        array = scale * onnx.numpy_helper.to_array(tensor)
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    feeds = picture(model)
    graph = registry.open_graph(model)
    (consumer,) = graph.consumers(graph.groups[-1])
    node = node_of(model, consumer.name)
    x, y = values(model, [node.input[0], given(model, node.name)], feeds)
    expected = weighed(features(model, node, x), outputs(node, y))
    assert_sums(probe(graph, graph.groups[-1], feeds), expected)
    assert_sums(probe(graph, graph.groups[-1], feeds, targets=False), expected[:3])


def test_coordinates_beside_probabilities_count_alike():
    """Both go through one Concat and are split again, as in detectors."""
    chain = Chain().conv(4, 1).node("Relu")
    read = chain.value
    boxes = chain.conv(2, 1).value
    chain.width = 4
    scores = chain.raw("Identity", read).conv(3, 1).value
    chain.raw("Concat", boxes, scores, axis=1)
    together = chain.value
    split = helper.make_node("Split", [together, "sizes"], ["b", "s"], "split", axis=1)
    chain.nodes.append(split)
    chain.constant(np.array([2, 3]), "sizes")
    model = chain.raw("Sigmoid", "s").raw("Concat", "b", chain.value, axis=1).build()
    graph = registry.open_graph(model)
    feeds = picture(model)
    found = {}
    for reading in readings(graph, graph.groups):
        sums_of = graph.moment_probe([reading], original=Span(), rows=ALL, samples=3)
        found[graph.consumer(reading).name] = float(run(sums_of, feeds)[0][0])
    assert found["conv2"] == 3 * 64
    assert found["conv3"] != pytest.approx(3 * 64, rel=1e-3)


OTHERS = {
    "a gate of channels": lambda: consumer(1).node("Sigmoid").conv(2, 1),
    "x sigmoid(x)": lambda: with_gate(consumer(1)),
    "Tanh": lambda: consumer(1).node("Tanh"),
    "Softmax": lambda: consumer(1).node("Softmax", axis=1),
    "a norm between": lambda: consumer(1).node("Mul", np.full((3, 1, 1), 2, "f4")).node("Sigmoid"),
    "a sum of two": lambda: summed(consumer(1)),
    "another reader": lambda: read_twice(consumer(1)),
}


def with_gate(chain):
    value = chain.value
    return chain.raw("Sigmoid", value).raw("Mul", value, chain.value)


def summed(chain):
    return chain.node("Add", chain.raw("Neg", chain.value).value).node("Sigmoid")


def read_twice(chain):
    moved = chain.node("Transpose", perm=[0, 2, 3, 1]).value
    other = chain.raw("Tanh", moved).value
    return chain.raw("Sigmoid", moved).raw("Concat", chain.value, other, axis=3)


@pytest.mark.parametrize("name", OTHERS)
def test_rows_of_other_layers_count_alike(name):
    model = OTHERS[name]().build()
    graph, feeds = registry.open_graph(model), picture(model)
    (count, *_) = probe(graph, graph.groups[0], feeds)
    assert float(count[0]) == 3 * 9 * 8


def test_a_single_row_an_input_counts_like_any_other():
    model = flattened().node("Sigmoid").build()
    graph, feeds = registry.open_graph(model), picture(model)
    (count, *_) = probe(graph, graph.groups[0], feeds)
    assert float(count[0]) == 3


def test_a_gate_of_one_position_counts_like_any_other():
    model = consumer(1, shape=("n", 3, 1, 1)).node("Sigmoid").build()
    graph, feeds = registry.open_graph(model), picture(model)
    (count, *_) = probe(graph, graph.groups[0], feeds)
    assert float(count[0]) == 3


@pytest.mark.parametrize(("cell", "gates"), [("GRU", 3), ("LSTM", 4)])
def test_states_of_recurrent_layers_before_sigmoids_are_measured(cell, gates):
    """What such a layer gives is no product, so its rows count alike."""
    chain = Chain((6, "n", 5))
    for inputs, units in ((5, 8), (8, 4)):
        weight = [chain.weight(1, gates * units, width) for width in (inputs, units)]
        chain.node(cell, *weight, hidden_size=units).node("Squeeze", np.array([1]))
    model = chain.node("Sigmoid").build()
    x = np.random.default_rng(0).standard_normal((6, 100, 5)).astype(np.float32)
    result = nmcore.compress(model, ratio=0.5, method="moments", data=[{"input": x}])
    assert [outcome.plan.method for outcome in result.outcomes] == ["moments"]
