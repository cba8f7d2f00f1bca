"""What turns the heads of attention: heads stand side by side, not mixed."""

from __future__ import annotations

import onnx_ir as ir

from nmcore_onnx.trace.channels import Channels
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.rule_registry import rule


@rule("RotaryEmbedding")
@rule("RotaryEmbedding", domain="com.microsoft")
def rotary(node: ir.Node, trace: Trace) -> None:
    """Turns pairs of numbers inside of each head by angles that are the same for all heads.

    1. Data (batch, heads, length, size): heads are an axis of their own and pass.
    2. Data (batch, length, heads * size): each head stays or goes as a whole.
    """
    channels, shape = trace.at(node), trace.shape(node.inputs[0])
    for index in range(1, len(node.inputs)):
        angles = trace.at(node, index)
        if angles is not None:
            trace.decline(node, angles, "which takes angles from them")
    if channels is None:
        return
    if shape is not None and len(shape) == 4 and channels.axis == 1:
        trace.carry(node, channels)
    elif shape is not None and len(shape) == 3 and channels.axis == 2:
        _turn_blocks(node, trace, channels)
    else:
        trace.decline(node, channels, "which turns pairs of them")


def _turn_blocks(node: ir.Node, trace: Trace, channels: Channels) -> None:
    """Case 2: the number of heads is an attribute that shrinks with them."""
    atoms = channels.owners()
    heads = node.attributes["num_heads"].as_int() if "num_heads" in node.attributes else 0
    if atoms is None or heads < 1 or len(atoms) % heads:
        trace.decline(node, channels, "whose heads are not known")
        return
    runs = atoms.reshape(heads, -1)
    trace.atoms.tie(runs)
    trace.count(node, "num_heads", runs[:, 0].copy())
    trace.carry(node, channels)
