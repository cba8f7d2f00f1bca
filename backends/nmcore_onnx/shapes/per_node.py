"""The shapes of every value for inputs of given sizes.

Where all sizes are numbers, one pass over the nodes finds what the inference of a whole graph
(:mod:`nmcore_onnx.shapes.inference`) would need several rounds for: what is computed from sizes is
known as soon as the nodes that compute it have been met.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx.helper import make_opsetid, make_tensor_type_proto

from nmcore_onnx.ir import constants
from nmcore_onnx.ir.bodies import bodies, graphs
from nmcore_onnx.ir.constant_folding import (
    Folded,
    has_subgraphs,
    is_fixed,
    is_random,
    sizes_given,
)
from nmcore_onnx.ir.defaults import is_overridable
from nmcore_onnx.ir.types import Shapes
from nmcore_onnx.shapes import shape_operators, stand_ins

log = logging.getLogger(__name__)

# Sizes, axes and bounds are integers; no output shape depends on longer lists of them.
_MAX_SIZES = 1000
# What depends on numbers that are no integers: factors of a picture's sides, bounds of a range.
_SIZED_BY_FLOATS = ("Range", "Resize", "Upsample")
_UNKNOWN = onnx.TypeProto()


class NodeInference:
    """Infers the shapes of one model for inputs of any sizes, again and again.

    Parameters
    ----------
    model : ir.Model
        Not changed.
    defaults : bool, optional
        Whether inputs that a caller may set are taken as their defaults say.
    """

    def __init__(self, model: ir.Model, *, defaults: bool = False) -> None:
        self._graph = model.graph
        self._ir_version = model.ir_version
        self._opsets = [make_opsetid(domain, n) for domain, n in model.graph.opset_imports.items()]
        self._functions = {
            (function.domain, function.name): ir.serde.serialize_function(function)
            for function in model.functions.values()
        }
        self._constant = {
            str(name): _type_of(value.const_value)
            for name, value in model.graph.initializers.items()
            if value.const_value is not None
        }
        self._defaults = {
            value: value.const_value.numpy()
            for value in model.graph.inputs
            if defaults and value.const_value is not None and is_overridable(value)
        }
        self._rules: dict[ir.Node, Rule | None] = {}

    def shapes(self, inputs: Mapping[str, tuple[int, ...]]) -> Shapes:
        """Shapes by value name; an axis that stays unknown has a name of its own.

        Parameters
        ----------
        inputs : mapping of input name to shape
            Inputs that are not named have their declared shapes.
        """
        types = dict(self._constant)
        for value in self._graph.inputs:
            if value.name and value.dtype is not None and value.const_value is None:
                shape = inputs.get(value.name, _declared(value))
                types[value.name] = make_tensor_type_proto(value.dtype.value, shape)
        found = _Pass(types, self._defaults)
        for node in self._graph:
            self._visit(node, found)
        return found.known

    def _visit(self, node: ir.Node, found: _Pass) -> None:
        """Learn what a node gives, and what is inside it; of an If whose condition is known, the
        branch taken tells.
        """
        for body in bodies(node):
            for name, value in body.initializers.items():
                if value.const_value is not None:
                    found.learn(str(name), _type_of(value.const_value))
            if node.op_type == "If":
                self._visit_all(body, found)
            else:
                self._visit_steps(node, body, found)
        branch = found.branch(node)
        if branch is None:
            found.visit(node, self._rule(node))
        else:
            found.hand_over(branch.outputs, node.outputs)

    def _visit_all(self, graph: ir.Graph, found: _Pass) -> None:
        for each in graph:
            self._visit(each, found)

    def _visit_steps(self, node: ir.Node, body: ir.Graph, found: _Pass) -> None:
        """Learn what is inside a loop; its states have one shape where a step does not change it.

        A state is tried with the shape that it begins with. Where a step gives another one, that
        of every state is forgotten, unless it is declared.
        """
        begins = found.begin(node, body)
        self._visit_all(body, found)
        if not found.is_steady(begins):
            found.forget(body)
            found.begin(node, body, states=False)
            self._visit_all(body, found)

    def _rule(self, node: ir.Node) -> Rule | None:
        """What gives the types of a node's outputs; it is looked up once."""
        if node not in self._rules:
            self._rules[node] = self._found_rule(node)
        return self._rules[node]

    def _found_rule(self, node: ir.Node) -> Rule | None:
        if node.op_type == "Constant" and (tensor := constants.tensor(node.outputs[0])) is not None:
            constant = {str(node.outputs[0].name): _type_of(tensor)}
            return lambda _types, _data: constant
        proto = ir.serde.serialize_node(node)
        domain, op_type = node.domain, node.op_type
        found = stand_ins.stand_in(node)
        if found is not None and found.op_type == "Identity":
            return _same(proto, found)
        if found is not None:
            domain, op_type = "", found.op_type
            proto = _standing_in(proto, found)
        function = self._functions.get((node.domain, node.op_type))
        if function is not None:
            return _through_function(function, proto)
        try:
            version = self._graph.opset_imports[domain]
            schema = onnx.defs.get_schema(op_type, version, domain)
        except (KeyError, onnx.defs.SchemaError):
            return None

        def infer(types: Types, data: Mapping[str, onnx.TensorProto]) -> Types:
            return onnx.shape_inference.infer_node_outputs(
                schema,
                proto,
                dict(types),
                dict(data),
                opset_imports=self._opsets,
                ir_version=self._ir_version,
            )

        if schema.has_type_and_shape_inference_function or not schema.function_body.node:
            return infer
        return _through_function(schema.function_body, proto)


Types = Mapping[str, onnx.TypeProto]
Rule = Callable[[Types, Mapping[str, onnx.TensorProto]], Types]
"""From the types of the inputs, and the numbers in some of them, to the types of the outputs."""


class _Pass:
    """What is known while the nodes of a graph are visited in order."""

    def __init__(
        self, types: dict[str, onnx.TypeProto], given: Mapping[ir.Value, NDArray[Any]]
    ) -> None:
        self.known: Shapes = {}
        self._types: dict[str, onnx.TypeProto] = {}
        self._folded = Folded()
        # Values that follow from the sizes alone.
        self._fixed: set[ir.Value] = set(given)
        for value, array in given.items():
            self._folded.set(value, array)
        for name, found in types.items():
            self.learn(name, found)

    def branch(self, node: ir.Node) -> ir.Graph | None:
        """The branch that an If takes; None of other nodes, or where that is not known."""
        if node.op_type != "If" or not is_fixed(node.inputs[0], self._fixed):
            return None
        condition = self._folded.value(node.inputs[0])
        if condition is None or condition.size != 1:
            return None
        return node.attributes["then_branch" if condition.all() else "else_branch"].as_graph()

    def begin(
        self, node: ir.Node, body: ir.Graph, *, states: bool = True
    ) -> list[tuple[ir.Value, ir.Value]]:
        """Learn the inputs of the body of a Loop or a Scan; returns its states, and what they are
        after a step.
        """
        pairs = loop_states(node, body)
        for outer, inner, _ in pairs:
            kind = self._types.get(str(outer.name)) if outer is not None else None
            if inner.shape is not None and inner.dtype is not None:
                kind = make_tensor_type_proto(inner.dtype.value, _declared(inner))
            elif kind is not None and not states:
                kind = make_tensor_type_proto(kind.tensor_type.elem_type, None)
            if kind is not None:
                self.learn(str(inner.name), kind)
        for outer, inner, axis in scanned(node, body):
            kind = self._types.get(str(outer.name)) if outer is not None else None
            shape = self.known.get(str(outer.name)) if outer is not None else None
            if kind is not None and shape is not None and -len(shape) <= axis < len(shape):
                left = [size for k, size in enumerate(shape) if k != axis % len(shape)]
                kind = make_tensor_type_proto(kind.tensor_type.elem_type, left)
                self.learn(str(inner.name), kind)
        if node.op_type == "Loop":
            for value, kind in zip(body.inputs[:2], _COUNTERS, strict=False):
                self.learn(str(value.name), kind)
        return [(inner, after) for _, inner, after in pairs]

    def is_steady(self, states: Sequence[tuple[ir.Value, ir.Value]]) -> bool:
        """Whether states have the same shape after a step as before, where that is known."""
        shapes = [[self.known.get(str(v.name)) for v in pair] for pair in states]
        return all(
            before is None
            or (after is not None and before == after and all(isinstance(n, int) for n in after))
            for before, after in shapes
        )

    def forget(self, graph: ir.Graph) -> None:
        """Know nothing of a graph's values any more, but of its constants."""
        for each in graphs(graph):
            for value in (*each.inputs, *(output for node in each for output in node.outputs)):
                self._types.pop(str(value.name), None)
                self.known.pop(str(value.name), None)
                self._folded.forget(value)
                self._fixed.discard(value)

    def hand_over(self, inner: Sequence[ir.Value], outer: Sequence[ir.Value]) -> None:
        """Let the outputs of an If have the types, and numbers, of those of a branch."""
        for source, target in zip(inner, outer, strict=True):
            kind = self._types.get(str(source.name))
            if kind is not None:
                self.learn(str(target.name), kind)
            if is_fixed(source, self._fixed) and (array := self._folded.value(source)) is not None:
                self._folded.set(target, array)
                self._fixed.add(target)

    def visit(self, node: ir.Node, rule: Rule | None) -> None:
        """Learn what can be told of a node's outputs."""
        if node.op_type in ("Shape", "Size") and node.domain in ("", "ai.onnx"):
            self._measure(node)
        elif all(is_fixed(value, self._fixed) for value in node.inputs) and not is_random(node):
            self._fixed.update(node.outputs)
        for name, found in self._outputs(node, rule).items():
            self.learn(name, found)
        shape = shape_operators.refine(node, self.known)
        if shape is not None and node.inputs[0] is not None:
            name = str(node.outputs[0].name)
            kind = self._types.get(name, self._types[str(node.inputs[0].name)])
            self.learn(name, make_tensor_type_proto(kind.tensor_type.elem_type, shape))

    def _outputs(self, node: ir.Node, rule: Rule | None) -> Types:
        if rule is None:
            return {}
        # The bodies of If and Loop read what is around them.
        names = [value.name for value in node.inputs if value is not None and value.name]
        types = {name: self._types.get(name, _UNKNOWN) for name in names}
        if has_subgraphs(node):
            types = self._types | types
        try:
            return rule(types, self._data(node))
        except Exception as error:  # what the inference cannot do is not the user's fault
            log.info("no shapes of %s %r: %s", node.op_type, node.name, error)
            return {}

    def _data(self, node: ir.Node) -> dict[str, onnx.TensorProto]:
        """The numbers in a node's inputs that its output shapes may depend on."""
        found = {}
        for value in node.inputs:
            if value is not None and value.name and self._sizes(node, value):
                array = self._folded.value(value)
                if array is not None:
                    found[value.name] = onnx.numpy_helper.from_array(array, value.name)
        return found

    def _sizes(self, node: ir.Node, value: ir.Value) -> bool:
        """Whether a value is a short list of numbers that are known and may be sizes."""
        shape, found = self.known.get(str(value.name)), self._types.get(str(value.name))
        if shape is None or found is None or not is_fixed(value, self._fixed):
            return False
        is_integer = found.tensor_type.elem_type in (onnx.TensorProto.INT64, onnx.TensorProto.INT32)
        if not is_integer and node.op_type not in _SIZED_BY_FLOATS:
            return False
        return math.prod(size for size in shape if isinstance(size, int)) <= _MAX_SIZES

    def _measure(self, node: ir.Node) -> None:
        """Note what a Shape or Size node gives, where all of it is known."""
        shape = self.known.get(str(node.inputs[0].name)) if node.inputs[0] is not None else None
        if shape is None or not all(isinstance(size, int) for size in shape):
            return
        if node.op_type == "Shape":
            sizes = sizes_given(node, self.known)
        else:
            sizes = np.array(math.prod(int(size) for size in shape), np.int64)
        self._folded.set(node.outputs[0], sizes)
        self._fixed.add(node.outputs[0])

    def learn(self, name: str, found: onnx.TypeProto) -> None:
        """Note the type of a value."""
        self._types[name] = found
        if found.HasField("tensor_type") and found.tensor_type.HasField("shape"):
            for size in found.tensor_type.shape.dim:
                if size.dim_value < 0:  # a kernel is larger than what it reads
                    size.ClearField("value")
            self.known[name] = tuple(
                size.dim_value if size.HasField("dim_value") else (size.dim_param or f"?{name}.{k}")
                for k, size in enumerate(found.tensor_type.shape.dim)
            )


_COUNTERS = (
    make_tensor_type_proto(onnx.TensorProto.INT64, ()),
    make_tensor_type_proto(onnx.TensorProto.BOOL, ()),
)


def loop_states(node: ir.Node, body: ir.Graph) -> list[tuple[ir.Value | None, ir.Value, ir.Value]]:
    """What each state of a Loop or a Scan begins with, is in a step, and is after it."""
    if node.op_type == "Loop":
        return list(zip(node.inputs[2:], body.inputs[2:], body.outputs[1:], strict=False))
    first = len(body.inputs) - _count_scanned(node, body)
    if first == len(body.inputs):
        return []
    return list(zip(node.inputs[:first], body.inputs[:first], body.outputs, strict=False))


def scanned(node: ir.Node, body: ir.Graph) -> list[tuple[ir.Value | None, ir.Value, int]]:
    """What a Scan takes a slice of in each step, the slice, and along which axis."""
    if node.op_type != "Scan":
        return []
    first = len(body.inputs) - _count_scanned(node, body)
    given = node.attributes.get("scan_input_axes")
    axes = given.as_ints() if given is not None else [0] * len(body.inputs)
    return list(zip(node.inputs[first:], body.inputs[first:], axes, strict=False))


def _count_scanned(node: ir.Node, body: ir.Graph) -> int:
    """How many inputs a Scan takes slices of; none where it is not known which they are.

    The first version, which reads the lengths of sequences before all else, is not followed.
    """
    given = node.attributes.get("num_scan_inputs")
    count = 0 if given is None or len(node.inputs) != len(body.inputs) else given.as_int()
    return min(max(count, 0), len(body.inputs))


def _declared(value: ir.Value) -> tuple[int | None, ...] | None:
    if value.shape is None:
        return None
    # Some exporters write -1 for sizes that are not known.
    return tuple(size if isinstance(size, int) and size >= 0 else None for size in value.shape)


def _type_of(tensor: ir.TensorProtocol) -> onnx.TypeProto:
    return make_tensor_type_proto(tensor.dtype.value, [int(size) for size in tensor.shape.numpy()])


def _standing_in(node: onnx.NodeProto, other: stand_ins.StandIn) -> onnx.NodeProto:
    """A node of the operator that stands for another's."""
    attributes = [each for each in node.attribute if each.name in other.attributes]
    inputs = [node.input[index] for index in other.inputs if index < len(node.input)]
    made = onnx.helper.make_node(other.op_type, inputs, node.output[:1])
    made.attribute.extend(attributes)
    return made


def _same(node: onnx.NodeProto, other: stand_ins.StandIn) -> Rule:
    """The outputs are as its first input."""
    names = [node.output[k] for k in (0, *other.same) if k < len(node.output) and node.output[k]]
    return lambda types, _data: dict.fromkeys(names, types[node.input[0]])


def _through_function(function: onnx.FunctionProto, node: onnx.NodeProto) -> Rule:
    """The outputs are what a function of the model's own gives."""

    def types_of(types: Types, _data: Mapping[str, onnx.TensorProto]) -> Types:
        given = [types.get(name, _UNKNOWN) for name in node.input]
        found = onnx.shape_inference.infer_function_output_types(
            function, given, list(node.attribute)
        )
        return dict(zip(node.output, found, strict=False))

    return types_of
