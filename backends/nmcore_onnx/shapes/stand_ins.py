"""Operators that ONNX's inference does not know, as others that give values of the same shape.

Most come from graphs that were saved after onnxruntime had optimised them.
"""

from __future__ import annotations

from typing import NamedTuple

import onnx_ir as ir

from nmcore_onnx.ir.nodes import flag


class StandIn(NamedTuple):
    """An operator of ONNX itself that stands for another.

    Attributes
    ----------
    op_type : str
        Its name.
    inputs : int
        It reads so many of the first inputs.
    attributes : tuple of str
        And these attributes.
    """

    op_type: str
    inputs: int = 1
    attributes: tuple[str, ...] = ()


_SAME = StandIn("Identity")
_CONV = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
_SHAPE_KEEPING = (
    *("GroupNormalization", "MeanVarianceNormalization", "SimplifiedLayerNormalization"),
    *("SkipLayerNormalization", "SkipSimplifiedLayerNormalization", "GroupNorm", "RotaryEmbedding"),
    *("Gelu", "QuickGelu", "FastGelu", "BiasGelu", "BiasAdd", "BiasDropout"),
)
_OTHERS = {
    "FusedConv": StandIn("Conv", 3, _CONV),
    "FusedGemm": StandIn("Gemm", 3, ("transA", "transB")),
    "FusedMatMul": StandIn("MatMul", 2),
    "TransposeMatMul": StandIn("MatMul", 2),
}
_TURNING = ("transA", "transB", "transBatchA", "transBatchB")


def stand_in(node: ir.Node) -> StandIn | None:
    """What stands for a node, where anything does."""
    if node.op_type in _SHAPE_KEEPING:
        return _SAME
    found = _OTHERS.get(node.op_type) if node.domain == "com.microsoft" else None
    if found is not None and found.op_type == "MatMul" and any(flag(node, t) for t in _TURNING):
        batches = any(flag(node, name) for name in _TURNING[2:])
        # Of matrices; of anything else the inference will say nothing.
        return None if batches else StandIn("Gemm", 2, _TURNING[:2])
    return found


def replace(node: ir.Node) -> None:
    """Turn a node into what stands for it."""
    found = stand_in(node)
    if found is None:
        return
    node.op_type, node.domain = found.op_type, ""
    for name in [name for name in node.attributes if name not in found.attributes]:
        node.attributes.pop(name)
    if len(node.inputs) > found.inputs:
        node.resize_inputs(found.inputs)
