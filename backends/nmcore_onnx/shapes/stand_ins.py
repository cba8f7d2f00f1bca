"""Operators that ONNX's inference does not know, as others that give values of the same shape.

Most come from graphs that were saved after onnxruntime had optimised them.
"""

from __future__ import annotations

from typing import NamedTuple

import onnx_ir as ir

from nmcore_onnx.ir import constants
from nmcore_onnx.ir.nodes import flag


class StandIn(NamedTuple):
    """An operator of ONNX itself that stands for another.

    Attributes
    ----------
    op_type : str
        Its name.
    inputs : tuple of int
        It reads these inputs of the other.
    attributes : tuple of str
        And these attributes.
    same : tuple of int
        Outputs of the other beside its first that have the same shape as that.
    """

    op_type: str
    inputs: tuple[int, ...] = (0,)
    attributes: tuple[str, ...] = ()
    same: tuple[int, ...] = ()


_SAME = StandIn("Identity")
_CONV = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
_SHAPE_KEEPING = (
    *("GroupNormalization", "MeanVarianceNormalization", "SimplifiedLayerNormalization"),
    *("GroupNorm", "RotaryEmbedding"),
    *("Gelu", "QuickGelu", "FastGelu", "BiasGelu", "BiasAdd", "BiasDropout"),
)
_OTHERS = {
    "FusedConv": StandIn("Conv", (0, 1, 2), _CONV),
    "FusedGemm": StandIn("Gemm", (0, 1, 2), ("transA", "transB")),
    "FusedMatMul": StandIn("MatMul", (0, 1)),
    "TransposeMatMul": StandIn("MatMul", (0, 1)),
    # The sum before the norm is an output too.
    "SkipLayerNormalization": StandIn("Identity", same=(3,)),
    "SkipSimplifiedLayerNormalization": StandIn("Identity", same=(3,)),
    "EmbedLayerNormalization": StandIn("Gather", (2, 0), same=(2,)),
}

_ATTENTION = ("Attention", "GroupQueryAttention")
_TURNING = ("transA", "transB", "transBatchA", "transBatchB")


def stand_in(node: ir.Node) -> StandIn | None:
    """What stands for a node, where anything does."""
    if node.op_type in _SHAPE_KEEPING:
        return _SAME
    found = _OTHERS.get(node.op_type) if node.domain == "com.microsoft" else None
    if node.domain == "com.microsoft" and node.op_type in _ATTENTION:
        return _SAME if _keeps_width(node) else None
    if found is not None and found.op_type == "MatMul" and any(flag(node, t) for t in _TURNING):
        batches = any(flag(node, name) for name in _TURNING[2:])
        # Of matrices; of anything else the inference will say nothing.
        return None if batches else StandIn("Gemm", (0, 1), _TURNING[:2])
    return found


def _keeps_width(node: ir.Node) -> bool:
    """Whether an attention is known to give values of the shape of what it reads first.

    Others are left to :mod:`nmcore_onnx.shapes.shape_operators`, which takes a round for each.
    """
    if node.op_type == "GroupQueryAttention":
        return len(node.inputs) > 1 and node.inputs[1] is not None
    shape = constants.shape(node.inputs[1]) if node.op_type == "Attention" else None
    if shape is None or len(shape) != 2:
        return False
    sizes = node.attributes.get("qkv_hidden_sizes")
    return shape[0] == (shape[1] // 3 if sizes is None else sizes.as_ints()[-1])


def replace(node: ir.Node) -> None:
    """Turn a node into what stands for it."""
    found = stand_in(node)
    if found is None:
        return
    node.op_type, node.domain = found.op_type, ""
    for name in [name for name in node.attributes if name not in found.attributes]:
        node.attributes.pop(name)
    read = [node.inputs[index] for index in found.inputs if index < len(node.inputs)]
    node.resize_inputs(len(read))
    for index, value in enumerate(read):
        node.replace_input_with(index, value)
    for index in found.same:
        if index < len(node.outputs):
            _copy_output(node, index)


def _copy_output(node: ir.Node, index: int) -> None:
    """Let an Identity of the first output stand for another one."""
    graph, old = node.graph, node.outputs[index]
    if not isinstance(graph, ir.Graph) or not old.name:
        return
    made = ir.node("Identity", [node.outputs[0]])
    graph.insert_after(node, made)
    made.outputs[0].type, made.outputs[0].shape = old.type, old.shape
    given = old.is_graph_output()
    ir.convenience.replace_all_uses_with(old, made.outputs[0], replace_graph_outputs=given)
    made.outputs[0].name, old.name = old.name, f"{old.name}.replaced"
