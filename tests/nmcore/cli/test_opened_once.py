"""How often a command opens the model, reads the data and loads networks."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from nmcore.evaluation import latency
from nmcore_onnx.plugin import OnnxBackend
from nmcore_ort.session import OrtRuntime

EXAMPLE = Path(__file__).parents[3] / "examples/fashion_mnist"
DATA = ("--data", EXAMPLE / "calibration_256.npz", "--scale", 255, "--providers", "cpu")


@pytest.fixture
def counts(monkeypatch):
    """What has been opened, read and loaded so far."""
    found = Counter()

    def counted(name, function):
        def call(*args, **options):
            found[name] += 1
            return function(*args, **options)

        return call

    monkeypatch.setattr(OnnxBackend, "open", counted("model", OnnxBackend.open))
    monkeypatch.setattr(OrtRuntime, "session", counted("session", OrtRuntime.session))
    monkeypatch.setattr(np, "load", counted("data", np.load))
    return found


def test_a_ratio_with_data(run, counts, tmp_path):
    run("compress", EXAMPLE / "lenet5.onnx", tmp_path / "small.onnx", "--ratio", 0.5, *DATA)
    assert (counts["model"], counts["data"]) == (1, 1)
    # The original; a probe for each of four layers, and another for inputs that judge three of
    # them; two pairs of layers, and what lies between them; the refitted and the merged network;
    # the file.
    assert counts["session"] == 15


def test_a_latency_with_data(run, counts, tmp_path, monkeypatch):
    # Nothing here depends on how well times agree, and on a busy machine they take minutes to.
    monkeypatch.setattr(latency, "PATIENCE", 0.1)
    run("compress", EXAMPLE / "lenet5.onnx", tmp_path / "small.onnx", "--latency", 0.9, *DATA)
    assert (counts["model"], counts["data"]) == (1, 1)
