"""How models are run: one input, the first output."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Session = Any  # an onnxruntime.InferenceSession


def only(session: Session) -> str:
    """The name of the first input."""
    name: str = session.get_inputs()[0].name
    return name


def batches(session: Session, rows: NDArray[Any], size: int = 8) -> NDArray[Any]:
    """The first output for rows of the first input."""
    parts = [
        session.run(None, {only(session): rows[start : start + size]})[0]
        for start in range(0, len(rows), size)
    ]
    return np.concatenate(parts)
