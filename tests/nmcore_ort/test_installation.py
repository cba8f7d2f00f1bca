"""An onnxruntime that is missing, there twice, or damaged ends in one line before any work."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest

from nmcore.errors import ArgumentError
from nmcore_ort import installation, runtime
from small import small_network


@pytest.fixture
def wheels(monkeypatch):
    """Pretend that these wheels are installed."""
    installation.onnxruntime.cache_clear()
    yield lambda *names: monkeypatch.setattr(
        installation, "installed_wheels", lambda *_: list(names)
    )
    monkeypatch.undo()
    installation.onnxruntime.cache_clear()


def test_the_one_that_is_installed_is_found():
    installation.onnxruntime.cache_clear()
    assert installation.onnxruntime() is onnxruntime
    assert len(installation.installed_wheels()) == 1
    runtime.check()


def test_two_wheels(wheels):
    wheels("onnxruntime", "onnxruntime-gpu")
    with pytest.raises(ArgumentError, match="pip uninstall -y onnxruntime onnxruntime-gpu, then"):
        runtime.check()


def test_none(wheels, monkeypatch):
    wheels()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ArgumentError, match="no onnxruntime is installed: pip install"):
        runtime.check()


BROKEN = {
    "empty": ("", "its package is empty"),
    "in part": ("from onnxruntime.capi import _pybind_state", "No module named"),
    "without its attributes": ("import sys; sys.nothing", "has no attribute"),
}


@pytest.mark.parametrize("code", BROKEN)
def test_damaged_in_every_command(code, tmp_path):
    source, problem = BROKEN[code]
    (tmp_path / "onnxruntime").mkdir()
    (tmp_path / "onnxruntime" / "__init__.py").write_text(source)
    onnx.save(small_network().build(), tmp_path / "m.onnx")
    np.savez(tmp_path / "d.npz", x=np.zeros((4, 3, 8, 8), np.float32))
    folders = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(folders))
    for words in (
        ("compress", "m.onnx", "s.onnx", "--method", "merge"),
        ("evaluate", "m.onnx", "--data", "d.npz"),
        ("inspect", "m.onnx", "--sensitivity"),
        ("sweep", "m.onnx", "--results", "r.json"),
        ("bench", "latency", "m.onnx"),
    ):
        program = [sys.executable, "-m", "nmcore", *words]
        done = subprocess.run(program, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (2, "")
        (line,) = done.stderr.splitlines()
        assert "does not load (" in line
        assert problem in line
        assert "--force-reinstall" in line
    assert not (tmp_path / "s.onnx").exists()
    assert not (tmp_path / "r.json").exists()
