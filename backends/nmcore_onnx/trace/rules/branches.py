"""Ifs: what their branches give goes on behind them.

The nodes of the branches are followed like any others; see :mod:`nmcore_onnx.trace.walk`.
"""

from __future__ import annotations

import onnx_ir as ir

from nmcore_onnx.ir.bodies import bodies
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.rule_registry import rule


@rule("If")
def choose(node: ir.Node, trace: Trace) -> None:
    """Each output is that of the branch that runs: both have the same channels, or keep theirs."""
    trace.decline_inputs(node, "which decides by them")
    branches = bodies(node)
    outputs = min((len(branch.outputs) for branch in branches), default=0)
    for index in range(min(outputs, len(node.outputs))):
        inner = [branch.outputs[index] for branch in branches]
        own = all(value.graph is body for value, body in zip(inner, branches, strict=True))
        if own and len(set(inner)) == len(branches):
            trace.hand_over(inner, node, index)
