"""Other programs that remove channels from ONNX files, for comparison."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx


def onnxsim(model: Path, target: Path, ratio: float) -> None:
    """Let onnxsim's structured pruning remove a share of the channels, by their l2 norm."""
    from onnxsim.pruning import apply_structured_pruning

    onnx.save(apply_structured_pruning(onnx.load(model), sparsity=ratio), target)


PEERS: dict[str, Callable[[Path, Path, float], None]] = {"onnxsim": onnxsim}
