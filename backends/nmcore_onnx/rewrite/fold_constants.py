"""Weights that are computed from nothing but constants, folded into constants.

Weight normalisation and standardisation, weights stored in half precision, reshaped, scaled or made
by ConstantOfShape: all runs compute the same numbers. With these stored instead, channels can be
removed from them.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx_ir as ir

from nmcore_onnx.ir import constants, names
from nmcore_onnx.ir.arrays import stored
from nmcore_onnx.ir.constant_folding import Folded, has_subgraphs, is_random
from nmcore_onnx.ir.defaults import default
from nmcore_onnx.quantisation.marks import is_quantised
from nmcore_onnx.trace import operators

# Weights are larger than sizes and bounds, but a few bytes can ask for terabytes.
_MAX_ELEMENTS = 2**26
# Weights of these stay as they are, whatever they are computed from.
_QUANTISED = ("DequantizeLinear", "QuantizeLinear", "DynamicQuantizeLinear")
_NORMS = (
    "BatchNormalization",
    "InstanceNormalization",
    "GroupNormalization",
    "LayerNormalization",
    "RMSNormalization",
)


def foldable(graph: ir.Graph) -> list[str]:
    """The names of all values that are weights, biases or parameters computed from constants.

    In bodies those stay that are stored in half precision: :func:`store_halves` does not see them.
    """
    found: set[ir.Value] = set()
    wanted = []
    for node in graph:
        if not _is_computed(node, found):
            continue
        found.update(node.outputs)
        if names.main(graph) is not graph and any(map(_is_widened, node.outputs)):
            continue
        wanted += [str(value.name) for value in node.outputs if _is_wanted(graph, value)]
    return wanted


def fold_constants(graph: ir.Graph, chosen: Iterable[str]) -> None:
    """Store those of what :func:`foldable` names that can be computed."""
    wanted = set(chosen)
    values = [v for node in graph for v in node.outputs if v.name in wanted]
    folded = Folded(_MAX_ELEMENTS)
    arrays = {value: folded.value(value) for value in values}
    for value, array in arrays.items():
        if array is None or array.dtype.kind in "biuOSU":
            continue
        name = str(value.name)
        value.name = f"{name}.computed"  # it goes, with what it is computed from
        data = ir.Tensor(np.ascontiguousarray(array), name=name)
        kind = ir.TensorType(data.dtype)
        new = ir.Value(name=name, shape=data.shape, type=kind, const_value=data)
        names.main(graph).register_initializer(new)
        if _is_widened(value):
            maker = value.producer()
            assert maker is not None
            assert maker.inputs[0] is not None
            new.meta[_HALF] = str(maker.name), str(maker.inputs[0].name)
        ir.convenience.replace_all_uses_with(value, new)
        constants.drop(value)


# Marks the weights that are stored in half precision and widened while the model runs, with the
# names of the Cast and of what is stored.
_HALF = "nmcore.half"


def store_halves(graph: ir.Graph) -> None:
    """Store weights in half precision again that were so before they were folded."""
    marked = [each for each in graph.initializers.values() if _HALF in each.meta]
    order = {node: place for place, node in enumerate(graph)} if marked else {}
    for value in marked:
        cast_name, stored = value.meta.pop(_HALF)
        wide, readers = value.const_value, [node for node, _ in value.uses() if node in order]
        if wide is None or not readers or value.is_graph_output():
            continue
        name = str(value.name)
        del graph.initializers[name]
        value.name = names.value_name(graph, stored)
        value.const_value = _halved(wide, value.name)
        value.type = ir.TensorType(ir.DataType.FLOAT16)
        cast = ir.node("Cast", [value], {"to": int(wide.dtype)})
        cast.name = names.node_name(graph, cast_name)
        cast.outputs[0].name = name
        cast.outputs[0].type, cast.outputs[0].shape = ir.TensorType(wide.dtype), value.shape
        for node, index in list(value.uses()):
            if node is not cast:
                node.replace_input_with(index, cast.outputs[0])
        graph.insert_before(min(readers, key=order.__getitem__), cast)
        graph.register_initializer(value)


def _halved(wide: ir.TensorProtocol, name: str) -> ir.LazyTensor:
    """A tensor in half precision, rounded whenever it is read."""

    def compute() -> ir.TensorProtocol:
        return ir.Tensor(stored(wide.numpy(), np.dtype(np.float16)), name=name)

    shape = ir.Shape(int(size) for size in wide.shape.numpy())
    return ir.LazyTensor(compute, ir.DataType.FLOAT16, shape, name=name)


def _is_widened(value: ir.Value) -> bool:
    """Whether a value is a constant in half precision behind a Cast."""
    maker = value.producer()
    return (
        maker is not None
        and maker.op_type == "Cast"
        and (stored := constants.tensor(maker.inputs[0])) is not None
        and stored.dtype == ir.DataType.FLOAT16
    )


def _is_computed(node: ir.Node, found: set[ir.Value]) -> bool:
    """Whether a node gives the same each time, and is more than a constant."""
    if node.domain not in ("", "ai.onnx") or has_subgraphs(node) or is_random(node):
        return False
    inputs = [value for value in node.inputs if value is not None]
    if node.op_type in (*_QUANTISED, "Constant") or not inputs:
        return False
    if any(is_quantised(value) for value in inputs):
        return False
    return all(
        value in found or default(value) is not None or constants.tensor(value) is not None
        for value in inputs
    )


def _is_wanted(graph: ir.Graph, value: ir.Value) -> bool:
    """Whether channels can go once a value is a constant, at no cost to anything else."""
    if value.is_graph_output() or constants.tensor(value) is not None or _is_copy(value):
        return False
    return any(_is_parameter(node, index) for node, index in value.uses()) and all(
        node.graph is graph for node, _ in value.uses()
    )


def _is_copy(value: ir.Value) -> bool:
    """Whether a value holds the numbers of a constant that others read too, such as a table."""
    while (maker := value.producer()) is not None:
        if maker.op_type not in ("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Identity"):
            return False
        first = maker.inputs[0]
        if first is None or len(first.uses()) > 1:
            return first is not None and constants.tensor(first) is not None
        value = first
    return False


def _is_parameter(node: ir.Node, index: int) -> bool:
    operator = operators.find(node)
    if isinstance(operator, operators.Weighted):
        return index in operator.parameters
    return node.op_type in _NORMS and node.domain in ("", "ai.onnx") and index > 0
