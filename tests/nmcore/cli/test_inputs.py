"""The sizes, the preprocessing and the folders that commands take."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from PIL import Image

from chain import Chain

# As little as can be measured.
FEW = ("--samples", 8, "--providers", "cpu", "-q")


@pytest.fixture
def model(tmp_path):
    """Three classes, of pictures of any size."""
    chain = Chain(("n", 3, "h", "w")).conv(8, 3, pads=[1] * 4).node("Relu").conv(3, 1)
    chain.node("GlobalAveragePool").node("Flatten")
    onnx.save(chain.build(), tmp_path / "open.onnx")
    return tmp_path / "open.onnx"


@pytest.fixture
def pictures(tmp_path):
    rng = np.random.default_rng(0)
    for k in range(12):
        path = tmp_path / "pictures" / "abc"[k % 3] / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (10, 14, 3), np.uint8)).save(path)
    return tmp_path / "pictures"


SIZE = ("--input-shape", "1x3x8x8")


def test_every_command_takes_a_size(run, model, tmp_path):
    def counted(*args):
        return json.loads(run(*args, *SIZE, "--json").stdout)

    macs = counted("inspect", model)["macs"]
    assert macs == (3 * 8 * 9 + 8 * 3) * 64
    report = counted("compress", model, tmp_path / "o.onnx", "--method", "merge", "-q")
    assert report["before"]["macs"] == macs
    (found,) = counted("evaluate", model, "--runs", 1, "-q")
    assert found["macs"] == macs
    results = "--results", tmp_path / "r.json"
    (record,) = counted("sweep", model, *results, "--method", "merge", "-q")
    assert record["macs_before"] == macs


def test_a_guess_is_told_by_evaluate(run, model):
    said = run("evaluate", model, "--runs", 1, "--samples", 2).stderr
    told = "synthetic inputs and MACs are of input=1x3x224x224, a guess: the model leaves sizes op"
    assert told in said
    assert "guess" not in run("evaluate", model, "--runs", 1, "--samples", 2, *SIZE).stderr


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ("3x8", "input-shape of input is 3x8; the model takes (n, 3, ?, ?)"),
        ("1x1x8x8", "input-shape of input is 1x1x8x8; the model takes (n, 3, ?, ?)"),
        ("image=1x3x8x8", "input-shape names the input image, but the model's are: input"),
        ("1x3x8xw", "'1x3x8xw' is not of the form NAME=SIZES, as in images=1x3x640x640"),
        ("1x3x0x8", "'1x3x0x8' is not of the form NAME=SIZES"),
    ],
)
@pytest.mark.parametrize("command", ["inspect", "evaluate", "compress"])
def test_sizes_that_contradict_the_model(fails, model, tmp_path, command, shape, message):
    target = [tmp_path / "o.onnx"] if command == "compress" else []
    said = fails(command, model, *target, "--input-shape", shape)
    assert message in said


def test_every_command_takes_a_folder(run, model, pictures, tmp_path):
    data = "--data", pictures, "--preprocess", "yolo", *SIZE
    run("compress", model, tmp_path / "o.onnx", "--ratio", 0.5, *data, *FEW)
    text = run("inspect", model, "--sensitivity", *data, *FEW).stdout
    assert "points of top-1 accuracy lost, measured on 8 inputs of" in text
    args = ["--results", tmp_path / "r.json", "--evaluate-data", pictures, *data, *FEW, "--json"]
    (record,) = json.loads(run("sweep", model, *args).stdout)
    assert (record["n"], record["top1"] is None) == (12, False)


def test_labels_of_a_table(run, model, pictures, tmp_path):
    table = tmp_path / "mine.csv"

    def judged(label):
        table.write_text("".join(f"{'abc'[k % 3]}/{k}.png,{label}\n" for k in range(12)))
        args = [model, "--data", pictures, "--runs", 1, *SIZE, "--json", "-q", "--labels", table]
        (found,) = json.loads(run("evaluate", *args).stdout)
        return found["top1"]

    # Each picture is of one of the three.
    assert sum(map(judged, range(3))) == pytest.approx(100)
    table.write_text("a/0.png,1\n")
    args = [model, "--data", pictures, *SIZE, "--labels", table]
    assert "has no label for 11 of 12 pictures" in run("evaluate", *args, code=2).stderr
    args = ["--results", tmp_path / "r.json", "--evaluate-data", pictures, *SIZE, "--labels", table]
    (record,) = json.loads(run("sweep", model, *args, "--method", "merge", "--json", code=2).stdout)
    assert "has no label for 11 of 12 pictures" in record["error"]


def test_the_table_is_a_part_of_what_is_judged_on(run, model, pictures, tmp_path):
    args = ["sweep", model, "--results", tmp_path / "r.json", "--method", "merge", *SIZE, "--json"]
    args += ["--evaluate-data", pictures]
    (first,) = json.loads(run(*args).stdout)
    lines = "".join(f"{'abc'[k % 3]}/{k}.png,2\n" for k in range(12))
    (pictures / "labels.csv").write_text(lines)
    (second,) = json.loads(run(*args).stdout)
    assert first["key"]["evaluate_sha256"] != second["key"]["evaluate_sha256"]
