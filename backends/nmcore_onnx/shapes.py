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


class Inference:
    """The shapes of a model's values, which may be told what cannot be inferred.

    Parameters
    ----------
    model : ir.Model
        Not changed.
    inputs : mapping of input name to shape, optional
        Sizes to assume for the inputs instead of the declared ones. What the graph computes from
        sizes is evaluated then.
    """

    def __init__(
        self, model: ir.Model, inputs: Mapping[str, tuple[int, ...]] | None = None
    ) -> None:
        self._copy = model.clone()
        for value in self._copy.graph.inputs:
            assumed = (inputs or {}).get(value.name or "")
            if assumed is not None:
                value.shape = ir.Shape(assumed)
        if inputs:
            _forget(self._copy.graph)
        _fold_arguments(self._copy.graph)
        _stand_in(self._copy.graph)
        _run(self._copy)
        while inputs and _settle_sizes(self._copy.graph, self.shapes()):
            _fold_arguments(self._copy.graph)
            _run(self._copy)

    def declare(self, known: Shapes) -> None:
        """Take the shapes of some values as given and infer what follows."""
        for value in (value for node in self._copy.graph for value in node.outputs):
            if value.name in known and value.type is not None:  # without a type it is not read
                value.shape = ir.Shape(known[value.name])
        _run(self._copy)

    def shapes(self) -> Shapes:
        """Shapes by value name; a dynamic axis is its name, an unknown one a name of its own."""
        return _collect(self._copy.graph)


def infer(model: ir.Model, inputs: Mapping[str, tuple[int, ...]] | None = None) -> Shapes:
    """Shapes by value name, in one go; see :class:`Inference`."""
    return Inference(model, inputs).shapes()


def _run(model: ir.Model) -> None:
    values = not _explodes(model.graph)
    try:
        ShapeInferencePass(check_type=False, strict_mode=False, data_prop=values)(model)
    except Exception as error:  # what the inference cannot do is not the user's fault
        log.info("shape inference failed: %s", error)


# What the inference follows the values of, beside their shapes.
_FOLLOWED = ("Add", "Cast", "Gather", "Identity", "Mul", "Slice", "Squeeze", "Sub", "Unsqueeze")
_MAX_FOLLOWED = 2**20


def _explodes(graph: ir.Graph) -> bool:
    """Whether following values would take forever: sixty Concats that double theirs, say."""
    counts: dict[ir.Value, int] = {}
    for node in graph:
        held = [counts.get(value, 1) for value in node.inputs if value is not None]
        if node.op_type == "Concat":
            count = sum(held)
        else:
            count = max(held, default=1) if node.op_type in _FOLLOWED else 1
        if count > _MAX_FOLLOWED:
            return True
        counts |= dict.fromkeys(node.outputs, count)
    return False


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
