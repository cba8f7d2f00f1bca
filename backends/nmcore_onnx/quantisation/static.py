"""Constants behind DequantizeLinear: static quantisation (QDQ), of a tensor, channels or blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from nmcore_onnx.ir import constants, names
from nmcore_onnx.ir.arrays import computable
from nmcore_onnx.ir.nodes import flag
from nmcore_onnx.quantisation.affine import Affine
from nmcore_onnx.quantisation.marks import FORM, UNREAD
from nmcore_onnx.quantisation.stored import Array, Stored, remove

DOMAINS = ("", "ai.onnx", "com.microsoft")
_INTEGERS = {
    ir.DataType.INT8: 8,
    ir.DataType.UINT8: 8,
    ir.DataType.INT16: 16,
    ir.DataType.UINT16: 16,
    ir.DataType.INT4: 4,
    ir.DataType.UINT4: 4,
    ir.DataType.INT32: 32,
}
_SUM = 32
# Operators with a bias, at input 2, which runtimes take as integers of the scale of the product.
_BIASED = ("Conv", "ConvTranspose", "Gemm")
# Marks those of them that had none.
_NO_BIAS = "nmcore.no_bias"


@dataclass(frozen=True, eq=False)
class Dequantised(Stored):
    """A constant behind a DequantizeLinear.

    Attributes
    ----------
    node : ir.Node
        It, in the model as it was read.
    is_product : bool
        Whether it is a bias with the scale of data times weight, which runtimes take for granted.
    """

    node: ir.Node | None = None
    is_product: bool = False


def read(graph: ir.Graph) -> None:
    """Read every constant behind a DequantizeLinear as floats."""
    nodes = [node for node in graph if is_dequantise(node) and _is_constant(node)]
    found = {node: affine for node in nodes if (affine := _affine(node)) is not None}
    products = {node for node in found if _is_product(node)}
    for node in graph:
        weight = node.inputs[1].producer() if len(node.inputs) > 1 and node.inputs[1] else None
        if node.op_type in _BIASED and weight in found and _bias(node) is None:
            node.meta[_NO_BIAS] = True
    for node, affine in found.items():
        output, shape = node.outputs[0], constants.shape(node.inputs[0])
        assert shape is not None
        parts = (node.inputs[0], node.inputs[1], node.inputs[2] if len(node.inputs) > 2 else None)
        plain = Stored.of(parts, lambda affine=affine: affine, shape)  # type: ignore[misc]
        form = Dequantised(
            *(plain.parts, plain.affine, plain.pack, plain.floats), node, node in products
        )
        name, output.name = str(output.name), None
        ir.convenience.replace_all_uses_with(output, form.value(graph, name))
        remove([node])


def write(graph: ir.Graph) -> None:
    """Put the DequantizeLinears back; biases follow the scales of weights."""
    order = {node: place for place, node in enumerate(graph)}
    values = [v for v in graph.initializers.values() if isinstance(v.meta.get(FORM), Dequantised)]
    for value in values:
        if not value.uses():
            constants.drop(value)
    values = [value for value in values if value.uses()]
    for value in sorted(values, key=lambda v: v.meta[FORM].is_product):
        form, scale = value.meta[FORM], None
        if form.is_product:
            readers = [node for node, index in value.uses() if index == 2]
            scale = _one_product(readers)
            if scale is None or not _fits(value, scale):
                value.meta.pop(FORM)  # as floats, of which no scale is taken for granted
                continue
            affine = form.affine()
            if form.is_untouched(value) and np.array_equal(scale, affine.scale.reshape(-1)):
                scale = None
        found = None if scale is None else form.current(value, _shaped(scale, form))
        _dequantise(value, form, found, order)
    for node in list(graph):
        if node.meta.get(_NO_BIAS):
            _quantise_bias(node, order)


def is_dequantise(node: ir.Node) -> bool:
    """Whether a node turns integers into floats."""
    return node.op_type == "DequantizeLinear" and node.domain in DOMAINS


def _is_constant(node: ir.Node) -> bool:
    """Whether a node of the main graph reads constants alone, and only its nodes read it."""
    output = node.outputs[0]
    return (
        all(value is None or constants.tensor(value) is not None for value in node.inputs)
        and not output.is_graph_output()
        and bool(output.uses())
        and all(use.node.graph is node.graph for use in output.uses())
    )


def _affine(node: ir.Node) -> Affine | None:
    """What a DequantizeLinear of constants reads; None where it is not of a form that is known."""
    integers, scale = (constants.tensor(value) for value in node.inputs[:2])
    zero = constants.tensor(node.inputs[2]) if len(node.inputs) > 2 else None
    assert integers is not None
    assert scale is not None
    bits = _INTEGERS.get(integers.dtype)
    wide = "output_dtype" in node.attributes and node.attributes["output_dtype"].as_int()
    if (
        bits is None
        or (wide and wide != int(scale.dtype))
        or not constants.is_float(node.inputs[1])
    ):
        node.meta[UNREAD] = f"quantised as {integers.dtype.name.lower()}, which is not read back"
        return None
    shape = tuple(int(size) for size in integers.shape.numpy())
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 1
    block = node.attributes["block_size"].as_int() if "block_size" in node.attributes else 0
    scales = tuple(int(size) for size in scale.shape.numpy())
    place: int | None = axis % len(shape) if shape and -len(shape) <= axis < len(shape) else None
    wanted: tuple[int, ...] = ()
    if block and place is not None:
        wanted = (*shape[:place], -(-shape[place] // block), *shape[place + 1 :])
    elif scale.size == 1:
        place, wanted = None, scales
    elif place is not None:
        wanted = (shape[place],)
    if scales != wanted or (zero is not None and zero.size not in (1, scale.size)):
        node.meta[UNREAD] = "quantised with scales that do not fit it"
        return None
    zeros = None if zero is None else spread(zero.numpy(), scales)
    return Affine(integers.numpy(), scale.numpy(), zeros, place, block, bits)


def spread(zero: Array, shape: tuple[int, ...]) -> Array:
    """Zero points in the shape of the scales, where one may stand for all."""
    return zero.reshape(shape) if zero.size > 1 else np.full(shape, zero.reshape(-1)[0])


def _dequantise(
    value: ir.Value, form: Dequantised, found: Affine | None, order: dict[ir.Node, int]
) -> None:
    """Let a DequantizeLinear give a constant's numbers."""
    graph, old = value.graph, form.node
    assert isinstance(graph, ir.Graph)
    assert old is not None
    if found is None and not form.is_untouched(value):
        found = form.current(value)
    parts = form.write(value, found)
    attributes = dict(old.attributes)
    if found is not None and found.axis is not None:
        attributes["axis"] = ir.AttrInt64("axis", found.axis)
    inputs = [*parts[:2], *([] if parts[2] is None else [parts[2]])]
    name = names.node_name(graph, str(old.name)) if old.name else None
    node = ir.node("DequantizeLinear", inputs, attributes, domain=old.domain, name=name)
    readers = [use.node for use in value.uses() if use.node in order]
    graph.insert_before(min(readers, key=order.__getitem__), node)
    _replace(value, node.outputs[0])


def _replace(value: ir.Value, output: ir.Value) -> None:
    """Let a value stand in for a constant, by its name."""
    graph, name = value.graph, str(value.name)
    assert isinstance(graph, ir.Graph)
    assert value.const_value is not None
    output.shape, output.type = value.shape, ir.TensorType(value.const_value.dtype)
    ir.convenience.replace_all_uses_with(value, output)
    del graph.initializers[name]
    output.name = name


# biases


def _bias(node: ir.Node) -> ir.Value | None:
    return node.inputs[2] if len(node.inputs) > 2 else None


def _product(node: ir.Node) -> Array | None:
    """The scale of data times weight of a node, shape (N,) or (1,); None where it has none."""
    scales = []
    for value in node.inputs[:2]:
        maker = None if value is None else value.producer()
        if maker is None or not is_dequantise(maker):
            return None
        scale = constants.array(maker.inputs[1])
        if scale is None:
            return None
        scales.append(computable(scale).reshape(-1))
    data, weight = scales
    return None if data.size != 1 else data * weight


def _one_product(nodes: Sequence[ir.Node]) -> Array | None:
    """The scale of data times weight that nodes have in common; None where they have none."""
    found = [scale for node in nodes if (scale := _product(node)) is not None]
    same = len(found) == len(nodes) and all(np.array_equal(each, found[0]) for each in found)
    return found[0] if found and same else None


def _is_product(node: ir.Node) -> bool:
    """Whether a DequantizeLinear gives biases with the scale of data times weight."""
    scale = constants.array(node.inputs[1])
    uses = list(node.outputs[0].uses())
    if scale is None or any(use.idx != 2 or use.node.op_type not in _BIASED for use in uses):
        return False
    tensor, products = constants.tensor(node.inputs[0]), [_product(use.node) for use in uses]
    if tensor is None or tensor.dtype != ir.DataType.INT32:
        return False
    mine = computable(scale).reshape(-1)
    return all(
        each is not None and mine.size == each.size and np.allclose(mine, each, rtol=1e-4, atol=0)
        for each in products
    )


def _shaped(scale: Array, form: Stored) -> Array:
    """A bias's scale in the shape and type of the one before."""
    old = form.affine().scale
    return scale.astype(old.dtype).reshape(old.shape if scale.size == old.size else (-1,))


def _fits(value: ir.Value, scale: Array) -> bool:
    """Whether a bias in a scale is no larger than integers of 32 bits."""
    tensor = value.const_value
    assert tensor is not None
    numbers = computable(tensor.numpy()).astype(np.float64)
    return bool((np.abs(numbers) < scale.astype(np.float64) * (2**31 - 1)).all())


def _quantise_bias(node: ir.Node, order: dict[ir.Node, int]) -> None:
    """Store a bias that is new as integers, as runtimes want it of a quantised layer."""
    bias, scale = _bias(node), _product(node)
    if bias is None or scale is None or bias.const_value is None or not _scales_outputs(node):
        return
    if not _fits(bias, scale):
        return
    graph, name = node.graph, str(bias.name)
    assert isinstance(graph, ir.Graph)
    values = bias.const_value.numpy()
    zeros = np.zeros(values.shape, np.int32)
    axis = None if scale.size == 1 else 0
    shape = () if axis is None else scale.shape
    scale = scale.astype(values.dtype).reshape(shape)
    affine = Affine(zeros, scale, axis=axis, bits=_SUM).requantised(values, scale=scale)
    parts = [ir.Value(name=f"{name}_{end}") for end in ("quantized", "scale")]
    maker = ir.node("DequantizeLinear", [], {} if axis is None else {"axis": axis}, name=name)
    form = Dequantised((*parts, None), lambda: affine, _unzeroed, bias.const_value, maker, True)
    _dequantise(bias, form, affine, order)


def _scales_outputs(node: ir.Node) -> bool:
    """Whether a weight has one scale, or one for each output: those along what it reads are none
    that a bias could share.
    """
    weight = node.inputs[1]
    maker = None if weight is None else weight.producer()
    if maker is None or (scale := constants.array(maker.inputs[1])) is None:
        return False
    shape = constants.shape(maker.inputs[0]) or ()
    outputs = int(not flag(node, "transB")) if node.op_type == "Gemm" else 0
    if node.op_type == "ConvTranspose":
        outputs = 1
    axis = maker.attributes["axis"].as_int() if "axis" in maker.attributes else 1
    return scale.size == 1 or axis % len(shape) == outputs


def _unzeroed(affine: Affine) -> tuple[Array | None, ...]:
    return affine.integers, affine.scale, None
