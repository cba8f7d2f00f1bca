"""Activations without the rounding of QuantizeLinear, for proofs that two models are the same.

Where two models add up the same products in another order, sums that lie between two levels are
rounded up in the one and down in the other. The bounds of the levels are part of the function: they
often stand for a ReLU.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from nmcore_onnx.ir import constants
from nmcore_onnx.ir.arrays import computable
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.quantisation.static import DOMAINS, is_dequantise

# Since when Clip takes its bounds as inputs.
_BOUNDS_AS_INPUTS = 11


def without_rounding(graph: ir.Graph) -> None:
    """Let a Clip stand for every QuantizeLinear with the DequantizeLinears that read it."""
    for node in list(graph):
        if node.op_type != "QuantizeLinear" or node.domain not in DOMAINS:
            continue
        readers = [use.node for use in node.outputs[0].uses()]
        bounds = _bounds(node)
        if bounds is None or not readers or node.outputs[0].is_graph_output():
            continue
        if all(is_dequantise(each) and _same_levels(node, each) for each in readers):
            _clip(graph, node, dict.fromkeys(readers), bounds)


def _clip(
    graph: ir.Graph, node: ir.Node, readers: dict[ir.Node, None], bounds: tuple[np.generic, ...]
) -> None:
    """Put a Clip in the place of a pair."""
    opset = graph.opset_imports.get("", graph.opset_imports.get("ai.onnx", 1))
    attributes = {}
    if opset < _BOUNDS_AS_INPUTS:
        attributes = dict(zip(("min", "max"), map(float, bounds), strict=True))
    clip = ir.node("Clip", [node.inputs[0]], attributes)
    graph.insert_before(node, clip)
    clip.outputs[0].name = f"{node.outputs[0].name}.clipped"
    if not attributes:
        clip.resize_inputs(3)
        for index, (bound, end) in enumerate(zip(bounds, ("min", "max"), strict=True), 1):
            constants.insert(Place(clip, index), f"{node.outputs[0].name}.{end}", np.asarray(bound))
    for reader in readers:
        output = reader.outputs[0]
        clip.outputs[0].type, clip.outputs[0].shape = output.type, output.shape
        if output.is_graph_output():
            same = ir.node("Identity", [clip.outputs[0]])
            graph.insert_before(reader, same)
            name, output.name = output.name, None
            same.outputs[0].name = name
            same.outputs[0].type, same.outputs[0].shape = output.type, output.shape
            ir.convenience.replace_all_uses_with(
                output, same.outputs[0], replace_graph_outputs=True
            )
        else:
            ir.convenience.replace_all_uses_with(output, clip.outputs[0])
        graph.remove(reader, safe=True)
    graph.remove(node, safe=True)


def _bounds(node: ir.Node) -> tuple[np.generic, np.generic] | None:
    """The least and the largest number that the levels stand for; None where they are not one pair
    for all.
    """
    scale, zero = (constants.array(Place(node, index).value) for index in (1, 2))
    if scale is None or scale.size != 1 or (zero is None and Place(node, 2).value is not None):
        return None
    kind = np.dtype(np.uint8) if zero is None else zero.dtype
    if kind.kind not in "iu" or "output_dtype" in node.attributes:
        return None
    middle, limits = 0 if zero is None else int(zero.reshape(-1)[0]), np.iinfo(kind)
    step = float(computable(scale).reshape(-1)[0])
    least, most = ((bound - middle) * step for bound in (limits.min, limits.max))
    return scale.dtype.type(least), scale.dtype.type(most)


def _same_levels(node: ir.Node, other: ir.Node) -> bool:
    """Whether two nodes have equal scales and zero points."""
    for index in (1, 2):
        one, two = (constants.array(Place(each, index).value) for each in (node, other))
        if (one is None) != (two is None):
            return False
        if one is not None and two is not None and not np.array_equal(one, two):
            return False
    return True
