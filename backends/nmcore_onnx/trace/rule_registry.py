"""Which rule an operator has."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from nmcore_onnx.ir import constants
from nmcore_onnx.trace.context import Trace

Rule = Callable[[ir.Node, Trace], None]

_RULES: dict[tuple[str, str], Rule] = {}


def rule(*op_types: str, domain: str = "") -> Callable[[Rule], Rule]:
    """Register a function as the rule of one or more operators."""

    def register(function: Rule) -> Rule:
        for op_type in op_types:
            _RULES[domain, op_type] = function
        return function

    return register


def rule_for(node: ir.Node) -> Rule:
    """The rule of a node's operator; without one its channels stay."""
    domain = "" if node.domain == "ai.onnx" else node.domain
    return _RULES.get((domain, node.op_type), not_understood)


def not_understood(node: ir.Node, trace: Trace) -> None:
    """Leave everything alone that reaches an operator without a rule."""
    why = "an operator that nmcore does not follow"
    trace.decline_inputs(node, why)
    shapes = [constants.shape(value) for value in node.inputs if constants.is_float(value)]
    if any(len(shape or ()) > 1 for shape in shapes):
        trace.leave(node, why)
