"""Which adapter an operator has."""

from __future__ import annotations

import onnx_ir as ir

from nmcore_onnx.ir import constants
from nmcore_onnx.trace.operators.attention import Attention, FusedAttention
from nmcore_onnx.trace.operators.base import Operator
from nmcore_onnx.trace.operators.conv import Conv, FusedConv
from nmcore_onnx.trace.operators.conv_transpose import ConvTranspose
from nmcore_onnx.trace.operators.einsum import Einsum
from nmcore_onnx.trace.operators.fused_matmul import FusedMatMul
from nmcore_onnx.trace.operators.gemm import Gemm
from nmcore_onnx.trace.operators.matmul import LeftMatMul, MatMul
from nmcore_onnx.trace.operators.packed_attention import PackedAttention
from nmcore_onnx.trace.operators.quantised import QuantisedConv, QuantisedMatMul
from nmcore_onnx.trace.operators.recurrent import Recurrent
from nmcore_onnx.trace.operators.weighted import Weighted
from nmcore_onnx.trace.recurrent.layout import CELL, HIDDEN

_ALL: tuple[Operator, ...] = (
    Conv(),
    ConvTranspose(),
    Gemm(),
    MatMul(),
    Attention(),
    Einsum(),
    Recurrent("LSTM", gates=4, initial=(HIDDEN, CELL)),
    Recurrent("GRU", gates=3),
    Recurrent("RNN", gates=1),
    QuantisedConv("ConvInteger", weight=1),
    QuantisedConv("QLinearConv", weight=3),
    QuantisedMatMul("MatMulInteger"),
    QuantisedMatMul("QLinearMatMul"),
    FusedConv(),
    FusedMatMul(),
    FusedAttention("MultiHeadAttention", past=6),
    FusedAttention("GroupQueryAttention", past=3),
    PackedAttention(),
)
_LEFT, _RIGHT = LeftMatMul(), MatMul()
_BY_NAME = {(operator.domain, operator.op_type): operator for operator in _ALL}


def op_types(domain: str = "") -> tuple[str, ...]:
    """The names of all operators of a domain that may have a weight."""
    return tuple(each.op_type for each in _ALL if each.has_weight and each.domain == domain)


def find(node: ir.Node) -> Operator | None:
    """The adapter of a node's operator; None where it has none."""
    domain = "" if node.domain == "ai.onnx" else node.domain
    if (domain, node.op_type) == ("", "MatMul"):
        left, right = (constants.tensor(value) is not None for value in node.inputs)
        return _LEFT if left and not right else _RIGHT
    return _BY_NAME.get((domain, node.op_type))


def weighted(node: ir.Node) -> Weighted:
    """The adapter of a node that reads or makes channels with a weight.

    Raises
    ------
    TypeError
        It is no such node.
    """
    operator = find(node)
    if not isinstance(operator, Weighted):
        raise TypeError(f"{node.op_type} is no operator whose channels can be removed")
    return operator
