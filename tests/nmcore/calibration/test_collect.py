"""What a network is shown: calibration data where there is any, else synthetic inputs."""

from __future__ import annotations

import numpy as np
import pytest

from chain import Chain
from nmcore.calibration import collect
from nmcore.calibration.collect import Inputs, calibration_set_for
from nmcore.data.dataset import Dataset
from nmcore.plugins import registry


def shown(graph, inputs):
    session = registry.runtime().session(graph.serialize(), providers=("cpu",))
    return calibration_set_for(graph, session, inputs, seed=0)


class TestForAGraph:
    @pytest.fixture
    def graph(self):
        return registry.open_graph(Chain(("n", 3, "h", "w")).conv(4).node("Relu").conv(3).build())

    def test_dynamic_axes_get_a_size(self, graph):
        found = shown(graph, Inputs(samples=2))
        (batch,) = found.batches
        assert batch["input"].shape == (2, 3, 224, 224)
        assert np.array_equal(batch["input"], shown(graph, Inputs(samples=2)).batches[0]["input"])

    def test_data_first(self, graph):
        data = Dataset("d", np.random.default_rng(0).random((5, 3, 6, 7), np.float32))
        found = shown(graph, Inputs(data, 3))
        assert found.real
        assert found.batches[0]["input"].shape == (3, 3, 6, 7)

    def test_as_many_as_usual(self):
        graph = registry.open_graph(Chain(("n", 6)).gemm(5).node("Relu").gemm(4).build())
        assert shown(graph, Inputs()).count == collect.SYNTHETIC_SAMPLES
        data = Dataset("d", np.random.default_rng(0).random((1000, 6), np.float32))
        assert shown(graph, Inputs(data)).count == collect.REAL_SAMPLES
