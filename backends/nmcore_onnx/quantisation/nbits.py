"""com.microsoft.MatMulNBits: weights of few bits, in blocks along the features.

Source of the layout: onnxruntime, docs/ContribOperators.md. The weight is (N, blocks,
block_size * bits / 8) bytes, the first number of a byte in its lowest bits; scales are (N, blocks),
zero points are packed likewise, each row of them from a byte on, and the middle of the levels where
there are none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from nmcore_onnx.ir import constants, names
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.quantisation.affine import Affine
from nmcore_onnx.quantisation.marks import FORM, UNREAD
from nmcore_onnx.quantisation.stored import Array, Stored, remove, take_over

_BYTE = 8
# Inputs besides data, weight, scales and zero points.
_INDEX, _BIAS = 4, 5


@dataclass(frozen=True, eq=False)
class _Layout:
    """A MatMulNBits as it was read: its weight, scales and zero points, and its attributes."""

    node: ir.Node
    parts: tuple[ir.Value | None, ...]
    bits: int
    block: int

    def unpack(self, rows: int, length: int) -> Affine:
        """The weight (K, N), from the packed (N, K)."""
        packed, scale, zero = map(constants.array, self.parts)
        assert packed is not None
        assert scale is not None
        blocks = -(-length // self.block)
        integers = unpacked(packed.reshape(rows, -1), self.bits)[:, :length]
        zeros = np.full((rows, blocks), 2 ** (self.bits - 1), np.uint8)
        if zero is not None:
            zeros = unpacked(zero.reshape(rows, -1), self.bits)[:, :blocks]
        found = Affine(integers, scale.reshape(rows, blocks), zeros, 1, self.block, self.bits)
        return found.transposed((1, 0))

    def pack(self, affine: Affine) -> tuple[Array | None, ...]:
        """The arrays of a weight (K, N), in the shapes that the node had them in."""
        found = affine.transposed((1, 0))
        assert found.zero is not None
        rows, length = found.integers.shape
        missing = -length % self.block
        # Numbers that fill the last block up are zero, as they stand for nothing.
        filling = np.broadcast_to(found.zero[:, -1:], (rows, missing))
        integers = np.concatenate([found.integers, filling.astype(np.uint8)], axis=1)
        data = packed(integers, self.bits).reshape(rows, found.scale.shape[1], -1)
        scale = (
            found.scale
            if len(constants.shape(self.parts[1]) or ()) == 2
            else found.scale.reshape(-1)
        )
        zero = None
        given = constants.shape(self.parts[2])
        if given is not None:
            zero = packed(found.zero, self.bits)
            zero = zero if len(given) == 2 else zero.reshape(-1)
        return data, scale, zero


def read(graph: ir.Graph) -> None:
    """Write every MatMulNBits as a MatMul of floats."""
    weights: dict[tuple[ir.Value | None, ...], ir.Value] = {}
    for node in list(graph):
        if node.op_type != "MatMulNBits" or node.domain != "com.microsoft":
            continue
        why = _obstacle(node)
        if why is not None:
            node.meta[UNREAD] = f"quantised {why}"
            continue
        parts = tuple(Place(node, index).value for index in (1, 2, 3))
        bits, block = _attribute(node, "bits", 4), _attribute(node, "block_size", 0)
        layout = _Layout(node, parts, bits, block)
        length, rows = _attribute(node, "K", 0), _attribute(node, "N", 0)
        if parts not in weights:
            form = Stored.of(
                parts,
                lambda layout=layout, sizes=(rows, length): layout.unpack(*sizes),  # type: ignore[misc]
                (length, rows),
                layout.pack,
            )
            name = f"{node.name or parts[0].name if parts[0] else ''}.weight"
            weights[parts] = form.value(graph, names.value_name(graph, name))
        product = ir.node("MatMul", [node.inputs[0], weights[parts]], name=node.name)
        graph.insert_before(node, product)
        last, bias = product, Place(node, _BIAS).value
        if bias is not None:
            name = names.node_name(graph, f"{node.name}.bias")
            last = ir.node("Add", [product.outputs[0], bias], name=name)
            graph.insert_before(node, last)
            product.outputs[0].name = names.value_name(graph, f"{node.name}.without_bias")
            product.outputs[0].type = node.outputs[0].type
        take_over(node.outputs[0], last.outputs[0])
        product.meta[FORM] = layout
        remove([node])


def write(graph: ir.Graph) -> None:
    """Write the products as MatMulNBits again."""
    weights: dict[ir.Value, tuple[ir.Value | None, ...]] = {}
    for node in list(graph):
        layout, weight = node.meta.get(FORM), constants.source(Place(node, 1).value)
        if not isinstance(layout, _Layout) or weight is None:
            continue
        if weight not in weights:
            weights[weight] = weight.meta[FORM].write(weight)
        length, rows = constants.shape(weight) or (0, 0)
        last, inputs = node, [node.inputs[0], *weights[weight]]
        added = _bias(node, rows) if len(layout.node.inputs) > _BIAS else None
        if added is not None:
            bias = next(value for value in added.inputs if value is not node.outputs[0])
            last, inputs = added, [*inputs, None, bias]
        while inputs[-1] is None:
            inputs.pop()
        sizes = {"K": ir.AttrInt64("K", length), "N": ir.AttrInt64("N", rows)}
        product = ir.node(
            "MatMulNBits",
            inputs,
            {**layout.node.attributes, **sizes},
            domain="com.microsoft",
            name=node.name,
        )
        graph.insert_before(last, product)
        take_over(last.outputs[0], product.outputs[0])
        remove([last, node])
    for weight in weights:
        constants.drop(weight)


def _bias(node: ir.Node, rows: int) -> ir.Node | None:
    """The Add of a bias behind a product; None where it is no longer that."""
    uses = list(node.outputs[0].uses())
    if len(uses) != 1 or uses[0].node.op_type != "Add":
        return None
    other = next((v for v in uses[0].node.inputs if v is not node.outputs[0]), None)
    return uses[0].node if constants.shape(other) == (rows,) else None


def _obstacle(node: ir.Node) -> str | None:
    """Why the weight of a MatMulNBits is not read back, or None."""
    constant = [constants.tensor(Place(node, index).value) for index in (1, 2, 3)]
    given = [Place(node, index).value for index in (1, 2, 3)]
    if any(
        value is not None and found is None for value, found in zip(given, constant, strict=True)
    ):
        return "with a weight that is computed while the model runs"
    weight, scale, zero = constant
    if weight is None or scale is None or weight.dtype != ir.DataType.UINT8:
        return "with a weight that is no packed integers"
    if Place(node, _INDEX).value is not None:
        return "with an index of groups (g_idx), which is not read back"
    bits, block = _attribute(node, "bits", 4), _attribute(node, "block_size", 0)
    if bits not in (2, 4, _BYTE) or block < 1:
        return f"with {bits} bits, which are not read back"
    if zero is not None and zero.dtype != ir.DataType.UINT8:
        return "with zero points that are no integers, which are not read back"
    rows, blocks = _attribute(node, "N", 0), -(-_attribute(node, "K", 0) // block)
    row = -(-blocks * bits // _BYTE)
    fits = weight.size == rows * blocks * block * bits // _BYTE and scale.size == rows * blocks
    if not fits or (zero is not None and zero.size != rows * row):
        return "with sizes that do not fit"
    return None


def _attribute(node: ir.Node, name: str, default: int) -> int:
    return node.attributes[name].as_int() if name in node.attributes else default


def unpacked(data: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Rows of bytes as rows of numbers of fewer bits.

    >>> unpacked(np.array([[0x21, 0x43]], np.uint8), 4).tolist()
    [[1, 2, 3, 4]]
    """
    shifts = np.arange(0, _BYTE, bits, dtype=np.uint8)
    numbers: NDArray[np.uint8] = (data[..., None] >> shifts) & np.uint8(2**bits - 1)
    return numbers.reshape(len(data), -1)


def packed(numbers: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Rows of numbers as rows of bytes; zeros fill up the last.

    >>> packed(np.array([[1, 2, 3]], np.uint8), 4).tolist()
    [[33, 3]]
    """
    per_byte = _BYTE // bits
    missing = -numbers.shape[1] % per_byte
    full = np.pad(numbers, ((0, 0), (0, missing))).reshape(len(numbers), -1, per_byte)
    shifts = np.arange(0, _BYTE, bits, dtype=np.uint8)
    result: NDArray[np.uint8] = np.bitwise_or.reduce(full << shifts, axis=-1)
    return result
