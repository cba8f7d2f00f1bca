"""Attention as one operator: heads stand side by side and do not mix."""

from __future__ import annotations

import onnx_ir as ir

from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.rule_registry import rule


@rule("RotaryEmbedding")
def rotary_embedding(node: ir.Node, trace: Trace) -> None:
    """Turns pairs of features of each head by angles that all heads share: heads pass."""
    for index in range(1, len(node.inputs)):
        angles = trace.at(node, index)
        if angles is not None:
            trace.decline(node, angles, "which takes them as angles")
    channels, shape = trace.at(node), trace.shape(node.inputs[0])
    if channels is None:
        return
    if shape is not None and len(shape) == 4 and channels.axis == 1:
        trace.carry(node, channels)
    else:
        trace.decline(node, channels, "whose heads are not an axis of their own")


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
