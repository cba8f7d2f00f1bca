"""Changed weights, kept at full width until the result is written."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from nmcore.group import FloatArray
from nmcore_onnx import constants
from nmcore_onnx.constants import Place
from nmcore_onnx.trace import ConsumerSlot, ProducerSlot


def computable(array: NDArray[Any]) -> FloatArray:
    """The array in a type that NumPy computes in: half precision becomes float32.

    >>> computable(np.ones(2, np.float16)).dtype
    dtype('float32')
    """
    if array.dtype in (np.float16, ml_dtypes.bfloat16):
        return array.astype(np.float32)
    return array


def attribute(node: ir.Node, name: str, default: float = 1.0) -> float:
    """A floating-point attribute of a node."""
    return node.attributes[name].as_float() if name in node.attributes else default


def read(place: Place) -> FloatArray:
    """The weight at a place, in a type that NumPy computes in."""
    found = constants.array(place.value)
    assert found is not None
    return computable(found)


def as_matrix(array: FloatArray, rows: int, columns: int) -> FloatArray:
    """A weight as (rows, columns * taps): rows first, then each column with its taps."""
    moved = np.moveaxis(array, (rows, columns), (0, 1))
    return moved.reshape(moved.shape[0], moved.shape[1], -1)


@dataclass(eq=False)
class Ledger:
    """What has been changed: whole weights by place, and additions to the biases of nodes."""

    weights: dict[Place, FloatArray] = field(default_factory=dict)
    biases: dict[ir.Node, FloatArray] = field(default_factory=dict)

    def matrix(self, slot: ConsumerSlot) -> FloatArray:
        """A consumer's weight as (O, columns, taps), as it acts: Gemm's alpha multiplied in."""
        array = self.weights.get(slot.place)
        if array is None:
            array = read(slot.place)
        return as_matrix(array, slot.rows, slot.axis) * array.dtype.type(
            attribute(slot.node, "alpha")
        )

    def write(self, slot: ConsumerSlot, matrix: FloatArray) -> None:
        """Replace a consumer's weight by what :meth:`matrix` gave, changed."""
        shape = constants.shape(slot.place.value)
        assert shape is not None
        taps = [size for axis, size in enumerate(shape) if axis not in (slot.rows, slot.axis)]
        array = np.moveaxis(
            matrix.reshape(shape[slot.rows], shape[slot.axis], *taps),
            (0, 1),
            (slot.rows, slot.axis),
        )
        self.weights[slot.place] = array / array.dtype.type(attribute(slot.node, "alpha"))

    def add_bias(self, node: ir.Node, addition: FloatArray) -> None:
        """Add to the bias of a node, whether it has one yet or not."""
        self.biases[node] = self.biases.get(node, np.zeros_like(addition)) + addition

    def without(self, places: Set[Place]) -> Ledger:
        """The changes to all other weights, and to the biases of their nodes."""
        nodes = {place.node for place in places}
        return Ledger(
            {place: array for place, array in self.weights.items() if place not in places},
            {node: array for node, array in self.biases.items() if node not in nodes},
        )


def rows_of(slot: ProducerSlot) -> FloatArray:
    """A producer's weight as (N, columns, *kernel), as it acts: Gemm's alpha multiplied in."""
    array = np.moveaxis(read(slot.place), (slot.axis, slot.columns), (0, 1))
    alpha = attribute(slot.node, "alpha")
    return array if alpha == 1 else array * array.dtype.type(alpha)
