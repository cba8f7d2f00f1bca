"""Integer products of activations that are quantised while the model runs: dynamic quantisation.

DynamicQuantizeLinear(x) -> MatMulInteger or ConvInteger -> Cast -> Mul by both scales, as
onnxruntime's ``quantize_dynamic`` writes it, is a MatMul or Conv of the model of floats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from nmcore_onnx.ir import constants, names
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.quantisation.affine import Affine
from nmcore_onnx.quantisation.marks import FORM, UNREAD
from nmcore_onnx.quantisation.static import spread
from nmcore_onnx.quantisation.stored import Stored, only_reader, remove, take_over

_PRODUCTS = {"MatMulInteger": "MatMul", "ConvInteger": "Conv"}
_UNKNOWN = "quantised beside other nodes than quantize_dynamic writes"


@dataclass(frozen=True, eq=False)
class _Pattern:
    """The nodes that stand for one product."""

    quantise: ir.Node
    product: ir.Node
    cast: ir.Node
    scales: ir.Node
    scaled: ir.Node
    weight_scale: ir.Value


def read(graph: ir.Graph) -> None:
    """Write every such product with a weight of floats."""
    weights: dict[tuple[ir.Value | None, ...], ir.Value] = {}
    for node in list(graph):
        if node.op_type not in _PRODUCTS or node.domain not in ("", "ai.onnx"):
            continue
        found = _pattern(node)
        affine = None if found is None else _affine(found)
        if found is None or affine is None:
            node.meta[UNREAD] = _why(node)
            continue
        zero = Place(node, 3).value
        parts = (node.inputs[1], found.weight_scale, zero)
        if parts not in weights:
            form = Stored.of(parts, lambda affine=affine: affine, affine.integers.shape)  # type: ignore[misc]
            name = str(parts[0].name if parts[0] else "").removesuffix("_quantized")
            weights[parts] = form.value(graph, names.value_name(graph, name))
        product = ir.node(
            _PRODUCTS[node.op_type],
            [found.quantise.inputs[0], weights[parts]],
            dict(node.attributes),
            name=node.name,
        )
        graph.insert_before(found.scaled, product)
        take_over(found.scaled.outputs[0], product.outputs[0])
        product.meta[FORM] = found
        remove([found.scaled, found.cast, node, found.scales, found.quantise])


def _why(product: ir.Node) -> str:
    """Why a product is none of those that are read."""
    data = product.inputs[0]
    maker = None if data is None else data.producer()
    if maker is None or maker.op_type != "Gather" or constants.tensor(maker.inputs[0]) is None:
        return _UNKNOWN
    return f"quantised with what it reads, rows of the quantised table of Gather {maker.name!r}"


def write(graph: ir.Graph) -> None:
    """Write the products with weights of integers again."""
    quantised: dict[ir.Value | None, ir.Node] = {}
    weights: dict[ir.Value, Sequence[ir.Value | None]] = {}
    for node in list(graph):
        pattern, weight = node.meta.get(FORM), constants.source(Place(node, 1).value)
        if not isinstance(pattern, _Pattern) or weight is None:
            continue
        if weight not in weights:
            weights[weight] = weight.meta[FORM].write(weight)
        data = node.inputs[0]
        if data not in quantised:
            quantised[data] = _like(pattern.quantise, [data], node)
        last = _write(node, pattern, quantised[data], weights[weight])
        if Place(node, 2).value is not None:
            last = _add_bias(node, last)
        take_over(node.outputs[0], last.outputs[0])
        remove([node])
    for weight in weights:
        constants.drop(weight)


def _write(
    node: ir.Node, pattern: _Pattern, quantise: ir.Node, parts: Sequence[ir.Value | None]
) -> ir.Node:
    """The nodes of one product before ``node``; the last of them."""
    integers, scale, zero = parts
    levels, data_scale, data_zero = quantise.outputs
    inputs = [levels, integers, data_zero, *([] if zero is None else [zero])]
    product = _like(pattern.product, inputs, node, ir.DataType.INT32)
    product.name = node.name  # which goes
    cast = _like(pattern.cast, [product.outputs[0]], node, ir.DataType.FLOAT)
    scales = _like(pattern.scales, [data_scale, scale], node, ir.DataType.FLOAT)
    inputs = [cast.outputs[0], scales.outputs[0]]
    return _like(pattern.scaled, inputs, node, ir.DataType.FLOAT)


def _like(
    old: ir.Node,
    inputs: Sequence[ir.Value | None],
    before: ir.Node,
    kind: ir.DataType | None = None,
) -> ir.Node:
    """A node like one of the model as it was read, which reads something else."""
    graph = before.graph
    assert isinstance(graph, ir.Graph)
    node = ir.node(
        old.op_type,
        inputs,
        dict(old.attributes),
        domain=old.domain,
        name=names.node_name(graph, str(old.name)) if old.name else None,
        num_outputs=len(old.outputs),
    )
    for output, former in zip(node.outputs, old.outputs, strict=True):
        output.name = names.value_name(graph, str(former.name))
        output.type = ir.TensorType(kind) if kind is not None else former.type
    graph.insert_before(before, node)
    return node


def _add_bias(node: ir.Node, product: ir.Node) -> ir.Node:
    """An Add behind a convolution, which has no bias as integers."""
    graph, bias = node.graph, constants.array(node.inputs[2])
    output, weight = node.outputs[0], constants.shape(node.inputs[1])
    assert isinstance(graph, ir.Graph)
    assert bias is not None
    assert weight is not None
    name = f"{node.name or output.name}.bias"
    added = ir.node("Add", [product.outputs[0], None], name=names.node_name(graph, name))
    graph.insert_before(node, added)
    constants.insert(Place(added, 1), f"{name}.added", bias.reshape(-1, *[1] * (len(weight) - 2)))
    return added


def _pattern(product: ir.Node) -> _Pattern | None:
    """The nodes around an integer product; None where they are others."""
    data, zero = product.inputs[0], Place(product, 2).value
    quantise = None if data is None else data.producer()
    if quantise is None or quantise.op_type != "DynamicQuantizeLinear":
        return None
    if data is not quantise.outputs[0] or zero is not quantise.outputs[2]:
        return None
    cast = only_reader(product.outputs[0], "Cast")
    if cast is None or cast.attributes["to"].as_int() != int(ir.DataType.FLOAT):
        return None
    scaled = only_reader(cast.outputs[0], "Mul")
    other = None if scaled is None else _other(scaled, cast.outputs[0])
    scales = None if other is None else other.producer()
    if scaled is None or other is None or scales is None or scales.op_type != "Mul":
        return None
    weight_scale = _other(scales, quantise.outputs[1])
    if weight_scale is None or constants.tensor(weight_scale) is None:
        return None
    if only_reader(other, "Mul") is None or scaled.graph is not product.graph:
        return None
    return _Pattern(quantise, product, cast, scales, scaled, weight_scale)


def _other(node: ir.Node, value: ir.Value) -> ir.Value | None:
    """What a node of two inputs reads beside a value; None where it does not read it once."""
    found = [each for each in node.inputs if each is not value]
    return found[0] if len(found) == 1 and len(node.inputs) == 2 else None


def _affine(pattern: _Pattern) -> Affine | None:
    """What the weight is, (F, N) of a product or (N, C, *taps) of a convolution."""
    node = pattern.product
    integers, scale = (constants.tensor(v) for v in (node.inputs[1], pattern.weight_scale))
    if integers is None or scale is None or scale.dtype != ir.DataType.FLOAT:
        return None
    if integers.dtype not in (ir.DataType.INT8, ir.DataType.UINT8):
        return None
    shape = tuple(int(size) for size in integers.shape.numpy())
    is_matrix = node.op_type == "MatMulInteger"
    if is_matrix and len(shape) != 2:
        return None
    given = Place(node, 3).value
    zero = constants.array(given)
    if given is not None and zero is None:
        return None
    scales = scale.numpy()
    axis = None if scales.size == 1 else 1
    if axis is not None and (not is_matrix or scales.shape != (shape[1],)):
        return None
    if zero is not None and zero.size not in (1, scales.size):
        return None
    zeros = None if zero is None else spread(zero, scales.shape)
    return Affine(integers.numpy(), scales, zeros, axis)
