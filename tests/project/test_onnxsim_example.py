"""The example with onnxsim, against the real package."""

from __future__ import annotations

import subprocess
import sys

import onnx
import pytest

import nmcore
from pages import ROOT

FOLDER = ROOT / "examples" / "onnxsim"


def test_each_step_is_told_apart(tmp_path):
    pytest.importorskip("onnxsim", reason="onnxsim is not installed")
    model, target = ROOT / "examples" / "fashion_mnist" / "lenet5.onnx", tmp_path / "small.onnx"
    command = [sys.executable, FOLDER / "compress.py", model, target, "--macs", "0.6"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    _, *lines = done.stdout.splitlines()
    steps = {line[:16].strip(): line[16:].split() for line in lines}
    assert [*steps] == ["original", "simplified", "compressed", "simplified again"]
    assert float(steps["simplified"][2]) < 0.01 < float(steps["compressed"][2])
    assert abs(float(steps["simplified again"][2]) - float(steps["compressed"][2])) < 0.01
    assert nmcore.inspect(target).macs <= 0.6 * nmcore.inspect(model).macs
    onnx.checker.check_model(onnx.load(target), full_check=True)
    # The page shows what is printed.
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(name in page for name in steps)
