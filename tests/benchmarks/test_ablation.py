"""The default method less one of its parts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "benchmarks" / "scale" / "ablation.py"


def test_rows_of_a_small_network(tmp_path):
    rng = np.random.default_rng(0)
    for name, count in (("data", 128), ("judge", 64)):
        x = rng.integers(0, 256, (count, 1, 28, 28), np.uint8)
        np.savez(tmp_path / f"{name}.npz", x=x, y=np.arange(count) % 10)
    results = tmp_path / "ablation.json"
    words = ["small", ROOT / "examples" / "fashion_mnist" / "lenet5.onnx", "--macs", 0.5]
    words += ["--data", tmp_path / "data.npz", "--judge", tmp_path / "judge.npz"]
    words += ["--scale", 255, "--json", results, "--add"]
    results.write_text("[]")
    for part in ([], ["--without", "held"], ["--without", "held"]):
        command = [sys.executable, PROGRAM, *words, *part]
        subprocess.run(list(map(str, command)), check=True, capture_output=True)
    whole, less = json.loads(results.read_text())
    assert (whole["without"], less["without"]) == ("", "held")
    assert whole["deviation"] != less["deviation"]


def test_each_part_is_where_it_is_left_out():
    """A name that the program no longer has would leave nothing out."""
    code = (
        "import ablation as a\n"
        "from nmcore.compression.moments import Measured\n"
        "places = {'weighing': (a.curves, 'scales'), 'depth': (a.output_error, 'LATE'),\n"
        "    'trades': (a.allocation, 'exchanged'), 'held': (Measured, 'judges'),\n"
        "    'sums': (a.measurable.moments, 'correcting_once'),\n"
        "    'targets': (a.measurable.moments, 'target'),\n"
        "    'sequences': (a.block_refit, 'TOGETHER'), 'blocks': (a.block_refit, 'STEPS'),\n"
        "    'shrinkage': (a.shrinkage, 'REAL'), 'supplement': (a.collect, 'supplemented')}\n"
        "assert set(places) == set(a.PARTS)\n"
        "for name, (where, what) in places.items():\n"
        "    before = getattr(where, what)\n"
        "    a.PARTS[name]()\n"
        "    assert getattr(where, what) is not before, name\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PROGRAM.parent)
