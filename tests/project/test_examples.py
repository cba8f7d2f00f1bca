"""The files of the example are what its README says."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest

from nmcore.data.loading import load
from nmcore.evaluation.evaluate import evaluate
from nmcore.plugins.registry import open_graph

FOLDER = Path(__file__).parents[2] / "examples/fashion_mnist"
INPUTS = {"scale": 255, "mean": (0.2860,), "std": (0.3530,)}
COMMON = {"Conv": 2, "Gemm": 3, "Relu": 4, "MaxPool": 2}
NODES = {
    "lenet5.onnx": COMMON | {"Reshape": 1},
    "lenet5_bn.onnx": COMMON | {"Flatten": 1, "BatchNormalization": 2},
}
each_model = pytest.mark.parametrize("name", NODES)


@each_model
def test_node_kinds(name):
    model = onnx.load(FOLDER / name)
    onnx.checker.check_model(model, full_check=True)
    assert Counter(node.op_type for node in model.graph.node) == NODES[name]


@each_model
def test_names_and_opset(name):
    model = onnx.load(FOLDER / name)
    assert [value.name for value in model.graph.input] == ["input"]
    assert [value.name for value in model.graph.output] == ["logits"]
    assert {entry.domain: entry.version for entry in model.opset_import}[""] == 18


@each_model
def test_size(name):
    assert (FOLDER / name).stat().st_size < 400_000
    cost = open_graph(FOLDER / name).cost()
    # The kept batch norms have four numbers a channel, of which biases take one when folded.
    assert cost.params == {"lenet5.onnx": 85_822, "lenet5_bn.onnx": 85_966}[name]
    assert cost.macs == 1_121_960


@each_model
def test_groups(name):
    graph = open_graph(FOLDER / name)
    assert [group.width for group in graph.groups] == [16, 32, 120, 84]
    assert len(graph.declined) == 1


def test_accuracy():
    data = load(FOLDER / "test_1000.npz", **INPUTS)
    models = [FOLDER / name for name in NODES]
    folded, kept = evaluate(models, data, providers=("cpu",), threads=1, runs=1)
    assert folded.top1 == pytest.approx(92.50, abs=0.11)
    assert kept.top1 == pytest.approx(92.50, abs=0.11)
    assert kept.agreement >= 99.9


def test_test_images():
    with np.load(FOLDER / "test_1000.npz") as file:
        x, y = file["x"], file["y"]
    assert (x.shape, x.dtype) == ((1000, 1, 28, 28), np.uint8)
    assert (y.shape, y.dtype) == ((1000,), np.int64)
    assert np.bincount(y).tolist() == [100] * 10


def test_calibration_images_have_no_classes():
    with np.load(FOLDER / "calibration_256.npz") as file:
        assert file.files == ["x"]
        assert (file["x"].shape, file["x"].dtype) == ((256, 1, 28, 28), np.uint8)


def test_the_readme_tells_these_figures():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    for figure in ("92.50 %", "85,822 parameters", "opset 18", "--mean 0.2860 --std 0.3530"):
        assert figure in text
