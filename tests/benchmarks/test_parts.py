"""Where the time of a whole compression goes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]


def test_a_small_network(tmp_path):
    inputs = np.random.default_rng(0).integers(0, 256, (128, 1, 28, 28), np.uint8)
    np.savez(tmp_path / "data.npz", x=inputs)
    model = ROOT / "examples" / "fashion_mnist" / "lenet5.onnx"
    results = tmp_path / "parts.json"
    words = ["a small network", model, "--macs", "0.5", "--data", tmp_path / "data.npz"]
    words += ["--scale", "255", "--samples", "96", "--json", results]
    program = ROOT / "benchmarks" / "scale" / "parts.py"
    subprocess.run([sys.executable, program, *map(str, words)], check=True, capture_output=True)
    (row,) = json.loads(results.read_text())
    begins = '"a small network" path/to/lenet5.onnx --macs 0.5 --data path/to/data.npz'
    assert row["command"].startswith(begins)
    assert "json" not in row["command"]
    assert 0 < sum(row["work"].values()) <= row["total"] + 0.5
    assert row["steps"]["walk"] > 0
    assert sum(row["steps"].values()) <= row["total"] + 0.5
    page = ROOT / "benchmarks" / "kernels" / "page.py"
    subprocess.run([sys.executable, page, tmp_path, tmp_path / "speed.md"], check=True)
    assert "| a small network |" in (tmp_path / "speed.md").read_text()
