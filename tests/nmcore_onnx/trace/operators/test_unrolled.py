"""A recurrent cell that is written out: every step reads the same weights."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import nmcore
from nmcore.plan.plan import GroupPlan, Plan
from nmcore_onnx import backend

UNITS, FEATURES, STEPS = 6, 3, 4


def constants(initial: str) -> dict[str, np.ndarray]:
    """The weights of an LSTM cell whose units 3 to 5 are copies of 0 to 2, and its states."""
    rng = np.random.default_rng(0)
    copies = np.arange(UNITS) % 3

    def gates(*shape: int) -> np.ndarray:
        return rng.standard_normal((4, 3, *shape))[:, copies].reshape(4 * UNITS, *shape) / 2

    found = {"W": gates(FEATURES), "R": gates(UNITS), "B": gates(), "C": gates()}
    for name in ("h", "c"):
        state = rng.standard_normal((1, 3))[:, copies]
        found[name] = state if initial == "constant" else 0 * state
    found["last"] = rng.standard_normal((UNITS, 2))
    return {name: array.astype(np.float32) for name, array in found.items()}


def step(t: int, hidden: str, cell: str) -> tuple[list[onnx.NodeProto], str, str]:
    """One step of the cell: its nodes, and the names of its states."""
    nodes = []

    def node(op: str, inputs: list[str], *outputs: str, **attributes: object) -> str:
        name = f"{outputs[0]}{t}"
        named = [f"{each}{t}" for each in outputs]
        nodes.append(helper.make_node(op, inputs, named, name, **attributes))
        return name

    now = node("Gather", ["x", f"index{t}"], "now", axis=1)
    read = node("Gemm", [now, "W", "B"], "read", transB=1)
    recalled = node("Gemm", [hidden, "R", "C"], "recalled", transB=1)
    total = node("Add", [read, recalled], "total")
    node("Split", [total], "i", "f", "g", "o", axis=1)
    i, f, o = (node("Sigmoid", [f"{gate}{t}"], f"sigmoid_{gate}") for gate in "ifo")
    kept = node("Mul", [f, cell], "kept")
    new = node("Mul", [i, node("Tanh", [f"g{t}"], "tanh_g")], "new")
    cell = node("Add", [kept, new], "cell")
    return nodes, node("Mul", [o, node("Tanh", [cell], "tanh_c")], "hidden"), cell


def unrolled(initial: str) -> onnx.ModelProto:
    nodes: list[onnx.NodeProto] = []
    hidden, cell = "h", "c"
    for t in range(STEPS):
        more, hidden, cell = step(t, hidden, cell)
        nodes += more
    nodes.append(helper.make_node("MatMul", [hidden, "last"], ["y"], "last"))
    arrays = constants(initial) | {f"index{t}": np.array(t) for t in range(STEPS)}
    graph = helper.make_graph(
        nodes,
        "unrolled",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", STEPS, FEATURES])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    opsets = [helper.make_opsetid("", 13)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


@pytest.mark.parametrize("initial", ["zero", "constant"])
@pytest.mark.parametrize("method", ["merge", "moments"])
def test_copies_go_without_loss(initial, method):
    model, rng = unrolled(initial), np.random.default_rng(1)
    (group,) = backend.open(model).groups
    chosen = Plan((GroupPlan(group.name, UNITS, (0, 2, 4)),))
    data = {"data": rng.standard_normal((128, STEPS, FEATURES))} if method == "moments" else {}
    result = nmcore.compress(model, plan=chosen, method=method, verify=True, **data)
    small = result.graph.serialize()
    dims = {each.name: list(each.dims) for each in onnx.load_from_string(small).graph.initializer}
    assert (dims["W"], dims["R"], dims["h"]) == ([12, FEATURES], [12, 3], [1, 3])
    x = {"x": rng.standard_normal((5, STEPS, FEATURES)).astype(np.float32)}
    got, expected = (
        onnxruntime.InferenceSession(each).run(None, x)[0]
        for each in (small, model.SerializeToString())
    )
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
