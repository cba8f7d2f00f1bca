"""The base class of all adapters, and how multiply-accumulates of products are counted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import onnx_ir as ir

from nmcore_onnx.ir.types import Dim
from nmcore_onnx.trace.context import Trace

# The shape of a value, or None where not even its rank is known.
Known = tuple[Dim, ...] | None


class Operator:
    """An operator that multiplies, with a weight or two computed values.

    Attributes
    ----------
    op_type, domain : str
        Its name, and whose it is: that of ONNX itself is empty.
    weight_input : int
        The input that holds its weight.
    has_weight : bool
        Whether it may have a weight; one without follows no channels.
    is_dense : bool
        Whether it is a fully connected layer: its weight is a plain matrix (F, N) or (N, F).
    """

    op_type: str
    domain: ClassVar[str] = ""
    weight_input: ClassVar[int] = 1
    has_weight: ClassVar[bool] = True
    is_dense: ClassVar[bool] = False

    def follow(self, node: ir.Node, trace: Trace) -> None:
        """Say where the channels go that reach ``node``, and which it makes."""
        raise NotImplementedError

    def is_product(self, node: ir.Node) -> bool:
        """Whether ``node`` multiplies two computed values rather than one with a weight."""
        return False

    def macs(self, node: ir.Node, inputs: Sequence[Known], output: Known) -> int:
        """The multiply-accumulates of ``node``.

        Parameters
        ----------
        node : ir.Node
        inputs, output : shapes
            Of its inputs and its first output, for one sample.

        Raises
        ------
        TypeError, IndexError
            A size that counts is not known.
        """
        raise NotImplementedError

    def macs_of(self, node: ir.Node, index: int, inputs: Sequence[Known], output: Known) -> int:
        """The part of :meth:`macs` that the weight at input ``index`` takes."""
        return self.macs(node, inputs, output) if index == self.weight_input else 0


class Unsupported(Operator):
    """An operator that is counted, and whose channels stay."""

    reason: str

    def follow(self, node: ir.Node, trace: Trace) -> None:
        """Decline, and list the node itself: a user looks for its weights."""
        trace.decline_inputs(node, self.reason)
        trace.leave(node, self.reason)


def elements(shape: Known) -> int:
    """How many elements a value has.

    Raises
    ------
    TypeError
        A size is not known.
    """
    if shape is None or not all(isinstance(size, int) for size in shape):
        raise TypeError("an axis whose length is not known")
    return math.prod(size for size in shape if isinstance(size, int))


def convolution_macs(kernel: Known, output: Known) -> int:
    """Each output element sums over one filter of ``kernel`` (O, C / groups, *taps)."""
    if kernel is None:
        raise TypeError("a weight whose shape is not known")
    return elements(output) * elements(kernel[1:])


def matrix_macs(left: Known, output: Known, axis: int = -1) -> int:
    """Each output element sums over one axis of the left factor, its last."""
    if left is None:
        raise TypeError("a factor whose shape is not known")
    return elements(output) * elements((left[axis],))
