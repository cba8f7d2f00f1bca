"""Networks with recurrent layers in all their forms, with units that are copies of others."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
# How many activations an operator has for each direction.
ACTIVATIONS = {"LSTM": 3, "GRU": 2, "RNN": 1}
STEPS, BATCH, FEATURES = 5, 2, 3


@dataclass(frozen=True)
class Form:
    """One form of a recurrent layer and of what stands around it.

    Attributes
    ----------
    initial : str
        What it begins with: ``absent``, ``zero`` (made for the batch), ``constant``, ``repeated``
        (a constant for each of the batch), or ``encoded`` (by a product with channels of its own).
    read : str
        Which output the next layer reads: ``Y``, ``Y_h`` or ``Y_c``.
    before : bool
        Whether a product makes its data, whose channels can go as well.
    """

    op: str = "LSTM"
    direction: str = "forward"
    layers: int = 1
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
    value = writer.node("Transpose", ["x"], "steps_first", perm=[1, 0, 2])
    if form.before:
        value, width = writer.node("MatMul", [value, _first(writer)], "first"), 4
    outputs: list[str] = []
    for number in range(form.layers):
        outputs = _layer(writer, value, width, number)
        value, width = outputs[0], len(form.classes) * writer.directions
        if number + 1 < form.layers or form.read == "Y":
            value = _flat(writer, value, number)
    if form.read == "Y":
        value = writer.node("Transpose", [value], "batch_first", perm=[1, 0, 2])
    else:
        state = outputs[1 if form.read == "Y_h" else 2]
        turned = writer.node("Transpose", [state], "turned", perm=[1, 0, 2])
        shape = writer.constant("flat", np.array([0, width]))
        value = writer.node("Reshape", [turned, shape], "flattened")
    last = writer.rng.standard_normal((width, 4)).astype(np.float32)
    result = writer.node("MatMul", [value, writer.constant("last_weight", last)], "last")
    return _model(writer, result)


def _first(writer: _Writer) -> str:
    weight = writer.rng.standard_normal((FEATURES, 4)).astype(np.float32)
    weight[:, 2:] = weight[:, :2]
    return writer.constant("first_weight", weight)


def _layer(writer: _Writer, value: str, width: int, number: int) -> list[str]:
    form, gates, units = writer.form, GATES[writer.form.op], len(writer.form.classes)
    name = f"layer{number}"
    weights = {
        "W": writer.copies(width, runs=gates),
        "R": writer.copies(units, runs=gates),
        "B": writer.copies(runs=2 * gates),
    }
    inputs = [value, *(writer.constant(f"{name}_{key}", each) for key, each in weights.items())]
    inputs[3] = inputs[3] if form.bias else ""
    inputs.append("lengths" if form.lengths else "")
    states = ("h", "c") if form.op == "LSTM" else ("h",)
    inputs += [_initial(writer, f"{name}_{state}") for state in states]
    if form.peepholes and form.op == "LSTM":
        inputs.append(writer.constant(f"{name}_P", writer.copies(runs=3)))
    attributes: dict[str, object] = {"hidden_size": units, "direction": form.direction}
    if form.activations:
        count = ACTIVATIONS[form.op] * writer.directions
        attributes["activations"] = [
            form.activations[k % len(form.activations)] for k in range(count)
        ]
    if form.op == "GRU":
        attributes["linear_before_reset"] = int(form.reset_after)
    wanted = {"Y": 0, "Y_h": 1, "Y_c": 2}[form.read]
    whole = wanted == 0 or number + 1 < form.layers
    outputs = [f"{name}_Y" if whole else ""]
    outputs += [f"{name}_state{k}" for k in range(wanted)]
    writer.nodes.append(helper.make_node(form.op, inputs, outputs, name, **attributes))
    return outputs


def _initial(writer: _Writer, name: str) -> str:
    form, units = writer.form, len(writer.form.classes)
    shape = np.array([writer.directions, BATCH, units])
    if form.initial == "absent":
        return ""
    if form.initial == "zero":
        size = writer.constant(f"{name}_size", shape)
        return writer.node("ConstantOfShape", [size], f"{name}_zero")
    if form.initial == "constant":
        rows = [writer.copies() for _ in range(BATCH)]
        return writer.constant(name, np.stack(rows, axis=1))
    if form.initial == "repeated":
        row = writer.constant(name, writer.copies()[:, None])
        times = writer.constant(f"{name}_times", np.array([1, BATCH, 1]))
        return writer.node("Tile", [row, times], f"{name}_repeated")
    weight = writer.copies(FEATURES)[0].T  # the same for each direction
    start = writer.node("ReduceMean", ["steps_first_out"], f"{name}_mean", axes=[0], keepdims=1)
    made = writer.node(
        "MatMul", [start, writer.constant(f"{name}_weight", np.ascontiguousarray(weight))], name
    )
    if writer.directions == 1:
        return made
    return writer.node("Concat", [made, made], f"{name}_both", axis=0)


def _flat(writer: _Writer, value: str, number: int) -> str:
    """(steps, directions, batch, H) as (steps, batch, directions * H), as exporters write it."""
    if writer.directions == 1:
        return writer.node("Squeeze", [value, _once(writer, "one", np.array([1]))], f"flat{number}")
    turned = writer.node("Transpose", [value], f"turn{number}", perm=[0, 2, 1, 3])
    return writer.node(
        "Reshape", [turned, _once(writer, "rows", np.array([0, 0, -1]))], f"flat{number}"
    )


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
        found["lengths"] = np.array([STEPS, STEPS - 2], np.int32)
    return found
