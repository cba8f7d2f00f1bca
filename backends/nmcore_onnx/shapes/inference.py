"""The shapes of every value, inferred on a copy so that the model itself stays as it is."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

import onnx
import onnx_ir as ir

from nmcore.errors import ModelError
from nmcore_onnx.ir import constants
from nmcore_onnx.ir.constant_folding import Folded, is_fixed, is_random
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.ir.defaults import is_overridable
from nmcore_onnx.ir.types import Shapes
from nmcore_onnx.shapes import stand_ins

log = logging.getLogger(__name__)


# No operator's output shape depends on the numbers in a weight of more bytes.
_LARGE = 2**16


class Inference:
    """The shapes of a model's values by ONNX's own inference; some may be declared.

    Parameters
    ----------
    model : ir.Model
        Not changed.

    Raises
    ------
    ModelError
        What it makes would have less than no entries.
    """

    def __init__(self, model: ir.Model) -> None:
        self._copy = outline(model)
        _set_free(self._copy.graph)
        _fold_arguments(self._copy.graph)
        for node in self._copy.graph:
            stand_ins.replace(node)
        written = ir.serde.serialize_model(self._copy)
        bounds = _bounds(written)
        _check_sizes(self._copy.graph, bounds)
        self._follow = not _explodes(self._copy.graph, bounds)
        _run(self._copy.graph, written, follow=self._follow)

    def declare(self, known: Shapes) -> None:
        """Take the shapes of some values as given and infer what follows."""
        for value in (value for node in self._copy.graph for value in node.outputs):
            if value.name not in known:
                continue
            maker = value.producer()
            # Operators of other domains, which it does not know, give what they read first.
            if value.type is None and maker is not None and maker.inputs[0] is not None:
                value.type = maker.inputs[0].type
            if value.type is not None:  # without a type it is not read
                value.shape = ir.Shape(known[value.name])
        _run(self._copy.graph, ir.serde.serialize_model(self._copy), follow=self._follow)

    def shapes(self) -> Shapes:
        """Shapes by value name; a dynamic axis is its name, an unknown one a name of its own."""
        return _collect(self._copy.graph)


def outline(model: ir.Model) -> ir.Model:
    """A copy that ONNX's inference and its checker can be given, of any model."""
    copy = model.clone()
    _set_aside(copy.graph)
    _forget_negative_sizes(copy)
    return copy


def is_outline(model: ir.Model) -> bool:
    """Whether a model can be given to ONNX's inference and its checker as it is."""
    return not _large(model.graph) and not _below_zero(model)


def _forget_negative_sizes(model: ir.Model) -> None:
    """Take declared sizes below 0 for unknown, as onnxruntime does; some exporters write -1.

    The inference ends the process over them.
    """
    for value in _below_zero(model):
        assert value.shape is not None
        value.shape = ir.Shape(
            None if isinstance(size, int) and size < 0 else size for size in value.shape
        )


def _below_zero(model: ir.Model) -> list[ir.Value]:
    """The values that are said to have sizes below 0."""
    values = [
        value
        for graph in (model.graph, *model.graph.subgraphs())
        for value in (*graph.inputs, *(output for node in graph for output in node.outputs))
    ]
    return [
        value
        for value in values
        if any(isinstance(size, int) and size < 0 for size in value.shape or ())
    ]


def _large(graph: ir.Graph) -> dict[str, ir.TensorProtocol]:
    """The weights whose numbers no shape depends on, by name."""
    return {
        name: value.const_value
        for name, value in graph.initializers.items()
        if value.const_value is not None and value.const_value.nbytes > _LARGE
    }


def _set_aside(graph: ir.Graph) -> None:
    """Let large weights be inputs, which are written down without their numbers."""
    for name, tensor in _large(graph).items():
        value = graph.initializers[name]
        value.shape = ir.Shape(tensor.shape.numpy())
        value.type = ir.TensorType(tensor.dtype)
        del graph.initializers[name]
        if not value.is_graph_input():
            graph.inputs.append(value)


def _set_free(graph: ir.Graph) -> None:
    """Forget the defaults of inputs that a caller may set: no shape depends on them."""
    for name, value in list(graph.initializers.items()):
        if is_overridable(value):
            del graph.initializers[name]


def _bounds(model: onnx.ModelProto) -> dict[str, tuple[int | None, ...]]:
    """What no shape exceeds, by value name, subgraphs included: nothing is cut by a Slice.

    The inference ends the process where a Slice cuts what has a negative size.
    """
    try:
        inferred = onnx.shape_inference.infer_shapes(_uncut(model))
    except Exception as error:  # what the inference cannot do is not the user's fault
        log.info("shape inference failed: %s", error)
        return {}
    return {
        info.name: tuple(
            size.dim_value if size.HasField("dim_value") else None
            for size in info.type.tensor_type.shape.dim
        )
        for graph in _graphs(inferred.graph)
        for info in (*graph.input, *graph.value_info, *graph.output)
    }


def _uncut(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a model whose Slices leave everything."""
    proto = onnx.ModelProto()
    proto.CopyFrom(model)
    for graph in _graphs(proto.graph):
        for node in graph.node:
            if node.op_type == "Slice":
                node.op_type = "Identity"
                del node.input[1:]
                del node.attribute[:]
    return proto


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and all inside it."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            inner = [attribute.g] if attribute.HasField("g") else attribute.graphs
            for each in inner:
                yield from _graphs(each)


def _check_sizes(graph: ir.Graph, bounds: Mapping[str, tuple[int | None, ...]]) -> None:
    """Refuse what would end the process in onnxruntime too."""
    if not any(node.op_type == "Slice" for node in graph.all_nodes()):
        return
    for name, shape in bounds.items():
        if any(size is not None and size < 0 for size in shape):
            raise ModelError(
                f"the value {name!r} would have the shape {list(shape)}: what is read is too small"
            )


def _run(graph: ir.Graph, written: onnx.ModelProto, *, follow: bool) -> None:
    """Infer shapes by ONNX's own inference, where wanted with the values that make sizes.

    onnx_ir has a pass for it, which builds a second model from what comes back; only the shapes
    are wanted, several times over.
    """
    try:
        inferred = onnx.shape_inference.infer_shapes(written, data_prop=follow).graph
    except Exception as error:  # what the inference cannot do is not the user's fault
        log.info("shape inference failed: %s", error)
        return
    known = {info.name: info.type for info in [*inferred.value_info, *inferred.output]}
    for value in (value for node in graph for value in node.outputs):
        found = known.get(value.name or "")
        if found is not None and found.HasField("tensor_type"):
            _learn(value, found.tensor_type)


def _learn(value: ir.Value, found: onnx.TypeProto.Tensor) -> None:
    if found.elem_type:
        value.dtype = ir.DataType(found.elem_type)
    if found.HasField("shape"):
        value.shape = ir.Shape(
            size.dim_value if size.HasField("dim_value") else (size.dim_param or None)
            for size in found.shape.dim
        )


# What the inference follows the values of, beside their shapes.
_FOLLOWED = ("Add", "Cast", "Gather", "Identity", "Mul", "Slice", "Squeeze", "Sub", "Unsqueeze")
_MAX_FOLLOWED = 2**20


def _explodes(graph: ir.Graph, bounds: Mapping[str, tuple[int | None, ...]]) -> bool:
    """Whether following values would take too long, or too much memory.

    Sixty Concats may double theirs, and of a vector whose numbers are unknown the inference holds
    one entry for each.
    """

    def length(value: ir.Value) -> int:
        shape = bounds.get(value.name or "", ())
        return (shape[0] or 1) if len(shape) == 1 else 1

    counts: dict[ir.Value, int] = {}
    for node in graph.all_nodes():
        held = [counts.get(value, length(value)) for value in node.inputs if value is not None]
        if node.op_type == "Concat":
            count = sum(held)
        else:
            count = max(held, default=1) if node.op_type in _FOLLOWED else 1
        if max(count, *held, 0) > _MAX_FOLLOWED:
            return True
        counts |= {value: max(count, length(value)) for value in node.outputs}
    return False


# Operators whose output shape depends on the value of their later inputs.
_SHAPED_BY_VALUE = ("Pad", "Slice", "Reshape", "Expand", "Tile", "Resize", "ConstantOfShape")


def _fold_arguments(graph: ir.Graph) -> None:
    """Turn computed but constant arguments into constants, which the inference can read."""
    folded = Folded()
    constant: set[ir.Value] = set()
    for node in list(graph):
        if all(is_fixed(value, constant) for value in node.inputs) and not is_random(node):
            constant.update(node.outputs)
        if node.op_type not in _SHAPED_BY_VALUE:
            continue
        for index in range(0 if node.op_type == "ConstantOfShape" else 1, len(node.inputs)):
            value = node.inputs[index]
            if value is None or value not in constant or constants.tensor(value) is not None:
                continue
            result = folded.value(value)
            if result is not None:
                name = f"{value.name}.folded.{node.name}"
                constants.insert(Place(node, index), name, result)


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
