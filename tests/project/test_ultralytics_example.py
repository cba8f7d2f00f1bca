"""The example with ultralytics, against the real package."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import nmcore
from pages import ROOT

FOLDER = ROOT / "examples" / "ultralytics"
# An architecture without trained weights: nothing has to be fetched.
MODEL = "yolo11n.yaml"


@pytest.fixture
def pictures(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(8):
        pixels = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((96, 64)).save(folder / f"{number}.png")
    return folder


def test_an_export_is_compressed_and_predicts(tmp_path, pictures):
    ultralytics = pytest.importorskip("ultralytics", reason="ultralytics is not installed")
    command = [sys.executable, FOLDER / "nmcore_hook.py", MODEL, "--data", pictures]
    subprocess.run([*command, "--macs", "0.8", "--imgsz", "96"], cwd=tmp_path, check=True)
    exported, small = tmp_path / "yolo11n.onnx", tmp_path / "yolo11n_small.onnx"
    assert nmcore.inspect(small).macs <= 0.8 * nmcore.inspect(exported).macs
    both = [ultralytics.YOLO(path, task="detect") for path in (exported, small)]
    for model in both:
        (found,) = model.predict(pictures / "0.png", imgsz=96)
        assert found.orig_shape == (64, 96)
    assert both[0].names == both[1].names
    assert len(both[1].names) == 80
