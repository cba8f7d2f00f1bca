"""Inputs with default values: initialisers that are also inputs, which a caller may set.

Up to IR version 3 every initialiser had to be an input as well, and many exporters kept to that
later on. Then it means nothing: no caller sets all the weights. Where only some are listed, from IR
version 4 on, somebody chose them, and what a caller may set is no constant.
"""

from __future__ import annotations

import onnx_ir as ir

_KEY = "nmcore.overridable"
_FIRST_VERSION = 4


def is_overridable(value: ir.Value | None) -> bool:
    """Whether a value is an input whose default a caller may override."""
    return value is not None and _KEY in value.meta


def default(value: ir.Value) -> ir.TensorProtocol | None:
    """The constant that a value always is; None where it is none, or only unless a caller says."""
    return None if is_overridable(value) else value.const_value


def listed(model: ir.Model) -> list[ir.Value]:
    """The initialisers of a model that are inputs too."""
    return [value for value in model.graph.inputs if value.const_value is not None]


def overridable(model: ir.Model) -> list[ir.Value]:
    """Those of :func:`listed` that stand there because a caller may set them."""
    found = listed(model)
    if model.ir_version < _FIRST_VERSION or not found:
        return []
    weights = [value for value in model.graph.initializers.values() if _is_weight(value)]
    return [] if weights and all(value.is_graph_input() for value in weights) else found


def _is_weight(value: ir.Value) -> bool:
    tensor = value.const_value
    return tensor is not None and tensor.dtype.is_floating_point() and len(tensor.shape) > 1


def mark(model: ir.Model) -> None:
    """Make :func:`is_overridable` true of the inputs of which it is."""
    for value in overridable(model):
        value.meta[_KEY] = True


def unlist(model: ir.Model) -> list[ir.Value]:
    """Take initialisers that nobody sets off the inputs, so that weights come and go freely.

    Returns the inputs as they were, for :func:`relist`.
    """
    before = list(model.graph.inputs)
    for value in listed(model):
        if not is_overridable(value):
            model.graph.inputs.remove(value)
    return before


def relist(model: ir.Model, before: list[ir.Value]) -> None:
    """Put the inputs back that :func:`unlist` took away, but for weights that are gone.

    Up to IR version 3 new weights become inputs too.
    """
    graph = model.graph
    initialisers = list(graph.initializers.values())
    here = {*graph.inputs, *initialisers}
    inputs = [value for value in before if value in here]
    if model.ir_version < _FIRST_VERSION:
        inputs += [value for value in initialisers if value not in set(inputs)]
    if inputs != list(graph.inputs):
        graph.inputs.clear()
        graph.inputs.extend(inputs)
