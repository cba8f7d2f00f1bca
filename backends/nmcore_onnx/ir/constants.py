"""Constants of a graph, initialisers or Constant nodes: reading and replacing them.

A constant is addressed by the place that reads it, ``(node, input index)``, because one tensor may
be read in several places and only some of them may change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from nmcore_onnx.ir import names
from nmcore_onnx.ir.defaults import is_overridable

Array = NDArray[Any]


@dataclass(frozen=True)
class Place:
    """The input of a node that a constant feeds."""

    node: ir.Node
    index: int

    @property
    def value(self) -> ir.Value | None:
        """What is connected there; None where nothing is."""
        return self.node.inputs[self.index] if self.index < len(self.node.inputs) else None


def source(value: ir.Value | None) -> ir.Value | None:
    """Follow Identity nodes back to where a value is made."""
    while value is not None:
        node = value.producer()
        if node is None or node.op_type != "Identity" or node.domain not in ("", "ai.onnx"):
            break
        value = node.inputs[0]
    return value


def tensor(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The constant tensor behind a value: an initialiser or a Constant node, or None."""
    value = source(value)
    if value is None:
        return None
    if value.is_graph_input() and (value.const_value is None or is_overridable(value)):
        return None
    if value.const_value is not None:
        return value.const_value
    node = value.producer()
    if node is None or node.op_type != "Constant" or len(node.attributes) != 1:
        return None
    name, attribute = next(iter(node.attributes.items()))
    if name == "value" and not attribute.is_ref():  # nearly all; the way below takes its time
        found: ir.TensorProtocol = attribute.value
        return found
    if name in ("value_string", "sparse_value"):
        return None
    return ir.convenience.get_const_tensor(value)


def array(value: ir.Value | None) -> Array | None:
    """The constant behind a value as a NumPy array (a view where that is possible), or None."""
    found = tensor(value)
    return None if found is None else found.numpy()


def shape(value: ir.Value | None) -> tuple[int, ...] | None:
    """The shape of the constant behind a value, without reading its data; None if not constant."""
    found = tensor(value)
    return None if found is None else tuple(int(size) for size in found.shape.numpy())


def is_float(value: ir.Value | None) -> bool:
    """Whether a constant of a type that weights can be computed in is behind the value."""
    found = tensor(value)
    return found is not None and found.dtype in (
        ir.DataType.FLOAT,
        ir.DataType.DOUBLE,
        ir.DataType.FLOAT16,
        ir.DataType.BFLOAT16,
    )


def dtype(value: ir.Value | None) -> np.dtype[Any]:
    """The type of the constant behind a value."""
    found = tensor(value)
    assert found is not None
    return found.dtype.numpy()


def ints(value: ir.Value | None) -> list[int] | None:
    """A small integer constant as a list; None where the value is no integer constant."""
    found = array(value)
    if found is None or not np.issubdtype(found.dtype, np.integer):
        return None
    return [int(number) for number in found.ravel()]


def replace(place: Place, new: Array | ir.LazyTensor) -> None:
    """Let ``place`` read ``new`` instead, and nothing else: other readers keep the old constant."""
    value = place.value
    assert value is not None
    data, shape = _named(new, str(value.name))
    alone = len(value.uses()) == 1 and not value.is_graph_output()
    if alone and source(value) is not value:
        node = value.producer()
        assert node is not None
        value.shape, value.type = shape, value.type or ir.TensorType(data.dtype)
        replace(Place(node, 0), new)
    elif alone and value.const_value is not None:
        value.const_value = data
        value.shape = shape
    elif alone and (node := value.producer()) is not None and node.op_type == "Constant":
        node.attributes.clear()
        node.attributes["value"] = ir.AttrTensor("value", data)
        value.shape, value.type = shape, ir.TensorType(data.dtype)
    else:
        insert(place, f"{value.name}_{place.node.name or place.node.outputs[0].name}", new)
        made, old = place.value, source(value)
        assert made is not None
        made.meta.update({} if old is None else old.meta)  # how it is stored
        drop(value)


def readers(value: ir.Value) -> list[Place]:
    """Everything that reads a constant, also through Identity nodes."""
    places = []
    for node, index in value.uses():
        behind = node.outputs[0] if node.op_type == "Identity" else None
        if behind is not None and source(behind) is source(value):
            places += readers(behind)
        else:
            places.append(Place(node, index))
    return places


def drop(value: ir.Value) -> None:
    """Remove a constant that nothing reads any more, and what it was computed from."""
    if value.uses() or value.is_graph_output() or value.is_graph_input():
        return
    node = value.producer()
    if node is None:
        graph = value.graph
        if isinstance(graph, ir.Graph) and value.name and value.name in graph.initializers:
            del graph.initializers[value.name]
        return
    if any(output.uses() or output.is_graph_output() for output in node.outputs):
        return
    inputs = [found for found in node.inputs if found is not None]
    graph = node.graph
    if not isinstance(graph, ir.Graph):  # removed already, on another way down
        return
    graph.remove(node, safe=True)
    for each in dict.fromkeys(inputs):
        drop(each)


def _named(new: Array | ir.LazyTensor, name: str) -> tuple[ir.TensorProtocol, ir.Shape]:
    """A tensor of that name, and its shape."""
    if isinstance(new, ir.LazyTensor):
        new.name = name
        return new, new.shape
    tensor = ir.Tensor(np.asarray(new, order="C"), name=name)
    return tensor, tensor.shape


def insert(place: Place, name: str, new: Array | ir.LazyTensor) -> None:
    """Feed ``place`` from a new initialiser called ``name``, or so where that is taken.

    It is one of the main graph, where every body sees it.
    """
    graph = place.node.graph
    assert isinstance(graph, ir.Graph)
    graph = names.main(graph)
    data, shape = _named(new, names.value_name(graph, name))
    value = ir.Value(name=data.name, shape=shape, type=ir.TensorType(data.dtype), const_value=data)
    graph.register_initializer(value)
    if place.index >= len(place.node.inputs):
        place.node.resize_inputs(place.index + 1)
    place.node.replace_input_with(place.index, value)
