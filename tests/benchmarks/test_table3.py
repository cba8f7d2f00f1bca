"""Table 3: exact arithmetic on the full shapes, and judging by pictures on narrow ones."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from PIL import Image

PICTURES = 6


@pytest.fixture
def pictures(tmp_path):
    """A folder of pictures of several sizes, one deeper than the others."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "pictures"
    (folder / "deeper").mkdir(parents=True)
    for k in range(PICTURES):
        size = (224, 224) if k else (300, 260)
        pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / ("deeper" if k == 1 else "") / f"{k}.png")
    return folder


@pytest.fixture
def narrow(tmp_path):
    from shapes import resnet34

    path = tmp_path / "resnet34.onnx"
    onnx.save(resnet34(narrow=16), path)
    return path


VGG16 = (["VGG-16", "0 %", "138,357,544", "138M"], ["VGG-16", "50 %", "85,797,416", "85M"])
RESNET34 = (["ResNet-34", "0 %", "21,789,160", "21M"], ["ResNet-34", "10 %", "19,674,285", "19M"])


# VGG-16 has weights of half a gigabyte.
@pytest.mark.parametrize("rows", [pytest.param(VGG16, marks=pytest.mark.slow), RESNET34])
def test_parameters_are_the_papers(command, tmp_path, rows):
    network = rows[0][0].replace("-", "").lower()
    kept = tmp_path / "t.json"
    printed, _ = command("table3", "--network", network, "--json", kept, "--quick")
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in printed.splitlines()]
    assert [row[:5] for row in found[2:]] == [[*row, row[-1]] for row in rows]


@pytest.mark.parametrize("name", ["vgg16", "resnet34"])
def test_shapes_are_valid(name):
    from shapes import BUILDERS

    model = BUILDERS[name](narrow=16)
    onnx.checker.check_model(model, full_check=True)
    convolutions = sum(node.op_type == "Conv" for node in model.graph.node)
    assert convolutions == {"vgg16": 13, "resnet34": 1 + 2 * 16 + 3}[name]


def test_labels_as_json_or_as_lines(tmp_path):
    from imagenet import read_labels

    labels = {f"{k}.png": k for k in range(PICTURES)}
    file = tmp_path / "labels"
    lines = "\n".join(f"some/where/{name} {label}" for name, label in labels.items())
    for text in (json.dumps(labels), lines):
        file.write_text(text)
        assert read_labels(file) == labels


@pytest.mark.slow
def test_accuracy_by_pictures(command, tmp_path, pictures, narrow):
    file = tmp_path / "labels.json"
    file.write_text(json.dumps({f"{k}.png": k for k in range(PICTURES)}))
    words = ("--network", "resnet34", "--model", narrow, "--images", pictures, "--labels", file)
    kept = tmp_path / "table3.json"
    command("table3", *words, "--json", kept, "--quick")
    records = json.loads(kept.with_name("table3_quick.json").read_text())
    assert [each["cell"]["method"] for each in records] == ["as it is", "prune", "merge", "moments"]
    whole = records[0]["result"]
    assert whole["agreement"] == 100
    assert whole["n"] == PICTURES
    assert all(0 <= each["result"]["top1"] <= each["result"]["top5"] for each in records)


def test_fidelity_without_labels(pictures, narrow):
    from imagenet import PictureJudge, Pictures

    judge = PictureJudge(narrow, Pictures(pictures))
    found = judge.evaluate(narrow)
    assert found["agreement"] == 100
    assert "top1" not in found


def test_pictures_are_read_as_torchvision_does(pictures):
    from imagenet import MEAN, STD, read

    for k in (0, 2):
        x = read(pictures / f"{k}.png")
        assert (x.shape, x.dtype) == ((3, 224, 224), np.float32)
    pixels = np.asarray(Image.open(pictures / "2.png"), np.float32) / 255
    expected = (pixels - np.array(MEAN)) / np.array(STD)
    assert np.allclose(x, expected.transpose(2, 0, 1), atol=1e-5)


def test_a_model_needs_pictures(command, narrow):
    with pytest.raises(AssertionError, match="--model needs --network and --images"):
        command("table3", "--model", narrow)
