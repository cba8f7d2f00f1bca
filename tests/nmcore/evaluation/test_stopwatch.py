"""A model at other widths."""

from __future__ import annotations

import numpy as np
import onnx

from chain import Chain, run
from nmcore.evaluation.stopwatch import cut
from nmcore.plugins import registry


def test_cutting_keeps_the_first_channels():
    chain = Chain(("n", 3, 24, 24)).conv(64).node("Relu").conv(64).node("Relu").conv(64)
    model = chain.node("GlobalAveragePool").node("Flatten").gemm(10).build()
    graph = registry.open_graph(model)
    whole = graph.serialize()
    counts = {group.name: 5 for group in graph.groups}
    small = cut(graph, counts)
    assert graph.serialize() == whole
    (y,) = run(small, {"input": np.zeros((2, 3, 24, 24), np.float32)})
    assert y.shape == (2, 10)
    (first, *_) = onnx.load_from_string(small).graph.initializer
    (before, *_) = model.graph.initializer
    np.testing.assert_array_equal(
        onnx.numpy_helper.to_array(first), onnx.numpy_helper.to_array(before)[:5]
    )
