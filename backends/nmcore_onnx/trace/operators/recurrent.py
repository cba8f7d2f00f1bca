"""LSTM, GRU and RNN: counted; their channels stay."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from nmcore_onnx.trace.operators.base import Known, Unsupported, elements


class Recurrent(Unsupported):
    """A recurrent layer with the weights W (directions, gates * H, I) and R (.., gates * H, H)."""

    reason = "a recurrent layer: its state feeds back into every channel"

    def __init__(self, op_type: str) -> None:
        self.op_type = op_type

    def macs(self, node: ir.Node, inputs: Sequence[Known], output: Known) -> int:
        """Each step multiplies the input and the state with their gates' weights."""
        data, weight, state = inputs[:3]
        if data is None:
            raise TypeError("data whose shape is not known")
        return elements(data[:2]) * (elements(weight) + elements(state))
