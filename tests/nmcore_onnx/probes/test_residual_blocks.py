"""Residual blocks: which there are, and the model of the error of one and its derivatives."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from chain import Chain, run
from cutting import cut
from nmcore.compression.joint.block_refit import in_sequences
from nmcore.plugins import Differentiable, registry
from residual import block, inverted, residual_network
from unfolding import values

PLAIN = residual_network().build()
WIDE = inverted(Chain(seed=4).conv(6, pads=[1] * 4).node("Relu"), 8).conv(3).build()
X = np.random.default_rng(1).standard_normal((4, 3, 8, 8)).astype(np.float32)


def layers(graph):
    """The layers of each block."""
    assert isinstance(graph, Differentiable)
    return [[graph.consumer(reading).name for reading in each.weights] for each in graph.blocks()]


def halved(model):
    """A network every second of whose channels is gone, opened."""
    graph = registry.open_graph(model)
    for group in graph.groups:
        kept = np.arange(0, group.width, 2)
        consumers = graph.consumers(group)
        cut(graph, group, kept, [c.weight[:, kept] for c in consumers], [None] * len(consumers))
    return graph


def test_the_blocks_of_a_residual_network():
    graph = registry.open_graph(PLAIN)
    assert layers(graph) == [["conv2", "conv3"], ["conv4", "conv5", "conv6"], ["conv7", "conv8"]]
    first, second, third = graph.blocks()
    assert (first.start.name, first.stop.name) == ("relu1_out", "relu3_out")
    assert (second.start, third.start) == (first.stop, second.stop)


def test_depthwise_filters_stay_what_they_are():
    assert layers(registry.open_graph(WIDE)) == [["conv2", "conv4", "conv5", "conv6"]]


def pooled_shortcut(pool):
    """Three blocks; the shortcut of the second is an operator without a derivative."""
    chain = block(Chain(seed=2).conv(6, pads=[1] * 4).node("Relu"), 8)
    source = chain.value
    made = chain.conv(10, pads=[1] * 4, strides=[2, 2]).node("Relu").conv(6, pads=[1] * 4).value
    chain.value = source
    chain.node(pool, kernel_shape=[2, 2], strides=[2, 2])
    block(chain.raw("Add", made, chain.value).node("Relu"), 8)
    return chain.node("Flatten").gemm(5, features=6 * 4 * 4).build()


@pytest.mark.parametrize("pool", ["AveragePool", "MaxPool"])
def test_a_block_that_derivatives_do_not_go_through_begins_a_sequence(pool):
    graph = registry.open_graph(pooled_shortcut(pool))
    blocks = graph.blocks()
    assert [each.open for each in blocks] == [True, False, True]
    found = in_sequences(blocks, 3)
    assert [len(each.weights) for each in found] == [2, 4]
    assert (found[1].start, found[1].stop) == (blocks[1].start, blocks[2].stop)
    for each in found:
        session = registry.runtime().session(graph.block_probe(each), providers=("cpu",))
        assert {*each.inputs} <= {spec.name for spec in session.inputs}


def sigmoid_gate():
    chain = Chain().conv(6, pads=[1] * 4).node("Relu")
    source = chain.value
    return chain.conv(6, pads=[1] * 4).node("Sigmoid").raw("Mul", chain.value, source)


def shared_weight():
    chain = Chain().conv(6, pads=[1] * 4).node("Relu")
    source, weight = chain.value, chain.constant(chain.weight(6, 6, 3, 3))
    chain.node("Conv", weight, pads=[1] * 4).node("Relu").node("Conv", weight, pads=[1] * 4)
    return chain.raw("Add", chain.value, source)


@pytest.mark.parametrize(
    "chain",
    [
        residual_network(between="Softmax"),
        Chain().conv(6).node("Relu").conv(6).node("Relu").conv(4),
        sigmoid_gate(),
        shared_weight(),
    ],
    ids=["an operator without a derivative", "no sum", "a gate", "a weight that two layers read"],
)
def test_what_is_no_block(chain):
    graph = registry.open_graph(chain.conv(3).build() if chain.width == 6 else chain.build())
    assert layers(graph) == []


def test_older_operators_are_left_alone():
    chain = Chain(opset=12).conv(6, pads=[1] * 4).node("Relu")
    assert layers(registry.open_graph(block(chain, 8).conv(3).build())) == []


def feeds_of(graph, each, original):
    """What the probe of a block reads, with the weights that it has."""
    names = [each.start.name, each.stop.name]
    (now,) = values(graph.serialize(), names[:1], {"input": X})
    (wanted,) = values(original, names[1:], {"input": X})
    consumers = [graph.consumer(reading) for reading in each.weights]
    arrays = [array for c in consumers for array in (c.matrix(), c.offsets())]
    weights = dict(zip(each.inputs, (a.astype(np.float32) for a in arrays), strict=True))
    return {each.start.current: now, each.stop.original: wanted}, weights


@pytest.mark.parametrize(
    ("original", "together", "number"),
    [(PLAIN, 1, 0), (PLAIN, 1, 1), (PLAIN, 1, 2), (WIDE, 1, 0), (PLAIN, 2, 0), (PLAIN, 3, 0)],
)
def test_the_error_of_a_block_or_a_sequence_and_its_derivatives(original, together, number):
    graph = halved(original)
    each = in_sequences(graph.blocks(), together)[number]
    probe = graph.block_probe(each)
    given, weights = feeds_of(graph, each, original)
    error, *derivatives = run(probe, {**given, **weights})
    kept = slice(0, None, 2)
    (now,) = values(graph.serialize(), [each.stop.name], {"input": X})
    expected = np.square(now - given[each.stop.original][:, kept]).sum()
    np.testing.assert_allclose(error, expected, rtol=1e-4)
    for name, derivative in zip(each.inputs, derivatives, strict=True):
        assert derivative.shape == weights[name].shape
        slope = np.linalg.norm(derivative)  # 0 where a gate never opens
        direction = derivative / slope if slope else np.ones_like(derivative)
        ahead, behind = (
            run(probe, {**given, **weights, name: weights[name] + step * direction})[0]
            for step in np.float32([1e-3, -1e-3])
        )
        np.testing.assert_allclose((ahead - behind) / 2e-3, slope, rtol=2e-2, atol=1e-4 * error)


def test_a_constant_inside_that_only_what_follows_reads():
    model = onnx.ModelProto()
    model.CopyFrom(PLAIN)
    last = model.graph.node[-1]
    weight = next(t for t in model.graph.initializer if t.name == last.input[1])
    model.graph.initializer.remove(weight)
    constant = helper.make_node("Constant", [], [weight.name], "late", value=weight)
    inside = next(k for k, node in enumerate(model.graph.node) if node.name == "conv3")
    model.graph.node.insert(inside, constant)
    onnx.checker.check_model(model)
    graph = halved(model)
    (first, *_) = graph.blocks()
    given, weights = feeds_of(graph, first, model)
    expected = run(halved(PLAIN).block_probe(first), {**given, **weights})
    for got, want in zip(
        run(graph.block_probe(first), {**given, **weights}), expected, strict=True
    ):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_it_takes_any_number_of_inputs():
    graph = halved(PLAIN)
    each = graph.blocks()[1]
    given, weights = feeds_of(graph, each, PLAIN)
    probe = graph.block_probe(each)
    whole = run(probe, {**given, **weights})
    parts = [
        run(probe, {**{name: array[part] for name, array in given.items()}, **weights})
        for part in (slice(0, 1), slice(1, 4))
    ]
    for all_, *some in zip(whole, *parts, strict=True):
        np.testing.assert_allclose(all_, sum(some), rtol=1e-3, atol=1e-4)
