"""What tests of many parts start from."""

from __future__ import annotations

import signal

import onnx
import pytest

from nmcore.compression.joint import block_refit
from small import small_network

# Shells let jobs in the background ignore Ctrl-C, and so would all programs that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def _fewer_steps():
    """Residual blocks take most of the time of small networks, and few tests are about them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(block_refit, "STEPS", 100)
        patch.setattr(block_refit, "FEWEST_STEPS", 50)
        yield


@pytest.fixture
def model(tmp_path):
    """A small network in a file."""
    path = tmp_path / "model.onnx"
    onnx.save(small_network().build(), path)
    return path
