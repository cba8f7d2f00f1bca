"""What users are told of outputs that are no class scores, above all where they are lost."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

from chain import Chain

SIZE = 16
QUARTERS = np.array([[0, 0, 8, 8], [8, 0, 16, 8], [0, 8, 8, 16], [8, 8, 16, 16]], np.float32)


@pytest.fixture
def detector(tmp_path):
    """Corners, score and class of the four quarters of a picture, certain by its channels' sum."""
    chain = Chain(("n", 3, SIZE, SIZE))
    for width in (16, 16):
        weight = np.abs(chain.weight(width, chain.width, 1, 1)) + np.float32(0.1)
        chain.node("Conv", weight).node("Relu")
        chain.width = width
    # On pictures of 0.5 everywhere the scores are those of 1, and of half as much those of -9.
    weights = [onnx.numpy_helper.to_array(each)[..., 0, 0] for each in chain.initializers]
    total = (weights[1] @ weights[0] @ np.full(3, 0.5)).sum()
    chain.node("GlobalAveragePool").node("Flatten")
    chain.node("Gemm", np.full((16, 4), 20 / total, np.float32), np.full(4, -19, np.float32))
    scores = chain.node("Sigmoid").node("Unsqueeze", np.array([2])).value
    places = chain.node("Mul", np.zeros((1, 1, 4), np.float32)).node("Add", QUARTERS).value
    classes = chain.raw("Mul", scores, chain.constant(np.zeros((1, 1, 1), np.float32))).value
    chain.raw("Concat", places, scores, classes, axis=2)
    onnx.save(chain.build(check=False), tmp_path / "detector.onnx")
    return tmp_path / "detector.onnx"


@pytest.fixture
def pictures(tmp_path):
    x = np.random.default_rng(0).uniform(0.48, 0.52, (12, 3, SIZE, SIZE))
    np.savez(tmp_path / "pictures.npz", x=x.astype(np.float32))
    return tmp_path / "pictures.npz"


@pytest.fixture
def lost(tmp_path):
    return "--method", "prune", "--ratio", 0.5


def test_boxes_that_are_gone(run, detector, pictures, lost, tmp_path):
    args = [detector, tmp_path / "out.onnx", *lost, "--data", pictures]
    page = tmp_path / "page.html"
    result = run("compress", *args, "--report", page)
    gone = "of 48 boxes of the original 0 are left"
    assert f"boxes kept 0.00 %, new boxes 0.00 %, deviation {lost_percent(result)} %, {gone}" in (
        result.stdout
    )
    assert "the outputs are taken for boxes of a detector" in result.stdout
    assert f"warning: accuracy is probably gone: {gone} on 12 inputs of" in result.stderr
    assert gone in page.read_text()
    found = json.loads(run("compress", *args, "--json", "-q").stdout)
    assert found["level"] == "error"
    assert found["fidelity"]["lost"] == [gone]
    assert found["fidelity"]["metrics"]["boxes"] == 0
    # Whatever was asked for.
    found = json.loads(run("compress", *args, "--json", "-q", "--metric", "deviation").stdout)
    assert [*found["fidelity"]["metrics"]] == ["deviation"]
    assert gone in found["warnings"][0]
    args = ["evaluate", detector, tmp_path / "out.onnx", "--data", pictures, "--runs", 1, "-q"]
    assert f"warning: {tmp_path / 'out.onnx'} is probably of no use: {gone}" in run(*args).stdout


def lost_percent(result):
    """The deviation that is printed, which is no figure to know beforehand."""
    return result.stdout.split("deviation ")[1].split(" ")[0]


def test_boxes_that_are_left(run, detector, pictures, tmp_path):
    args = [detector, tmp_path / "out.onnx", "--ratio", 0.5, "--data", pictures, "--json"]
    found = json.loads(run("compress", *args, "-q").stdout)
    assert found["level"] == "warning"
    (few,) = found["warnings"]
    assert "accuracy" not in few
    assert found["fidelity"]["metrics"]["boxes"] == 100


def test_a_limit_to_what_may_be_lost(run, fails, detector, pictures, tmp_path):
    args = [detector, tmp_path / "out.onnx", "--data", pictures, "--providers", "cpu"]
    notes = json.loads(run("compress", *args, "--max-drop", 5, "--json").stdout)["notes"]
    assert notes[0].startswith("the original's boxes found 0.00 points lower (standard error ")
    assert fails("compress", *args, "--max-drop", 5, "--metric", "psnr").startswith(
        "metric psnr is no measure of what is lost; top1, top5, agreement, deviation, cosine, "
    )


def test_metrics_that_the_outputs_do_not_have_write_nothing(fails, detector, pictures, tmp_path):
    args = [detector, tmp_path / "out.onnx", "--ratio", 0.5, "--data", pictures]
    message = fails("compress", *args, "--providers", "cpu", "-q", "--metric", "iou")
    assert message.startswith("metric iou needs a floating-point output of rank 4, of masks")
    message = fails("inspect", detector, "--sensitivity", "--metric", "boxes")
    assert message == "metric measures the loss on data, which is missing"


def test_what_each_group_costs_in_boxes(run, detector, pictures):
    args = [detector, "--sensitivity", "--data", pictures, "--metric", "boxes", "--json"]
    found = json.loads(run("inspect", *args).stdout)["sensitivity"]
    assert found["measure"] == "boxes"
    assert "--metric belongs to --sensitivity" in (
        run("inspect", detector, "--metric", "boxes", code=2).stderr
    )


def test_a_table_of_boxes(run, fails, detector, pictures, tmp_path):
    args = ["sweep", detector, "--method", "prune", "--ratio", "0.5", "--metric", "boxes"]
    results = tmp_path / "results.json"
    result = run(*args, "--evaluate-data", pictures, "--results", results)
    head, *_ = result.stdout.splitlines()
    assert "boxes %  new boxes %" in head
    (cell,) = json.loads(results.read_text())
    assert cell["metrics"] == {"boxes": 0.0, "new_boxes": 0.0}
    assert cell["lost"] == ["of 48 boxes of the original 0 are left"]
    assert fails(*args, "--results", tmp_path / "none.json").startswith(
        "metric tells of results on evaluate-data, which is missing"
    )
