"""A small network, data for it, and the program itself."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner

from nmcore.cli import cli


@pytest.fixture
def data(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "data.npz"
    np.savez(path, x=rng.integers(0, 256, (20, 3, 8, 8), np.uint8), y=rng.integers(0, 10, 20))
    return path


@pytest.fixture
def run():
    """Run the program; without CUDA's notice, and with few threads."""

    def run_program(*args, code=0):
        result = CliRunner().invoke(cli, [str(arg) for arg in args], prog_name="nmcore")
        assert result.exit_code == code, (result.output, result.exception)
        return result

    return run_program


@pytest.fixture
def fails(run, tmp_path):
    """Run the program where it must say one line, exit with 2 and write nothing."""

    def run_failing(*args):
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        result = run(*args, code=2)
        after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        assert after == before
        assert result.stdout == ""
        assert result.stderr.startswith("nmcore: error: ")
        assert result.stderr.count("\n") == 1
        assert result.stderr.endswith("\n")
        return result.stderr.removeprefix("nmcore: error: ").rstrip("\n")

    return run_failing
