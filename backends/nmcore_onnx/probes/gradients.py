"""Derivatives of a part of a graph, appended to it as nodes: reverse mode.

A rule for each operator tells how the derivative of its output becomes that of one of its inputs.
What has no rule cannot be differentiated. The derivatives of weights are not told here: they follow
from that of a layer's output and from what the layer reads.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from nmcore_onnx.ir import constants
from nmcore_onnx.ir.builder import Builder
from nmcore_onnx.ir.nodes import attribute, flag
from nmcore_onnx.ir.types import Shapes

# Since when all operators that are used here take what they are given.
OPSET = 13


@dataclass(frozen=True, eq=False)
class Step:
    """One input of a node, and the derivative of the node's output.

    Attributes
    ----------
    build : Builder
        Appends nodes.
    node : ir.Node
        The node.
    index : int
        Which of its inputs.
    given : ir.Value
        The derivative with respect to the node's output.
    shapes : mapping of value name to shape
        As far as they are known.
    """

    build: Builder
    node: ir.Node
    index: int
    given: ir.Value
    shapes: Shapes

    @property
    def input(self) -> ir.Value:
        """What the derivative is asked for."""
        value = self.node.inputs[self.index]
        assert value is not None
        return value

    @property
    def output(self) -> ir.Value:
        """What the node gives."""
        return self.node.outputs[0]


def depending(nodes: Sequence[ir.Node], values: Collection[ir.Value]) -> set[ir.Value]:
    """The values that depend on some others, these included; nodes are in topological order."""
    found = set(values)
    for node in nodes:
        if any(value in found for value in node.inputs):
            found.update(node.outputs)
    return found


def is_differentiable(
    nodes: Sequence[ir.Node], values: Collection[ir.Value], shapes: Shapes
) -> bool:
    """Whether derivatives with respect to values can be told, where nodes depend on them."""
    found = depending(nodes, values)
    return all(
        _has_rule(node, index, shapes)
        for node in nodes
        for index, value in enumerate(node.inputs)
        if value in found
    )


def backpropagate(
    build: Builder,
    nodes: Sequence[ir.Node],
    values: Collection[ir.Value],
    output: ir.Value,
    given: ir.Value,
    shapes: Shapes,
) -> dict[ir.Value, ir.Value]:
    """The derivatives with respect to some values, and to all between them and an output.

    Parameters
    ----------
    nodes : sequence of ir.Node
        What lies between, in topological order; see :func:`is_differentiable`.
    values : collection of ir.Value
        What derivatives are wanted of.
    output, given : ir.Value
        A value that the nodes make, and the derivative with respect to it.

    Returns
    -------
    dict of ir.Value to ir.Value
        A value and its derivative, of the same shape.
    """
    needed = depending(nodes, values)
    found = {output: given}
    for node in reversed(nodes):
        if node.outputs[0] not in found:
            continue
        for index, value in enumerate(node.inputs):
            if value is None or value not in needed:
                continue
            step = Step(build, node, index, found[node.outputs[0]], shapes)
            part = _RULES[node.op_type](step)
            found[value] = build.node("Add", found[value], part) if value in found else part
    return found


def _has_rule(node: ir.Node, index: int, shapes: Shapes) -> bool:
    """Whether the derivative of an input can be told."""
    if node.op_type not in _RULES or node.domain not in ("", "ai.onnx"):
        return False
    if node.op_type in ("Add", "Sub", "Mul"):
        return _repeated(node, index, shapes) is not None
    if node.op_type == "Conv":
        return index == 0 and _begins(node, shapes) is not None
    if node.op_type == "Gemm":
        return index == 0 and not flag(node, "transA") and attribute(node, "alpha") == 1
    if node.op_type == "BatchNormalization":
        known = all(constants.array(value) is not None for value in node.inputs[1:])
        return index == 0 and known and shapes.get(node.outputs[0].name or "") is not None
    return index == 0


def _repeated(node: ir.Node, index: int, shapes: Shapes) -> list[int] | None:
    """The axes of an input of length 1 that are broadcast; None where that is not known."""
    value = node.inputs[index]
    one, whole = (
        shapes.get(each.name or "") if each is not None else None
        for each in (value, node.outputs[0])
    )
    if one is None or whole is None or len(one) != len(whole):
        return None
    return [
        axis for axis, (mine, all_) in enumerate(zip(one, whole, strict=True)) if mine == 1 != all_
    ]


def _sum(step: Step, value: ir.Value) -> ir.Value:
    """Sum over the axes that an input is broadcast along."""
    axes = _repeated(step.node, step.index, step.shapes)
    return (
        step.build.node("ReduceSum", value, step.build.ints(*axes), keepdims=1) if axes else value
    )


def _add(step: Step) -> ir.Value:
    return _sum(step, step.given)


def _sub(step: Step) -> ir.Value:
    return _sum(step, step.given if step.index == 0 else step.build.node("Neg", step.given))


def _mul(step: Step) -> ir.Value:
    other = step.node.inputs[1 - step.index]
    assert other is not None
    return _sum(step, step.build.node("Mul", step.given, other))


def _relu(step: Step) -> ir.Value:
    return step.build.node("Mul", step.given, step.build.node("Sign", step.output))


def _clip(step: Step) -> ir.Value:
    """What is not clipped passes."""
    passed = step.build.node("Equal", step.input, step.output)
    passed = step.build.node("Cast", passed, to=int(ir.DataType.FLOAT))
    return step.build.node("Mul", step.given, passed)


def _leaky_relu(step: Step) -> ir.Value:
    slope = step.build.constant(np.float32(attribute(step.node, "alpha", 0.01)))
    positive = step.build.node("Greater", step.input, step.build.constant(np.float32(0)))
    return step.build.node("Where", positive, step.given, step.build.node("Mul", step.given, slope))


def _sigmoid(step: Step) -> ir.Value:
    """With y (1 - y)."""
    rest = step.build.node("Sub", step.build.constant(np.float32(1)), step.output)
    return step.build.node("Mul", step.given, step.build.node("Mul", step.output, rest))


def _tanh(step: Step) -> ir.Value:
    """With 1 - y^2."""
    square = step.build.node("Mul", step.output, step.output)
    rest = step.build.node("Sub", step.build.constant(np.float32(1)), square)
    return step.build.node("Mul", step.given, rest)


def _same(step: Step) -> ir.Value:
    return step.given


def _reshaped(step: Step) -> ir.Value:
    return step.build.node("Reshape", step.given, step.build.node("Shape", step.input))


def _global_average(step: Step) -> ir.Value:
    """Each position has its share."""
    sizes = [step.build.node("Size", value) for value in (step.input, step.given)]
    whole, part = (step.build.node("Cast", each, to=int(ir.DataType.FLOAT)) for each in sizes)
    share = step.build.node("Div", step.build.node("Mul", step.given, part), whole)
    return step.build.node("Expand", share, step.build.node("Shape", step.input))


def _batch_norm(step: Step) -> ir.Value:
    """Each channel is multiplied by its scale."""
    gamma, var = (constants.array(step.node.inputs[index]) for index in (1, 4))
    assert gamma is not None
    assert var is not None
    gain = gamma / np.sqrt(var + attribute(step.node, "epsilon", 1e-5))
    rank = len(step.shapes[step.output.name or ""])
    factor = gain.astype(np.float32).reshape(-1, *[1] * (rank - 2))
    return step.build.node("Mul", step.given, step.build.constant(factor))


def _gemm(step: Step) -> ir.Value:
    weight = step.node.inputs[1]
    assert weight is not None
    return step.build.node("Gemm", step.given, weight, transB=int(not flag(step.node, "transB")))


def _conv(step: Step) -> ir.Value:
    """A convolution with the filters turned round, where no position is skipped; else a transposed
    one with the same filters, without what was padded.
    """
    pads = _turned_pads(step)
    return _strided(step) if pads is None else _turned(step, pads)


def _turned(step: Step, pads: Sequence[int]) -> ir.Value:
    """Runtimes take far less time for it than for a transposed convolution."""
    build, node = step.build, step.node
    weight = node.inputs[1]
    assert weight is not None
    axes = range(2, 2 + len(pads) // 2)
    groups, sizes = _groups(node), build.node("Shape", weight)
    size = {name: build.node("Slice", sizes, *map(build.ints, span)) for name, span in _SIZES}
    filters = build.node("Gather", sizes, build.ints(0), axis=0)
    filters = build.node("Div", filters, build.ints(groups))
    # (g O, C, *taps) with O filters a group become (g C, O, *taps).
    split = build.node("Concat", build.ints(groups), filters, size["rest"], axis=0)
    turned = build.node("Reshape", weight, split)
    turned = build.node("Transpose", turned, perm=[0, 2, 1, *(axis + 1 for axis in axes)])
    whole = build.node("Concat", build.ints(-1), filters, size["taps"], axis=0)
    turned = build.node("Reshape", turned, whole)
    if _kernel(node) != (1,) * len(axes):
        ends = (build.ints(*[number] * len(axes)) for number in (-1, -(2**31)))
        steps = build.ints(*[-1] * len(axes))
        turned = build.node("Slice", turned, *ends, build.ints(*axes), steps)
    return build.node(
        "Conv",
        step.given,
        turned,
        group=groups,
        pads=list(pads),
        dilations=_ints(node, "dilations", len(axes)),
    )


# Which sizes of a filter are its taps, and which all but the first.
_SIZES = (("taps", (2, 2**31, 0)), ("rest", (1, 2**31, 0)))


def _turned_pads(step: Step) -> list[int] | None:
    """How much a convolution with the filters turned round pads, before and behind; None where
    there is none that does.
    """
    node, kernel = step.node, _kernel(step.node)
    begins = _begins(node, step.shapes)
    if kernel is None or begins is None or set(_ints(node, "strides", len(kernel))) - {1}:
        return None
    pairs = zip(kernel, _ints(node, "dilations", len(kernel)), strict=True)
    reaches = [(taps - 1) * dilation for taps, dilation in pairs]
    mode = node.attributes["auto_pad"].as_string() if "auto_pad" in node.attributes else "NOTSET"
    if mode == "NOTSET":
        ends = _ints(node, "pads", 2 * len(kernel), 0)[len(kernel) :]
    elif mode == "VALID":
        ends = begins
    else:
        ends = [reach - begin for reach, begin in zip(reaches, begins, strict=True)]
    pads = [
        reach - pad for side in (begins, ends) for reach, pad in zip(reaches, side, strict=True)
    ]
    return None if min(pads) < 0 else pads


def _groups(node: ir.Node) -> int:
    return node.attributes["group"].as_int() if "group" in node.attributes else 1


def _strided(step: Step) -> ir.Value:
    """It is made so large that it covers the input whatever a stride has left over."""
    build, node = step.build, step.node
    begins = _begins(node, step.shapes)
    weight = node.inputs[1]
    assert begins is not None
    assert weight is not None
    strides = _ints(node, "strides", len(begins))
    whole = build.node(
        "ConvTranspose",
        step.given,
        weight,
        group=_groups(node),
        strides=strides,
        dilations=_ints(node, "dilations", len(begins)),
        output_padding=[stride - 1 for stride in strides],
    )
    axes = build.ints(*range(2, 2 + len(begins)))
    sizes = build.node("Gather", build.node("Shape", step.input), axes, axis=0)
    start = build.ints(*begins)
    return build.node("Slice", whole, start, build.node("Add", start, sizes), axes)


def _begins(node: ir.Node, shapes: Shapes) -> list[int] | None:
    """How much a convolution pads before each of its positions' axes; None where not known."""
    kernel = _kernel(node)
    if kernel is None:
        return None
    mode = node.attributes["auto_pad"].as_string() if "auto_pad" in node.attributes else "NOTSET"
    if mode == "NOTSET":
        return _ints(node, "pads", 2 * len(kernel), 0)[: len(kernel)]
    if mode == "VALID":
        return [0] * len(kernel)
    value = node.inputs[0]
    sizes = (shapes.get(value.name or "") if value is not None else None) or ()
    found = []
    for axis, taps in enumerate(kernel):
        stride = _ints(node, "strides", len(kernel))[axis]
        reach = (taps - 1) * _ints(node, "dilations", len(kernel))[axis]
        size = sizes[axis + 2] if len(sizes) == len(kernel) + 2 else None
        if stride > 1 and not isinstance(size, int):
            return None
        left = (size - 1) % stride if isinstance(size, int) else 0
        total = max(0, reach - left)
        found.append(total // 2 if mode == "SAME_UPPER" else total - total // 2)
    return found


def _kernel(node: ir.Node) -> tuple[int, ...] | None:
    """The taps of a convolution."""
    weight = node.inputs[1]
    shape = constants.shape(weight)
    if shape is None and weight is not None and weight.shape is not None:
        shape = tuple(weight.shape.numpy())
    return None if shape is None else shape[2:]


def _ints(node: ir.Node, name: str, count: int, default: int = 1) -> list[int]:
    """An attribute of a number for each axis."""
    return list(node.attributes[name].as_ints()) if name in node.attributes else [default] * count


_RULES: dict[str, Callable[[Step], ir.Value]] = {
    "Add": _add,
    "Sub": _sub,
    "Mul": _mul,
    "Relu": _relu,
    "Clip": _clip,
    "LeakyRelu": _leaky_relu,
    "Sigmoid": _sigmoid,
    "Tanh": _tanh,
    "Identity": _same,
    "Reshape": _reshaped,
    "Flatten": _reshaped,
    "Squeeze": _reshaped,
    "Unsqueeze": _reshaped,
    "GlobalAveragePool": _global_average,
    "BatchNormalization": _batch_norm,
    "Gemm": _gemm,
    "Conv": _conv,
}
# Those that take each number by itself.
ELEMENTWISE = frozenset(("Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh", "Identity"))
