"""Networks that work step by step: their states are inputs and outputs of the model."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

UNITS, FEATURES = 6, 3
# Units 3 to 5 are copies of 0 to 2.
COPIES = np.arange(UNITS) % 3
GATES = {"LSTM": 4, "GRU": 3}


def _gates(rng: np.random.Generator, count: int, *shape: int) -> np.ndarray:
    found = rng.standard_normal((count, 3, *shape))[:, COPIES]
    return (found.reshape(count * UNITS, *shape) / 2).astype(np.float32)


def layer(op: str = "LSTM") -> onnx.ModelProto:
    """One step of a layer, with a state (states, batch, UNITS) for all that it begins with."""
    rng, count = np.random.default_rng(0), 2 if op == "LSTM" else 1
    gates = GATES[op]
    arrays = {
        "W": _gates(rng, gates, FEATURES)[None],
        "R": _gates(rng, gates, UNITS)[None],
        "B": _gates(rng, 2 * gates).reshape(1, -1),
        "last": rng.standard_normal((UNITS, 2)).astype(np.float32),
        "zero": np.array([0]),
        "one": np.array([1]),
        "two": np.array([2]),
    }
    first = ["zero", "one", "two"]
    cut = [
        helper.make_node("Slice", ["state", *first[k : k + 2], "zero"], [f"begin{k}"], f"begin{k}")
        for k in range(count)
    ]
    ends = [f"end{k}" for k in range(count)]
    begins = [f"begin{k}" for k in range(count)]
    nodes = [
        helper.make_node("Unsqueeze", ["x", "zero"], ["steps"], "steps"),
        *cut,
        helper.make_node(
            op, ["steps", "W", "R", "B", "", *begins], ["", *ends], "layer", hidden_size=UNITS
        ),
        helper.make_node("Squeeze", ["end0", "zero"], ["flat"], "flat"),
        helper.make_node("MatMul", ["flat", "last"], ["y"], "last"),
        helper.make_node("Concat", ends, ["next"], "next", axis=0),
    ]
    return _model(nodes, arrays, [count, "n", UNITS])


def written_out() -> onnx.ModelProto:
    """One step of an LSTM whose cell is written out, with a state (batch, UNITS, 2)."""
    rng = np.random.default_rng(0)
    arrays = {
        "W": _gates(rng, 4, FEATURES).T.copy(),
        "R": _gates(rng, 4, UNITS).T.copy(),
        "B": _gates(rng, 4),
        "last": rng.standard_normal((UNITS, 2)).astype(np.float32),
        "first": np.array(0),
        "second": np.array(1),
        "axis": np.array([2]),
    }
    nodes = [
        helper.make_node("Gather", ["state", "first"], ["h"], "hidden", axis=2),
        helper.make_node("Gather", ["state", "second"], ["c"], "cell", axis=2),
        helper.make_node("MatMul", ["x", "W"], ["read"], "read"),
        helper.make_node("MatMul", ["h", "R"], ["recalled"], "recalled"),
        helper.make_node("Add", ["read", "recalled"], ["sum"], "sum"),
        helper.make_node("Add", ["sum", "B"], ["gates"], "gates"),
        helper.make_node("Split", ["gates"], ["i", "f", "g", "o"], "split", axis=1),
        *(helper.make_node("Sigmoid", [k], [f"s{k}"], f"sigmoid_{k}") for k in "ifo"),
        helper.make_node("Tanh", ["g"], ["tg"], "tanh_g"),
        helper.make_node("Mul", ["sf", "c"], ["kept"], "kept"),
        helper.make_node("Mul", ["si", "tg"], ["new"], "new"),
        helper.make_node("Add", ["kept", "new"], ["c1"], "cell_next"),
        helper.make_node("Tanh", ["c1"], ["tc"], "tanh_c"),
        helper.make_node("Mul", ["so", "tc"], ["h1"], "hidden_next"),
        helper.make_node("MatMul", ["h1", "last"], ["y"], "last"),
        helper.make_node("Unsqueeze", ["h1", "axis"], ["h2"], "turned_h"),
        helper.make_node("Unsqueeze", ["c1", "axis"], ["c2"], "turned_c"),
        helper.make_node("Concat", ["h2", "c2"], ["next"], "next", axis=2),
    ]
    return _model(nodes, arrays, ["n", UNITS, 2])


def _model(
    nodes: list[onnx.NodeProto], arrays: dict[str, np.ndarray], state: list[int | str]
) -> onnx.ModelProto:
    sizes = {"x": ["n", FEATURES], "state": state, "y": ["n", 2], "next": state}
    kinds = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, size)
        for name, size in sizes.items()
    }
    graph = helper.make_graph(
        nodes,
        "stepwise",
        [kinds["x"], kinds["state"]],
        [kinds["y"], kinds["next"]],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model
