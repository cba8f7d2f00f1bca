"""Attention as one operator, and what turns its heads: heads stand side by side, not mixed."""

from __future__ import annotations

import onnx_ir as ir

from nmcore_onnx.trace.channels import Channels
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.rule_registry import rule


@rule("Attention")
def attention(node: ir.Node, trace: Trace) -> None:
    """Queries, keys and values (batch, heads, length, size): a head has all three, or none.

    Anything else stays: heads inside of the last axis, fewer keys than queries, a state that is
    kept, or a mask for each head.
    """
    found = [trace.at(node, index) for index in range(3)]
    if all(channels is None for channels in found) and trace.at(node, 3) is None:
        return
    query, key, value = found
    shapes = [trace.shape(each) for each in node.inputs]
    mask_shape = shapes[3] if len(shapes) > 3 else None
    state = any(each is not None for each in node.inputs[4:6]) or any(
        each.uses() or each.is_graph_output() for each in node.outputs[1:]
    )
    masked = len(node.inputs) > 3 and node.inputs[3] is not None
    per_head = masked and (mask_shape is None or (len(mask_shape) > 2 and mask_shape[-3] != 1))
    if query is None or key is None or value is None or state or per_head:
        trace.decline_inputs(node, "whose heads do not all come from weights that can shrink")
        return
    if any(shape is None or len(shape) != 4 for shape in shapes[:3]):
        trace.decline_inputs(node, "whose heads are not an axis of their own")
        return
    joined = trace.join(query, key) if query.axis == 1 else None
    joined = None if joined is None else trace.join(joined, value)
    if joined is None:
        trace.decline_inputs(node, "which mixes them")
        return
    for index in range(3, len(node.inputs)):
        mask = trace.at(node, index)
        if mask is not None:
            trace.decline(node, mask, "which takes them as a mask")
    trace.carry(node, joined)


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
