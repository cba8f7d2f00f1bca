"""The forms of quantised weights that are read as floats and written back."""

from __future__ import annotations

import onnx_ir as ir

from nmcore_onnx.ir import bodies
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.quantisation import dynamic, nbits, static
from nmcore_onnx.quantisation.marks import FORM, UNREAD

# Each has read(graph) and write(graph); what one writes no other reads.
FORMS = (static, dynamic, nbits)
_OPERATORS = frozenset(("DequantizeLinear", "MatMulInteger", "ConvInteger", "MatMulNBits"))


def dequantised(model: ir.Model) -> ir.Model:
    """The model with quantised weights as floats, which :func:`requantise` writes as they were: a
    copy, where there are any.

    Activations that are quantised while the model runs are floats there; those between a
    QuantizeLinear and a DequantizeLinear of fixed scales stay as they are.
    """
    for graph in list(bodies.graphs(model.graph))[1:]:
        for node in graph:
            if node.op_type in _OPERATORS:
                node.meta[UNREAD] = "quantised in the body of an If, Loop or Scan, and stays so"
    if not any(node.op_type in _OPERATORS for node in model.graph):
        return model
    copy = model.clone()
    for form in FORMS:
        form.read(copy.graph)
    return copy


def requantise(graph: ir.Graph) -> None:
    """Quantise the weights of what :func:`dequantised` gave again, each in its own form.

    Weights that hold what they did keep their integers.
    """
    for form in FORMS:
        form.write(graph)


def count(graph: ir.Graph) -> int:
    """How many weights of layers of a model of floats are stored as integers."""
    return sum(_is_weight(value) for value in graph.initializers.values() if FORM in value.meta)


def changed(graph: ir.Graph) -> int:
    """How many of them no longer hold what they did."""
    return sum(
        _is_weight(value) and not value.meta[FORM].is_untouched(value)
        for value in graph.initializers.values()
        if FORM in value.meta
    )


def _is_weight(value: ir.Value) -> bool:
    """Whether a constant has the axes of a weight."""
    return len(value.shape or ()) > 1 and any(
        Place(node, index).value is value for node, index in value.uses()
    )
