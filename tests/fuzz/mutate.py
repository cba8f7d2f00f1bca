"""Changing a model at random, in its bytes or in its meaning, so that it is still nearly one."""

from __future__ import annotations

import random
from collections.abc import Callable

import onnx
from google.protobuf.message import DecodeError

# Numbers at which sizes, axes and offsets go wrong.
NUMBERS = (0, 1, -1, 2, 3, 4, 7, 8, 127, 2**15, 2**31 - 1, 2**31, -(2**31), 2**40, 2**62, -(2**62))
OPERATORS = (
    *("Add", "BatchNormalization", "Cast", "Clip", "Concat", "Constant", "ConstantOfShape", "Conv"),
    *("ConvTranspose", "Dropout", "Expand", "Flatten", "Gather", "Gemm", "GroupNormalization"),
    *("Identity", "LayerNormalization", "LSTM", "MatMul", "Mul", "PRelu", "Pad", "Relu"),
    *("Reshape", "Resize", "Shape", "Slice", "Softmax", "Split", "Squeeze", "Tile", "Transpose"),
    *(
        "Unsqueeze",
        "If",
        "Loop",
        "QLinearConv",
        "DequantizeLinear",
        "DepthToSpace",
        "NoSuchOperator",
    ),
)
TEXTS = ("", "x", "a\nb", "\x1b[2J", "<script>", "../../etc/passwd", "é", "0" * 300)

Mutation = Callable[[onnx.ModelProto, random.Random], None]


def mutated(data: bytes, seed: int) -> bytes:
    """Return a model's bytes after a few random changes; the same for the same seed."""
    rng = random.Random(seed)
    try:
        model = onnx.load_from_string(data)
    except DecodeError:
        return _flipped(data, rng)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        rng.choice(MUTATIONS)(model, rng)
    data = model.SerializeToString()
    return _flipped(data, rng) if rng.random() < 0.2 else data


def _flipped(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 2, 8, 50)) if data else 0):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    if rng.random() < 0.1:
        del changed[rng.randrange(len(changed) + 1) :]
    return bytes(changed)


def _node(model: onnx.ModelProto, rng: random.Random) -> onnx.NodeProto:
    return rng.choice(model.graph.node) if model.graph.node else onnx.NodeProto()


def _tensor(model: onnx.ModelProto, rng: random.Random) -> onnx.TensorProto:
    held = [a.t for node in model.graph.node for a in node.attribute if a.HasField("t")]
    found = [*model.graph.initializer, *held]
    return rng.choice(found) if found else onnx.TensorProto()


def _names(model: onnx.ModelProto) -> list[str]:
    found = [name for node in model.graph.node for name in (*node.input, *node.output)]
    found += [tensor.name for tensor in model.graph.initializer]
    return [*found, "", "nowhere"]


def _operator(model: onnx.ModelProto, rng: random.Random) -> None:
    _node(model, rng).op_type = rng.choice(OPERATORS)


def _wire(model: onnx.ModelProto, rng: random.Random) -> None:
    node, names = _node(model, rng), _names(model)
    ends = rng.choice((node.input, node.output))
    if ends and rng.random() < 0.7:
        ends[rng.randrange(len(ends))] = rng.choice(names)
    elif ends and rng.random() < 0.5:
        ends.pop()
    else:
        ends.append(rng.choice(names))


def _attribute(model: onnx.ModelProto, rng: random.Random) -> None:
    node = _node(model, rng)
    if not node.attribute or rng.random() < 0.2:
        name = rng.choice(("axis", "perm", "group", "axes", "transB", "value", "pads", "to"))
        kind = rng.choice((onnx.AttributeProto.INT, onnx.AttributeProto.INTS))
        node.attribute.add(name=name, type=kind, i=rng.choice(NUMBERS))
        return
    attribute = rng.choice(node.attribute)
    change = rng.randrange(5)
    if change == 0:
        node.attribute.remove(attribute)
    elif change == 1:
        attribute.i = rng.choice(NUMBERS)
    elif change == 2 and attribute.ints:
        attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(NUMBERS)
    elif change == 3:
        attribute.type = rng.choice(onnx.AttributeProto.AttributeType.values())
    else:
        attribute.ints.append(rng.choice(NUMBERS))


def _shape(model: onnx.ModelProto, rng: random.Random) -> None:
    dims = _tensor(model, rng).dims
    if dims and rng.random() < 0.6:
        dims[rng.randrange(len(dims))] = rng.choice(NUMBERS)
    elif dims and rng.random() < 0.5:
        dims.pop()
    else:
        dims.append(rng.choice(NUMBERS))


def _type(model: onnx.ModelProto, rng: random.Random) -> None:
    _tensor(model, rng).data_type = rng.choice(onnx.TensorProto.DataType.values())


def _weights(model: onnx.ModelProto, rng: random.Random) -> None:
    tensor = _tensor(model, rng)
    data = bytearray(tensor.raw_data)
    if not data or rng.random() < 0.2:
        tensor.ClearField("raw_data")
        return
    for _ in range(rng.choice((1, 4, len(data)))):
        data[rng.randrange(len(data))] = rng.choice((0, 127, 128, 255))
    tensor.raw_data = bytes(data)


def _external(model: onnx.ModelProto, rng: random.Random) -> None:
    tensor = _tensor(model, rng)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key in ("location", "offset", "length"):
        value = rng.choice(TEXTS) if key == "location" else str(rng.choice(NUMBERS))
        tensor.external_data.add(key=key, value=value)


def _nodes(model: onnx.ModelProto, rng: random.Random) -> None:
    nodes = model.graph.node
    if not nodes:
        return
    change, place = rng.randrange(3), rng.randrange(len(nodes))
    if change == 0:
        del nodes[place]
    elif change == 1:
        nodes.insert(rng.randrange(len(nodes) + 1), nodes[place])
    else:
        node = onnx.NodeProto()
        node.CopyFrom(nodes[place])
        del nodes[place]
        nodes.insert(rng.randrange(len(nodes) + 1), node)


def _declared(model: onnx.ModelProto, rng: random.Random) -> None:
    values = [*model.graph.input, *model.graph.output, *model.graph.value_info]
    if not values:
        return
    dims = rng.choice(values).type.tensor_type.shape.dim
    if dims and rng.random() < 0.7:
        rng.choice(dims).dim_value = rng.choice(NUMBERS)
    else:
        dims.add().dim_param = rng.choice(TEXTS)


def _name(model: onnx.ModelProto, rng: random.Random) -> None:
    rng.choice((_node(model, rng), _tensor(model, rng), model.graph)).name = rng.choice(TEXTS)


def _subgraph(model: onnx.ModelProto, rng: random.Random) -> None:
    """Put the whole graph inside one of its own nodes."""
    inner = onnx.GraphProto()
    inner.CopyFrom(model.graph)
    attribute = _node(model, rng).attribute.add(name="body", type=onnx.AttributeProto.GRAPH)
    attribute.g.CopyFrom(inner)


def _versions(model: onnx.ModelProto, rng: random.Random) -> None:
    model.ir_version = rng.choice((3, 4, 8, 13, *NUMBERS))
    if model.opset_import and rng.random() < 0.5:
        model.opset_import[0].version = rng.choice((1, 6, 11, 13, 17, 21, 99))


MUTATIONS: tuple[Mutation, ...] = (
    *(_operator, _wire, _wire, _attribute, _attribute, _shape, _shape, _type, _weights),
    *(_external, _nodes, _declared, _name, _subgraph, _versions),
)
