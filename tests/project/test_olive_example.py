"""The example with Olive, against the real package."""

from __future__ import annotations

import subprocess
import sys

import onnx
import pytest

import nmcore
from pages import ROOT

FOLDER = ROOT / "examples" / "olive"


def test_a_workflow_with_the_pass(tmp_path):
    pytest.importorskip("olive", reason="olive-ai is not installed")
    model = ROOT / "examples" / "fashion_mnist" / "lenet5.onnx"
    command = [sys.executable, FOLDER / "compress.py", model, tmp_path / "out", "--macs", "0.6"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "channels removed" in done.stdout
    target = tmp_path / "out" / "model.onnx"
    assert nmcore.inspect(target).macs <= 0.6 * nmcore.inspect(model).macs
    onnx.checker.check_model(onnx.load(target), full_check=True)


def test_the_page_names_what_is_there():
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    for name in ("nmcore_pass.py", "compress.py"):
        assert name in page
        assert (FOLDER / name).exists()
