"""The accuracy benchmarks, and the data that some of them need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ACCURACY = ROOT / "benchmarks" / "accuracy"
SHARED = ROOT.parent / "shared"

# The benchmarks are programs beside each other, not a package.
sys.path.append(str(ACCURACY))


def run(name, *words, timeout=900):
    """Run a benchmark as a user would; return what it prints, and what it tells on the way."""
    command = [sys.executable, str(ACCURACY / f"{name}.py"), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.fixture(scope="session")
def shared():
    if not (SHARED / "data").is_dir():
        pytest.skip(f"models and data are not at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def built(shared, tmp_path_factory):
    """The networks of tables 1 and 2, batch norms kept."""
    folder = tmp_path_factory.mktemp("networks")
    script = shared / "models" / "build.py"
    subprocess.run([sys.executable, script, folder], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def cifar10(shared):
    data = shared / "data"
    files = data / "cifar10_test.npz", data / "cifar10_calib.npz"
    return "--data", files[0], "--calibration", files[1]


@pytest.fixture(scope="session")
def fashion_mnist(shared):
    data = shared / "data"
    files = data / "fashion_mnist_test.npz", data / "fashion_mnist_calib.npz"
    return "--data", files[0], "--calibration", files[1]


@pytest.fixture
def command():
    return run
