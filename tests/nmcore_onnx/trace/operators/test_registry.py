"""Adapters are found by operator and domain, and one more is all that a new operator needs."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

import nmcore
from nmcore_onnx import backend
from nmcore_onnx.trace import operators
from nmcore_onnx.trace.operators import registry
from nmcore_onnx.trace.operators.matmul import MatMul
from nmcore_onnx.trace.operators.recurrent import Recurrent


def node(op_type, domain=""):
    return ir.node(op_type, [ir.Value(name="x"), ir.Value(name="w")], domain=domain)


@pytest.mark.parametrize("domain", ["", "ai.onnx"])
def test_an_operator_of_onnx_is_found(domain):
    assert isinstance(operators.weighted(node("MatMul", domain)), MatMul)


def test_an_operator_of_somebody_else_is_no_namesake():
    assert operators.find(node("MatMul", "own")) is None


@pytest.mark.parametrize("op_type", ["LSTM", "Relu"])
def test_an_operator_whose_channels_stay_is_no_weighted_one(op_type):
    with pytest.raises(TypeError, match=op_type):
        operators.weighted(node(op_type))


def test_every_adapter_has_a_name_of_its_own():
    assert len(registry._BY_NAME) == len(registry._ALL)


class ReadingLstm(operators.Weighted):
    """An LSTM whose weight W (1, 4 H, I) reads channels of the data; its own stay."""

    op_type = "LSTM"
    rank = 3
    bias_input = 3
    output_axis = None

    def axes(self, node):
        return 1, 2

    def input_axis(self, node):
        return 2

    def follow(self, node, trace):
        self.consume(node, trace)
        trace.leave(node, "its channels stay")

    def bias(self, node, width):
        return super().bias(node, 2 * width)[:width]

    def add_bias(self, node, addition):
        return super().add_bias(node, np.concatenate([addition, 0 * addition])[None])

    def positions(self, node, shapes):
        return shapes[node.inputs[0].name][0]

    def unfold(self, build, node, index, value, length, step=1):
        return build.every(build.rows(value, 2, 3, length), step)

    def product(self, build, node, index, output):
        weight = node.inputs[index]
        order = build.node("Transpose", weight, perm=[0, 2, 1])
        return build.node("MatMul", node.inputs[0], order)

    def output_rows(self, build, slot, value, chosen, step=1):
        return build.every(build.rows(value, 2, 3, len(chosen)), step)

    def macs(self, node, inputs, output):
        return Recurrent("LSTM").macs(node, inputs, output)

    def macs_of(self, node, index, inputs, output):
        steps = self.macs(node, inputs, output)
        sizes = [np.prod(inputs[k]) for k in (1, 2)]
        return int(steps * sizes[index - 1] / sum(sizes)) if index in (1, 2) else 0


def recurrent(hidden=6):
    """A product, an activation, an LSTM, on (steps, batch, features)."""
    rng = np.random.default_rng(0)
    first = rng.standard_normal((4, 8)).astype(np.float32)
    first[:, 4:] = 2 * first[:, :4]  # channels that can be merged without loss
    arrays = {
        "first": first,
        "W": rng.standard_normal((1, 4 * hidden, 8)).astype(np.float32),
        "R": rng.standard_normal((1, 4 * hidden, hidden)).astype(np.float32),
        "B": rng.standard_normal((1, 8 * hidden)).astype(np.float32),
    }
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "first"], ["product"], name="product"),
            helper.make_node("Relu", ["product"], ["active"], name="relu"),
            helper.make_node(
                "LSTM", ["active", "W", "R", "B"], ["y"], name="lstm", hidden_size=hidden
            ),
        ],
        "recurrent",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [5, 2, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [5, 1, 2, hidden])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def test_without_an_adapter_that_follows_them_channels_stay():
    graph = backend.open(recurrent())
    assert not graph.groups
    assert [(each.node, each.reason) for each in graph.declined][-1] == (
        "lstm",
        "a recurrent layer: its state feeds back into every channel",
    )


@pytest.mark.parametrize("method", ["merge", "ridge", "moments"])
def test_a_new_operator_is_one_adapter(monkeypatch, method):
    """Traced, counted, measured, rewritten and proven, with nothing but the adapter."""
    monkeypatch.setitem(registry._BY_NAME, ("", "LSTM"), ReadingLstm())
    result = nmcore.compress(recurrent(), ratio=0.5, method=method, verify=True)
    arrays = {
        each.name: each.dims
        for each in onnx.load_from_string(result.graph.serialize()).graph.initializer
    }
    assert list(arrays["first"]) == [4, 4]
    assert list(arrays["W"]) == [1, 24, 4]
    assert result.report.after.macs < result.report.before.macs
