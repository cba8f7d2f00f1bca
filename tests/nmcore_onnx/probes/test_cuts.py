"""Probes that begin at a cut give what probes from the inputs give, whatever has been removed."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto

import nmcore
from chain import Chain, run
from nmcore.group import Refit
from nmcore.plugins import Span, registry
from random_graphs import generate

ALL = 10**9
X = np.random.default_rng(1).standard_normal((64, 3, 8, 8)).astype(np.float32)


def walk(graph, feeds, seed):
    """Cut and refit a graph as the walk does; yields both forms of each step's sums."""
    rng = np.random.default_rng(seed)
    groups = {group.name: group for group in graph.groups}
    left = list(graph.readings())
    held, done = ({}, {}), set()
    while left:
        reading, form = left[0], {"rows": ALL, "samples": 2}
        whole = run(graph.moment_probe([reading], **form, original=Span()), feeds)
        cuts = graph.cut(left), graph.cut(left[1:] or left)
        spans = [
            Span(
                [carried for carried, _ in known.values()], [c for c in cut if c.name not in known]
            )
            for known, cut in zip(held, cuts, strict=True)
        ]
        given = {carried.current: value for carried, value in held[0].values()}
        given |= {carried.original: value for carried, value in held[1].values()}
        model = graph.moment_probe([reading], **form, current=spans[0], original=spans[1])
        found = run(model, {**feeds, **given})
        yield reading, found[:6], whole, spans[0].start
        values = iter(found[6:])
        for known, span, cut in zip(held, spans, cuts, strict=True):
            known |= {carried.name: (carried, next(values)) for carried in span.stop}
            for name in set(known) - {each.name for each in cut}:
                del known[name]
        group, width = groups[reading.group], graph.consumer(reading).weight.shape[1]
        kept = np.sort(rng.permutation(width)[: -(-2 * width // 3)])
        if group.name in done:
            kept = np.arange(width)
        weight = graph.consumer(reading).weight[:, kept]
        graph.update(group, reading.index, Refit(kept, weight * rng.uniform(0.5, 1.5)))
        if group.name not in done:
            for index, consumer in enumerate(graph.consumers(group)):
                if index != reading.index:
                    graph.update(group, index, Refit(kept, consumer.weight[:, kept]))
            graph.remove(group, kept)
            done.add(group.name)
        left = left[1:]


@pytest.mark.parametrize("seed", range(12))
def test_every_step_of_a_walk(seed):
    sample = generate(seed)
    graph, feeds = registry.open_graph(sample.model), sample.feeds(0)
    begun = 0
    if graph.cut(graph.readings()) is None:
        pytest.skip("this graph is not cut")
    for reading, found, whole, start in walk(graph, feeds, seed):
        begun += bool(start)
        for got, want in zip(found, whole, strict=True):
            scale = np.abs(want).max() or 1.0
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * scale, err_msg=str(reading))
    assert begun >= len(graph.readings()) - 1


def test_most_random_graphs_are_cut():
    graphs = [registry.open_graph(generate(seed).model) for seed in range(12)]
    assert sum(graph.cut(graph.readings()) is not None for graph in graphs) >= 8


@pytest.mark.parametrize("mask", ["bool", "double"])
def test_values_of_other_types_are_computed_anew(mask):
    """A mask that is live over a consumer; files do not say of what type it is."""
    chain = Chain().conv(6, pads=[1] * 4).node("Relu")
    data = chain.value
    if mask == "bool":
        chain.node("Greater", np.float32(0.1))
    else:
        chain.node("Cast", to=TensorProto.DOUBLE)
    kept, chain.value = chain.value, data
    chain.conv(6, pads=[1] * 4)
    if mask == "bool":
        chain.raw("Where", kept, chain.value, data)
    else:
        back = chain.raw("Cast", kept, to=TensorProto.FLOAT).value
        chain.raw("Add", back, data)
    model = chain.node("Relu").conv(4).build()
    graph = registry.open_graph(model)
    feeds = {"input": np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)}
    for _, found, whole, _ in walk(graph, feeds, 0):
        for got, want in zip(found, whole, strict=True):
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * (np.abs(want).max() or 1))
    nmcore.compress(model, ratio=0.5, method="moments", data=X)


def test_a_probe_runs_only_what_lies_behind_its_cut():
    chain = Chain().conv(4)
    for _ in range(3):
        chain.node("Relu").conv(4)
    graph = registry.open_graph(chain.build())
    readings = graph.readings()
    (carried,) = graph.cut(readings[1:])
    form = {"rows": ALL, "samples": 1}
    part = graph.moment_probe(
        readings[1:2], **form, current=Span([carried]), original=Span([carried])
    )
    whole = graph.moment_probe(readings[1:2], **form, original=Span())
    assert part.count(b"Relu") < whole.count(b"Relu")


def test_half_precision_is_not_cut():
    chain = Chain(dtype=np.float16).conv(4).node("Relu").conv(4)
    graph = registry.open_graph(chain.build())
    assert graph.cut(graph.readings()) is None


def test_parts_of_a_deep_network_are_as_small_as_those_of_another():
    """So a walk over four times as many layers takes four times as long."""
    largest = []
    for depth in (6, 24):
        chain = Chain().conv(4)
        for _ in range(depth):
            chain.node("Relu").conv(4)
        graph = registry.open_graph(chain.build())
        left, sizes = list(graph.readings()), []
        while left[2:]:
            cuts = graph.cut(left), graph.cut(left[1:]), graph.cut(left[2:])
            parts = Span(cuts[0], cuts[1]), Span(cuts[1], cuts[2])
            model = graph.moment_probe(
                left[1:2], rows=ALL, samples=1, current=parts[0], original=parts[1]
            )
            sizes.append(len(onnx.load_from_string(model).graph.node))
            left = left[1:]
        largest.append(max(sizes))
    assert largest[0] == largest[1]


def dense(rng, *shape):
    return (rng.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)


def two_readers(rng):
    """The first product is read by an Add with a constant and by a difference far behind it."""
    chain = Chain(("n", 8)).matmul(16).node("Relu").matmul(12, bias=False)
    product = chain.value
    chain.node("Add", dense(rng, 12)).node("Relu").matmul(20).node("Relu").matmul(12, bias=False)
    chain.raw("Sub", chain.value, product).node("Tanh").matmul(12).node("Relu")
    return chain.matmul(5).build()


def apart(rng):
    """Two branches whose products come before their biases are added."""
    chain = Chain(("n", 8)).matmul(16).node("Relu")
    branches = []
    for source in (chain.value, chain.value):
        chain.raw("MatMul", source, chain.constant(dense(rng, 16, 12)))
        branches.append(chain.value)
    for number, product in enumerate(branches):
        chain.raw("Add", product, chain.constant(dense(rng, 12)))
        branches[number] = chain.value
    for number, value in enumerate(branches):
        chain.raw("Relu", value)
        branches[number] = chain.value
    chain.raw("Concat", *branches, axis=-1)
    chain.width = 24
    return chain.matmul(10).node("Relu").matmul(5).build()


@pytest.mark.parametrize("network", [two_readers, apart])
def test_biases_of_products(network):
    """Whether a sum is the bias of a product does not depend on which nodes a part has."""
    rng = np.random.default_rng(2)
    graph = registry.open_graph(network(rng))
    feeds = {"input": rng.standard_normal((200, 8)).astype(np.float32)}
    refit, update = np.random.default_rng(3), graph.update

    def with_bias(group, index, change):
        bias = refit.standard_normal(len(change.weight)).astype(np.float32)
        update(group, index, Refit(change.kept, change.weight, bias))

    graph.update = with_bias
    steps = list(walk(graph, feeds, 0))
    assert len(steps) == len(graph.readings())
    for reading, found, whole, _ in steps:
        for got, want in zip(found, whole, strict=True):
            scale = np.abs(want).max() or 1.0
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * scale, err_msg=str(reading))
