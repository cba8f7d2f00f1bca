"""An opened model and its clones."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from chain import Chain
from cutting import cut
from nmcore.arrays.scaling import scaling_matrix
from nmcore.group import Refit
from nmcore.plugins import Span, registry
from nmcore_onnx.rewrite import rewrite
from nmcore_onnx.storage.disk_cache import DiskCache


@pytest.fixture(params=[rewrite.LARGE, 0], ids=["small", "large"])
def model(request, monkeypatch):
    """Weights of every kind; large ones are folded only while they are written."""
    monkeypatch.setattr(rewrite, "LARGE", request.param)
    chain = Chain().conv(8, 1).node("Relu").conv(6).batch_norm().node("Relu")
    return chain.node("GlobalAveragePool").node("Flatten").matmul(5, bias=False).gemm(4).build()


def plain(value):
    return (value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value


def state(graph):
    """What a graph tells of itself that a change may show in."""
    read = [each for group in graph.groups for each in graph.consumers(group)]
    return (
        graph.serialize(),
        graph.cost(),
        [[plain(getattr(each, field.name)) for field in fields(each)] for each in read],
        graph.moment_probe(graph.readings(), original=Span(), rows=100, samples=4),
    )


def write(graph, place=0):
    group = graph.groups[place]
    kept, read = np.arange(group.width // 2), graph.consumers(group)
    biases = [np.ones(len(each.weight), each.weight.dtype) for each in read]
    cut(graph, group, kept, [2 * each.weight[:, kept] for each in read], biases)


def absorb(graph):
    group = graph.groups[0]
    rows = graph.producers(group)[0].weight.reshape(group.width, -1)
    scaling = scaling_matrix(rows, [0, 2, 5], threshold=-1)
    for index in range(len(graph.consumers(group))):
        graph.update(group, index, scaling)
    graph.remove(group, scaling.kept)


def fold(graph):
    reading = graph.readings()[0]
    weight = graph.consumer(reading).weight
    (group,) = (each for each in graph.groups if each.name == reading.group)
    graph.update(group, reading.index, Refit(np.array([1, 3]), 3 * weight[:, [1, 3]]))


def set_norms(graph):
    graph.set_norms([np.full(6, 0.5, np.float32), np.full(6, 4, np.float32)])


CHANGES = [write, absorb, fold, set_norms]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("of", ["the clone", "the original"])
def test_what_happens_to_one_does_not_change_the_other(model, change, of):
    graph = registry.open_graph(model)
    before = state(graph)
    clone = graph.clone()
    changed, other = (clone, graph) if of == "the clone" else (graph, clone)
    change(changed)
    assert state(other) == before
    assert state(changed) != before


@pytest.mark.parametrize("change", CHANGES)
def test_a_clone_becomes_what_an_opened_model_becomes(model, change):
    opened, clone = registry.open_graph(model), registry.open_graph(model).clone()
    change(opened)
    change(clone)
    assert state(clone) == state(opened)


def test_a_clone_begins_where_its_original_is(model):
    graph = registry.open_graph(model)
    write(graph)
    clone = graph.clone()
    half = state(graph)
    assert state(clone) == half
    write(clone, 1)
    assert state(graph) == half
    write(graph, 1)
    assert state(graph) == state(clone)


def test_changes_of_clones_do_not_fill_the_memory_of_one_cache(model, monkeypatch):
    """Clones come and go while sizes are tried; what is gone must not push others to the disk."""
    caches, put = [], DiskCache.put
    monkeypatch.setattr(DiskCache, "put", lambda self, a: caches.append(self) or put(self, a))
    graph = registry.open_graph(model)
    for _ in range(2):
        write(graph.clone())
    assert len({id(cache) for cache in caches}) == 2
