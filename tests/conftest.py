"""What tests of many parts start from."""

from __future__ import annotations

import onnx
import pytest

from small import small_network


@pytest.fixture
def model(tmp_path):
    """A small network in a file."""
    path = tmp_path / "model.onnx"
    onnx.save(small_network().build(), path)
    return path
