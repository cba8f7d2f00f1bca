"""Networks with recurrent layers in all their forms, with units that are copies of others."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
# How many activations an operator has for each direction.
ACTIVATIONS = {"LSTM": 3, "GRU": 2, "RNN": 1}
STEPS, BATCH, FEATURES = 5, 7, 3


@dataclass(frozen=True)
class Form:
    """One form of a recurrent layer and of what stands around it.

    Attributes
    ----------
    ops : tuple of str
        The layers, each of which reads the one before.
    layout : int
        1: data and states begin with the batch.
    initial : str
        What it begins with: ``absent``, ``zero`` (made for the batch), ``constant``, ``repeated``
        (a constant for each of the batch), or ``encoded`` (by a product with channels of its own).
    read : str
        Which output of the last layer is read: ``Y`` by a MatMul, ``Y_h`` or ``Y_c`` by a Gemm.
    before : bool
        Whether a product makes its data, whose channels can go as well.
    """

    ops: tuple[str, ...] = ("LSTM",)
    direction: str = "forward"
    layout: int = 0
    reset_after: bool = False
    peepholes: bool = False
    bias: bool = True
    initial: str = "absent"
    activations: tuple[str, ...] = ()
    lengths: bool = False
    read: str = "Y"
    before: bool = False
    opset: int = 17
    classes: tuple[int, ...] = (0, 1, 2, 0, 1, 2)
    seed: int = 0


@dataclass
class _Writer:
    """Nodes and constants so far."""

    form: Form
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.form.seed)
        self.owners = np.array(self.form.classes)
        self.directions = 1 + (self.form.direction == "bidirectional")

    def constant(self, name: str, array: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def node(self, op: str, inputs: list[str], name: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(op, inputs, [f"{name}_out"], name, **attributes))
        return f"{name}_out"

    def copies(self, *shape: int, runs: int = 1) -> np.ndarray:
        """(directions, runs * H, ...) in which units of one class have equal entries."""
        distinct = self.owners.max() + 1
        numbers = self.rng.standard_normal((self.directions, runs, distinct, *shape))
        numbers = numbers[:, :, self.owners] / np.sqrt(np.prod(shape, initial=1.0))
        return numbers.reshape(self.directions, -1, *shape).astype(np.float32)


def network(form: Form) -> onnx.ModelProto:
    """x (batch, steps, features), one or two recurrent layers, and a product that reads them."""
    writer, width = _Writer(form), FEATURES
    value = "x"
    if not form.layout:
        value = writer.node("Transpose", ["x"], "steps_first", perm=[1, 0, 2])
    if form.before:
        value, width = writer.node("MatMul", [value, _first(writer)], "first"), 4
    outputs: list[str] = []
    for number, op in enumerate(form.ops):
        outputs = _layer(writer, op, value, width, number)
        width = len(form.classes) * writer.directions
        if number + 1 < len(form.ops) or form.read == "Y":
            value = _flat(writer, outputs[0], number)
    last = writer.rng.standard_normal((width, 4)).astype(np.float32)
    weight = writer.constant("last_weight", last)
    if form.read == "Y":
        return _model(writer, writer.node("MatMul", [value, weight], "last"))
    state = outputs[1 if form.read == "Y_h" else 2]
    if not form.layout:
        state = writer.node("Transpose", [state], "turned", perm=[1, 0, 2])
    shape = writer.constant("flat", np.array([0, width]))
    value = writer.node("Reshape", [state, shape], "flattened")
    return _model(writer, writer.node("Gemm", [value, weight], "last"))


def _first(writer: _Writer) -> str:
    weight = writer.rng.standard_normal((FEATURES, 4)).astype(np.float32)
    weight[:, 2:] = weight[:, :2]
    return writer.constant("first_weight", weight)


def _layer(writer: _Writer, op: str, value: str, width: int, number: int) -> list[str]:
    form, gates, units = writer.form, GATES[op], len(writer.form.classes)
    name = f"layer{number}"
    inputs = [
        value,
        writer.constant(f"{name}_W", writer.copies(width, runs=gates)),
        writer.constant(f"{name}_R", writer.copies(units, runs=gates)),
        writer.constant(f"{name}_B", writer.copies(runs=2 * gates)) if form.bias else "",
    ]
    inputs.append("lengths" if form.lengths else "")
    states = ("h", "c") if op == "LSTM" else ("h",)
    inputs += [_initial(writer, f"{name}_{state}") for state in states]
    if form.peepholes and op == "LSTM":
        inputs.append(writer.constant(f"{name}_P", writer.copies(runs=3)))
    attributes: dict[str, object] = {"hidden_size": units, "direction": form.direction}
    if form.layout:
        attributes["layout"] = 1
    if form.activations:
        attributes["activations"] = form.activations[: ACTIVATIONS[op]] * writer.directions
    if op == "GRU":
        attributes["linear_before_reset"] = int(form.reset_after)
    wanted = {"Y": 0, "Y_h": 1, "Y_c": 2}[form.read]
    whole = wanted == 0 or number + 1 < len(form.ops)
    outputs = [f"{name}_Y" if whole else ""]
    outputs += [f"{name}_state{k}" for k in range(wanted)]
    writer.nodes.append(helper.make_node(op, inputs, outputs, name, **attributes))
    return outputs


def _initial(writer: _Writer, name: str) -> str:
    form, units = writer.form, len(writer.form.classes)
    batch = 0 if form.layout else 1
    shape = [writer.directions, units]
    shape.insert(batch, BATCH)
    if form.initial == "absent":
        return ""
    if form.initial == "zero":
        size = writer.constant(f"{name}_size", np.array(shape))
        return writer.node("ConstantOfShape", [size], f"{name}_zero")
    if form.initial == "constant":
        rows = [writer.copies() for _ in range(BATCH)]
        return writer.constant(name, np.stack(rows, axis=batch))
    if form.initial == "repeated":
        row = writer.constant(name, np.expand_dims(writer.copies(), batch))
        times = writer.constant(f"{name}_times", np.where(np.arange(3) == batch, BATCH, 1))
        return writer.node("Tile", [row, times], f"{name}_repeated")
    return _encoded(writer, name)


def _encoded(writer: _Writer, name: str) -> str:
    """A state that a product makes of the data, the same for each direction."""
    axis = 1 if writer.form.layout else 0
    data = "x" if writer.form.layout else "steps_first_out"
    mean = writer.node("ReduceMean", [data], f"{name}_mean", axes=[axis], keepdims=1)
    weight = writer.constant(f"{name}_weight", np.ascontiguousarray(writer.copies(FEATURES)[0].T))
    made = writer.node("MatMul", [mean, weight], name)
    if writer.directions == 1:
        return made
    return writer.node("Concat", [made, made], f"{name}_both", axis=axis)


def _flat(writer: _Writer, value: str, number: int) -> str:
    """Y as (steps, batch, directions * H), batch first where the layout is 1, as exporters do."""
    layout, name = writer.form.layout, f"flat{number}"
    if writer.directions == 1:
        axes = _once(writer, "directions", np.array([2 if layout else 1]))
        return writer.node("Squeeze", [value, axes], name)
    if not layout:
        value = writer.node("Transpose", [value], f"turn{number}", perm=[0, 2, 1, 3])
    return writer.node("Reshape", [value, _once(writer, "rows", np.array([0, 0, -1]))], name)


def _once(writer: _Writer, name: str, array: np.ndarray) -> str:
    known = [each.name for each in writer.constants]
    return name if name in known else writer.constant(name, array)


def _model(writer: _Writer, result: str) -> onnx.ModelProto:
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [BATCH, STEPS, FEATURES])]
    if writer.form.lengths:
        inputs.append(helper.make_tensor_value_info("lengths", TensorProto.INT32, [BATCH]))
    graph = helper.make_graph(
        writer.nodes,
        "recurrent",
        inputs,
        [helper.make_tensor_value_info(result, TensorProto.FLOAT, None)],
        writer.constants,
    )
    opsets = [helper.make_opsetid("", writer.form.opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    model.graph.output[0].CopyFrom(inferred.graph.output[0])
    onnx.checker.check_model(model, full_check=True)
    return model


def feeds(form: Form, seed: int = 1) -> dict[str, np.ndarray]:
    """Inputs for a network."""
    rng = np.random.default_rng(seed)
    found = {"x": rng.standard_normal((BATCH, STEPS, FEATURES)).astype(np.float32)}
    if form.lengths:
        found["lengths"] = rng.integers(1, STEPS + 1, BATCH).astype(np.int32)
    return found


def steps_first(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network with layouts of 0: those are the only ones that onnxruntime runs."""
    turned = onnx.ModelProto()
    turned.CopyFrom(model)
    del turned.graph.node[:]
    for node in model.graph.node:
        before, own, behind = _turned(node)
        turned.graph.node.extend([*before, own, *behind])
    return turned


def _turned(
    node: onnx.NodeProto,
) -> tuple[list[onnx.NodeProto], onnx.NodeProto, list[onnx.NodeProto]]:
    """A node of layout 0, and what turns its inputs and outputs."""
    own = onnx.NodeProto()
    own.CopyFrom(node)
    kept = [each for each in node.attribute if each.name != "layout"]
    if len(kept) == len(node.attribute):
        return [], own, []
    del own.attribute[:]
    own.attribute.extend(kept)
    before, behind = [], []
    for index in (0, 5, 6):
        if index < len(own.input) and own.input[index]:
            name, own.input[index] = own.input[index], f"{node.name}_turned{index}"
            before.append(helper.make_node("Transpose", [name], [own.input[index]], perm=[1, 0, 2]))
    for index, name in enumerate(node.output):
        if name:
            own.output[index] = f"{node.name}_straight{index}"
            perm = [1, 0, 2] if index else [2, 0, 1, 3]
            behind.append(helper.make_node("Transpose", [own.output[index]], [name], perm=perm))
    return before, own, behind
