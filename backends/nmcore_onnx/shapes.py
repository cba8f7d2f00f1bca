"""The shapes of every value, inferred on a copy so that the model itself stays as it is."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from nmcore_onnx import constants
from nmcore_onnx.constants import Place
from nmcore_onnx.folding import fold, sizes_given

log = logging.getLogger(__name__)

Dim = int | str
Shapes = dict[str, tuple[Dim, ...]]


def infer(
    model: ir.Model,
    inputs: Mapping[str, tuple[int, ...]] | None = None,
    declared: Shapes | None = None,
) -> Shapes:
    """Shapes by value name; a dynamic axis is its name, an unknown one a name of its own.

    Parameters
    ----------
    model : ir.Model
        Not changed.
    inputs : mapping of input name to shape, optional
        Sizes to assume for the inputs instead of the declared ones. What the graph computes from
        sizes is evaluated then.
    declared : mapping of value name to shape, optional
        What is known of other values.
    """
    copy = model.clone()
    for value in copy.graph.inputs:
        assumed = (inputs or {}).get(value.name or "")
        if assumed is not None:
            value.shape = ir.Shape(assumed)
    if inputs:
        _forget(copy.graph)
    _fold_arguments(copy.graph)
    _stand_in(copy.graph)
    _run(copy)
    while inputs and _settle_sizes(copy.graph, _collect(copy.graph)):
        _fold_arguments(copy.graph)
        _run(copy)
    if declared:
        for value in (value for node in copy.graph for value in node.outputs):
            if value.name in declared and value.type is not None:  # without a type it is not read
                value.shape = ir.Shape(declared[value.name])
        _run(copy)
    return _collect(copy.graph)


def _run(model: ir.Model) -> None:
    try:
        ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model)
    except Exception as error:  # what the inference cannot do is not the user's fault
        log.info("shape inference failed: %s", error)


# Operators whose output shape depends on the value of their later inputs.
_SHAPED_BY_VALUE = ("Pad", "Slice", "Reshape", "Expand", "Tile", "Resize", "ConstantOfShape")


def _fold_arguments(graph: ir.Graph) -> None:
    """Turn computed but constant arguments into constants, which the inference can read."""
    for node in list(graph):
        if node.op_type not in _SHAPED_BY_VALUE:
            continue
        for index in range(0 if node.op_type == "ConstantOfShape" else 1, len(node.inputs)):
            value = node.inputs[index]
            if value is None or constants.tensor(value) is not None:
                continue
            folded = fold(value)
            if folded is not None:
                constants.insert(Place(node, index), f"{value.name}.folded.{node.name}", folded)


def _settle_sizes(graph: ir.Graph, known: Shapes) -> bool:
    """Turn Shape nodes into constants where all that they give is known; whether there were any."""
    settled = False
    for node in graph:
        value = node.inputs[0] if node.op_type == "Shape" else None
        shape = known.get(str(value.name)) if value is not None else None
        if shape is None or not all(isinstance(size, int) for size in shape):
            continue
        tensor = ir.Tensor(sizes_given(node, known))
        node.op_type = "Constant"
        node.attributes.clear()
        node.attributes["value"] = ir.AttrTensor("value", tensor)
        node.resize_inputs(0)
        settled = True
    return settled


# Operators that keep a shape but that the inference does not know.
_SHAPE_KEEPING = ("GroupNormalization", "Gelu", "QuickGelu", "FastGelu", "BiasGelu")


def _stand_in(graph: ir.Graph) -> None:
    """Let Identity stand for operators that the inference does not know."""
    for node in graph:
        if node.op_type in _SHAPE_KEEPING:
            node.op_type, node.domain = "Identity", ""
            node.attributes.clear()
            node.resize_inputs(1)


def _forget(graph: ir.Graph) -> None:
    """Drop declared shapes that other input sizes may contradict."""
    for node in graph:
        for value in node.outputs:
            value.shape = None


def _collect(graph: ir.Graph) -> Shapes:
    shapes: Shapes = {}
    values = [*graph.inputs, *graph.initializers.values()]
    values += [value for node in graph for value in node.outputs]
    for value in values:
        if value.name and value.shape is not None:
            shapes[value.name] = tuple(
                dim if isinstance(dim, int) else (dim.value or f"?{value.name}.{axis}")
                for axis, dim in enumerate(value.shape)
            )
    return shapes
