"""What tests of many parts start from."""

from __future__ import annotations

import signal

import onnx
import pytest

from small import small_network

# Shells let jobs in the background ignore Ctrl-C, and so would all programs that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def model(tmp_path):
    """A small network in a file."""
    path = tmp_path / "model.onnx"
    onnx.save(small_network().build(), path)
    return path
