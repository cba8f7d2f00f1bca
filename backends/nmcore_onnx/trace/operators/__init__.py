"""One adapter an operator that multiplies: all that the plugin knows of the operator.

An adapter says which input holds the weight and which the bias, which axes of the weight are
outputs and inputs, how the input is unfolded into rows for moments, how the bias is changed, and
how multiply-accumulates are counted. All other modules ask it through :func:`find` and
:func:`weighted` and compare no operator names.

A new operator with weights is one file with a subclass of
:class:`~nmcore_onnx.trace.operators.weighted.Weighted` and one line in
:mod:`nmcore_onnx.trace.operators.registry`.
"""

from nmcore_onnx.trace.operators.base import Operator
from nmcore_onnx.trace.operators.registry import find, op_types, weighted
from nmcore_onnx.trace.operators.weighted import Weighted

__all__ = ["Operator", "Weighted", "find", "op_types", "weighted"]
