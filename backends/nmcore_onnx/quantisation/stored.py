"""A constant of the model of floats that is stored as integers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from nmcore_onnx.ir import constants, names
from nmcore_onnx.quantisation.affine import Affine
from nmcore_onnx.quantisation.marks import FORM, KEPT, ORDER

Array = NDArray[Any]
# Constants of so many bytes as floats are computed whenever they are read.
_LARGE = 2**22


@dataclass(frozen=True, eq=False)
class Stored:
    """Where the integers, the scale and the zero point of a constant are, and how they are packed.

    Attributes
    ----------
    parts : tuple of Value or None
        What holds integers, scale and zero point in the model as it was read.
    affine : callable
        Gives what they hold, its axes as they are in the model of floats.
    pack : callable
        Gives the arrays of ``parts`` for an affine form.
    floats : ir.TensorProtocol
        The numbers as they were read.
    """

    parts: tuple[ir.Value | None, ...]
    affine: Callable[[], Affine]
    pack: Callable[[Affine], tuple[Array | None, ...]]
    floats: ir.TensorProtocol

    @classmethod
    def of(
        cls,
        parts: tuple[ir.Value | None, ...],
        affine: Callable[[], Affine],
        shape: tuple[int, ...],
        pack: Callable[[Affine], tuple[Array | None, ...]] | None = None,
    ) -> Stored:
        """With the numbers of ``shape`` read now, or, where they are many, whenever needed."""
        kind = constants.tensor(parts[1])
        assert kind is not None
        floats: ir.TensorProtocol = ir.LazyTensor(
            lambda: ir.Tensor(affine().values()), kind.dtype, ir.Shape(shape)
        )
        if floats.nbytes < _LARGE:
            floats = ir.Tensor(affine().values())
        return cls(parts, affine, pack or _plain, floats)

    def value(self, graph: ir.Graph, name: str) -> ir.Value:
        """A new constant of the numbers."""
        shape = ir.Shape(int(size) for size in self.floats.shape.numpy())
        kind = ir.TensorType(self.floats.dtype)
        value = ir.Value(name=name, shape=shape, type=kind, const_value=self.floats)
        graph.register_initializer(value)
        value.meta[FORM] = self
        return value

    def is_untouched(self, value: ir.Value) -> bool:
        """Whether the constant holds the numbers that were read."""
        return value.const_value is self.floats

    def current(self, value: ir.Value, scale: Array | None = None) -> Affine:
        """The numbers of the constant as integers, by ``scale`` where one is given."""
        affine, tensor = self.affine(), value.const_value
        assert tensor is not None
        if ORDER in value.meta:
            affine = affine.transposed(value.meta[ORDER])
        return affine.requantised(tensor.numpy(), value.meta.get(KEPT), scale=scale)

    def write(self, value: ir.Value, found: Affine | None = None) -> tuple[ir.Value | None, ...]:
        """Constants of the integers, the scale and the zero point, as ``found`` has them."""
        graph = value.graph
        assert isinstance(graph, ir.Graph)
        if found is None and self.is_untouched(value):
            tensors = [constants.tensor(each) for each in self.parts]
        else:
            arrays = self.pack(self.current(value) if found is None else found)
            tensors = [None if a is None else ir.Tensor(np.ascontiguousarray(a)) for a in arrays]
        first = self.parts[0]
        assert first is not None
        called = [str(first.name) + ".zero" if p is None else str(p.name) for p in self.parts]
        return tuple(
            None if tensor is None else _initialiser(graph, name, tensor)
            for name, tensor in zip(called, tensors, strict=True)
        )


def _plain(affine: Affine) -> tuple[Array | None, ...]:
    return affine.integers, affine.scale, affine.zero


def _initialiser(graph: ir.Graph, name: str, tensor: ir.TensorProtocol) -> ir.Value:
    """A constant; the one of that name where it is the same."""
    known = graph.initializers.get(name)
    if known is not None and known.const_value is tensor:
        return known
    shape = ir.Shape(int(size) for size in tensor.shape.numpy())
    free = names.value_name(graph, name)
    value = ir.Value(name=free, shape=shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value


def take_over(value: ir.Value, new: ir.Value) -> None:
    """Let ``new`` stand where ``value`` stood: its name, its readers, and as an output."""
    new.name, new.shape, new.type = value.name, value.shape, value.type
    value.name = None
    ir.convenience.replace_all_uses_with(value, new, replace_graph_outputs=True)


def only_reader(value: ir.Value, op_type: str) -> ir.Node | None:
    """The one node that reads a value, where it is of this operator."""
    uses = list(value.uses())
    if len(uses) != 1 or value.is_graph_output() or uses[0].node.graph is not _graph_of(value):
        return None
    return uses[0].node if uses[0].node.op_type == op_type else None


def _graph_of(value: ir.Value) -> object:
    maker = value.producer()
    return None if maker is None else maker.graph


def remove(nodes: list[ir.Node | None]) -> None:
    """Take nodes out that nothing reads any more, the last first, and the constants they read."""
    for node in nodes:
        if node is None or any(out.uses() or out.is_graph_output() for out in node.outputs):
            continue
        inputs, graph = [each for each in node.inputs if each is not None], node.graph
        if isinstance(graph, ir.Graph):
            graph.remove(node, safe=True)
            for each in dict.fromkeys(inputs):
                if constants.tensor(each) is not None:
                    constants.drop(each)
