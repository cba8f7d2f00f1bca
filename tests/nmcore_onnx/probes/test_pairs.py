"""Pairs of fully connected layers: which there are, and the models that measure them."""

from __future__ import annotations

import numpy as np
import pytest

from chain import Chain, run
from cutting import cut
from nmcore.plugins import protocols, registry
from unfolding import values


def vectors(count=7, seed=1):
    x = np.random.default_rng(seed).standard_normal((count, 8)).astype(np.float32)
    return {"input": x}


def pairs(graph):
    """The names of all pairs, first layer and second."""
    found = [(graph.pair(reading), reading) for reading in graph.readings()]
    return [
        (graph.consumer(pair.maker).name, graph.consumer(reading).name)
        for pair, reading in found
        if pair is not None
    ]


def test_every_two_neighbours_that_read_channels():
    chain = Chain(("n", 8)).gemm(6).node("Relu").gemm(5).node("Tanh").gemm(4).node("Relu").gemm(3)
    graph = registry.open_graph(chain.build())
    assert isinstance(graph, protocols.Pairable)
    assert pairs(graph) == [("gemm2", "gemm3"), ("gemm3", "gemm4")]


def sequence():
    chain = Chain(("n", 4, 8))
    chain.width = 8
    return chain.matmul(6).node("Relu").matmul(5).node("Relu").matmul(4)


@pytest.mark.parametrize(
    "model",
    [
        Chain(("n", 8)).gemm(6).node("Relu").gemm(5),
        sequence(),
        Chain().conv(4).node("Relu").conv(4).node("Relu").conv(3),
    ],
    ids=["the first layer reads no channels", "sequences", "convolutions"],
)
def test_others_are_none(model):
    graph = registry.open_graph(model.build())
    assert graph.groups
    assert pairs(graph) == []


def test_channels_with_two_readers_are_none():
    chain = Chain(("n", 8)).gemm(6).node("Relu").gemm(5).node("Relu")
    shared = chain.value
    one = chain.gemm(4).value
    chain.value = shared
    model = chain.gemm(4, features=5).node("Add", one).build()
    assert pairs(registry.open_graph(model)) == []


def test_what_depends_on_the_input_lies_not_between():
    chain = Chain(("n", 8)).gemm(6).node("Relu").gemm(5)
    made = chain.value
    mean = chain.raw("ReduceMean", "input", axes=[1], keepdims=1).value
    assert pairs(registry.open_graph(chain.raw("Mul", made, mean).gemm(4).build())) == []


def test_the_models_of_a_pair():
    """Features are those of the network as it is now, targets those of the original."""
    model = Chain(("n", 8)).gemm(6).node("Relu").gemm(5).node("Tanh").gemm(4).build()
    graph = registry.open_graph(model)
    kept = [np.array([0, 2, 5]), np.array([1, 2])]
    for group, each in zip(graph.groups, kept, strict=True):
        (consumer,) = graph.consumers(group)
        cut(graph, group, each, [2 * consumer.weight[:, each]], [None])
    pair = graph.pair(graph.readings()[-1])
    features, wanted = run(pair.rows, vectors())
    now = values(graph.serialize(), ["relu1_out", "gemm3_out"], vectors())
    np.testing.assert_allclose(features, now[0], rtol=1e-5)
    np.testing.assert_allclose(wanted, values(model, ["gemm3_out"], vectors())[0], rtol=1e-5)
    assert not np.allclose(wanted, now[1], rtol=0.1)
    made = np.random.default_rng(0).standard_normal((7, 2)).astype(np.float32)
    (name,) = (spec.name for spec in registry.runtime().session(pair.between).inputs)
    np.testing.assert_allclose(run(pair.between, {name: made})[0], np.tanh(made), rtol=1e-5)
