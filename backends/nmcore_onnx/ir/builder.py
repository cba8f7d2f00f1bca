"""Appending nodes to a graph."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, product
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

# From so many columns on a Gram matrix is formed in blocks of so many columns or a few more,
# four along each axis at least: of 16 products 10 are left, of 144 there are 78.
WIDE, BLOCK = 1024, 384


class Builder:
    """Appends nodes to a graph; every method returns the new value."""

    def __init__(self, graph: ir.Graph, prefix: str = "nmcore") -> None:
        self.graph = graph
        self._prefix = prefix
        self._count = 0
        self._anchor: ir.Node | None = None
        self._opset = graph.opset_imports.get("", graph.opset_imports.get("ai.onnx", 1))

    def before(self, node: ir.Node | None) -> None:
        """Put what follows before ``node``; None: at the end."""
        self._anchor = node

    def constant(self, array: NDArray[Any] | np.generic) -> ir.Value:
        """A constant."""
        self._count += 1
        tensor = ir.Tensor(
            np.ascontiguousarray(array), name=f"{self._prefix}.constant.{self._count}"
        )
        value = ir.Value(
            name=tensor.name,
            shape=tensor.shape,
            type=ir.TensorType(tensor.dtype),
            const_value=tensor,
        )
        self.graph.register_initializer(value)
        return value

    def node(self, op: str, *inputs: ir.Value, **attributes: Any) -> ir.Value:
        """The output of a new node."""
        self._count += 1
        node = ir.node(op, inputs, attributes, name=f"{self._prefix}.{op}.{self._count}")
        node.outputs[0].name = f"{self._prefix}.value.{self._count}"
        if self._anchor is None:
            self.graph.append(node)
        else:
            self.graph.insert_before(self._anchor, node)
        return node.outputs[0]

    def ints(self, *numbers: int) -> ir.Value:
        """A vector of integers."""
        return self.constant(np.array(numbers, np.int64))

    def rows(self, value: ir.Value, axis: int, rank: int, width: int) -> ir.Value:
        """(..., width on ``axis``, ...) as float32 rows (n, width)."""
        if axis != rank - 1:
            order = [k for k in range(rank) if k != axis] + [axis]
            value = self.node("Transpose", value, perm=order)
        value = self.node("Reshape", value, self.ints(-1, width))
        return self.node("Cast", value, to=int(ir.DataType.FLOAT))

    def position_rows(self, value: ir.Value, width: int, step: int) -> ir.Value:
        """(batch, width, *positions) as rows (n, width), of every ``step``-th position."""
        value = self.node("Reshape", value, self.ints(0, width, -1))
        value = self.node("Transpose", self.every(value, step, axis=2), perm=[0, 2, 1])
        return self.node("Reshape", value, self.ints(-1, width))

    def padded(self, value: ir.Value) -> ir.Value:
        """(batch, n, width) with zeros before the first of the n."""
        pads = [0, 1, 0, 0, 0, 0]
        if self._opset < 11:
            return self.node("Pad", value, pads=pads)
        return self.node("Pad", value, self.ints(*pads))

    @property
    def knows_steps(self) -> bool:
        """Whether Slice takes steps, and what it takes as inputs."""
        return self._opset >= 10

    def every(self, value: ir.Value, step: int, axis: int = 0) -> ir.Value:
        """Every ``step``-th entry of an axis; all of them where Slice knows no steps yet."""
        if step == 1 or not self.knows_steps:
            return value
        bounds = [0, np.iinfo(np.int64).max, axis, step]
        return self.node("Slice", value, *(self.ints(each) for each in bounds))

    def part(self, value: ir.Value, start: int, stop: int | None, axis: int = 1) -> ir.Value:
        """The entries of an axis from ``start`` up to below ``stop``; None: up to the end."""
        stop = np.iinfo(np.int64).max if stop is None else stop
        if not self.knows_steps:
            return self.node("Slice", value, starts=[start], ends=[stop], axes=[axis])
        return self.node("Slice", value, self.ints(start), self.ints(stop), self.ints(axis))

    def total(self, value: ir.Value) -> ir.Value:
        """The sum over rows."""
        if self._opset < 13:
            return self.node("ReduceSum", value, axes=[0], keepdims=0)
        length = self.node("Gather", self.node("Shape", value), self.ints(0), axis=0)
        ones = self.node("ConstantOfShape", length, value=ir.tensor(np.ones(1, np.float32)))
        return self.node("MatMul", ones, value)

    def centred(self, rows: ir.Value, weights: ir.Value | None = None) -> tuple[ir.Value, ir.Value]:
        """The mean of rows, (width,), and how far each is from it, times the root of its weight
        where weights (n, 1) are given.

        What single precision leaves of a mean over many rows is put right by the mean of the rest.
        """
        count = self.count(rows) if weights is None else self.total(weights)
        rough = self.node("Div", self._weighed(rows, weights), count)
        rest = self.node("Sub", rows, rough)
        mean = self.node("Add", rough, self.node("Div", self._weighed(rest, weights), count))
        if weights is not None:
            rest = self.node("Mul", rest, self.node("Sqrt", weights))
        return mean, rest

    def _weighed(self, rows: ir.Value, weights: ir.Value | None) -> ir.Value:
        """The sum over rows, each times its weight."""
        return self.total(rows if weights is None else self.node("Mul", rows, weights))

    def concatenated(self, rows: Sequence[ir.Value]) -> ir.Value:
        """Rows below each other."""
        return rows[0] if len(rows) == 1 else self.node("Concat", *rows, axis=0)

    def product(self, left: ir.Value, right: ir.Value) -> ir.Value:
        """Left' right: the sum over rows of outer products."""
        return self.node("MatMul", self.node("Transpose", left, perm=[1, 0]), right)

    def gram(self, value: ir.Value, width: int) -> ir.Value:
        """X' X of rows X (n, width); wide ones in blocks, of which those below the diagonal are
        transposed instead of computed.
        """
        if width < WIDE or not self.knows_steps:
            return self.product(value, value)
        count = max(4, width // BLOCK)
        bounds = [width * k // count for k in range(count + 1)]
        parts = [
            self.node("Slice", value, self.ints(start), self.ints(stop), self.ints(1))
            for start, stop in pairwise(bounds)
        ]
        blocks: dict[tuple[int, int], ir.Value] = {}
        for i, j in product(range(count), repeat=2):
            blocks[i, j] = (
                self.product(parts[i], parts[j])
                if i <= j
                else self.node("Transpose", blocks[j, i], perm=[1, 0])
            )
        rows = [
            self.node("Concat", *(blocks[i, j] for j in range(count)), axis=1) for i in range(count)
        ]
        return self.node("Concat", *rows, axis=0)

    def count(self, value: ir.Value) -> ir.Value:
        """How many rows there are, as (1,)."""
        first = self.node("Gather", self.node("Shape", value), self.ints(0), axis=0)
        return self.node("Cast", first, to=int(ir.DataType.FLOAT))
