"""Adapters are found by operator and domain, and one more is all that a new operator needs."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from nmcore_onnx.trace import operators
from nmcore_onnx.trace.operators import registry
from nmcore_onnx.trace.operators.matmul import MatMul


def node(op_type, domain=""):
    return ir.node(op_type, [ir.Value(name="x"), ir.Value(name="w")], domain=domain)


@pytest.mark.parametrize("domain", ["", "ai.onnx"])
def test_an_operator_of_onnx_is_found(domain):
    assert isinstance(operators.weighted(node("MatMul", domain)), MatMul)


def test_an_operator_of_somebody_else_is_no_namesake():
    assert operators.find(node("MatMul", "own")) is None


@pytest.mark.parametrize("op_type", ["Attention", "Relu"])
def test_an_operator_whose_channels_stay_is_no_weighted_one(op_type):
    with pytest.raises(TypeError, match=op_type):
        operators.weighted(node(op_type))


def test_every_adapter_has_a_name_of_its_own():
    assert len(registry._BY_NAME) == len(registry._ALL)
