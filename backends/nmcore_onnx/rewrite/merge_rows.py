"""Embedding tables with fewer rows: places go through a table of what each row is made of.

``Gather(table, ids)`` becomes the sum over terms of ``scale[ids] * kept[position[ids]]``. An output
projection that reads the same table gives as many scores as rows are kept, and each token takes
that of the row that stands for it, times its factor.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from nmcore.group import Array, FloatArray, IntArray, RowSums
from nmcore_onnx.ir import constants, names
from nmcore_onnx.ir.nodes import flag

# Since when axes may be counted from the end.
_FROM_THE_END = 11
# Since when ReduceSum takes its axes as an input.
_AXES_AS_INPUT = 13


@dataclass
class Use:
    """How an embedding table is read.

    Attributes
    ----------
    value : ir.Value
        The table, (V, D).
    lookups : list of ir.Node
        Gathers of its rows.
    projections : list of ir.Node
        Products with its transpose, whose last axis counts its rows.
    """

    value: ir.Value
    lookups: list[ir.Node] = field(default_factory=list)
    projections: list[ir.Node] = field(default_factory=list)


def uses(model: ir.Model) -> dict[str, Use]:
    """The tables whose rows can be merged, by name: all that reads them is understood."""
    graph = model.graph
    if (graph.opset_imports.get("") or 1) < _FROM_THE_END:
        return {}
    found = {}
    for name, value in graph.initializers.items():
        plain = constants.is_float(value) and not (
            value.is_graph_input() or value.is_graph_output()
        )
        if plain and len(constants.shape(value) or ()) == 2:
            use = _use(value)
            if use is not None and use.lookups:
                found[name] = use
    return found


def _use(value: ir.Value) -> Use | None:
    use = Use(value)
    for node, index in value.uses():
        if node.domain not in ("", "ai.onnx"):
            return None
        if node.op_type == "Gather" and index == 0 and _axis(node) in (0, -2):
            if constants.tensor(node.inputs[1]) is not None:
                return None
            use.lookups.append(node)
        elif node.op_type == "Gemm" and index == 1 and flag(node, "transB"):
            if len(node.inputs) > 2 and node.inputs[2] is not None:
                return None
            use.projections.append(node)
        elif node.op_type == "Transpose" and _swaps(node):
            turned = node.outputs[0]
            if turned.is_graph_output() or any(
                reader.op_type != "MatMul" or at != 1 for reader, at in turned.uses()
            ):
                return None
            use.projections += [reader for reader, _ in turned.uses()]
        else:
            return None
    return use


def _axis(node: ir.Node) -> int:
    return node.attributes["axis"].as_int() if "axis" in node.attributes else 0


def _swaps(node: ir.Node) -> bool:
    return "perm" not in node.attributes or list(node.attributes["perm"].as_ints()) == [1, 0]


def merge_rows(model: ir.Model, name: str, sums: RowSums) -> None:
    """Let a table keep some of its rows; see :class:`nmcore.group.RowSums`."""
    use, graph = uses(model)[name], model.graph
    table = constants.array(use.value)
    assert table is not None
    writer = _Writer(graph, name)
    if sums.position.shape[1] > 1 and use.projections:
        raise ValueError(f"{name} is read by a projection, so each row is one kept row's multiple")
    position = writer.constant("position", _squeezed(sums.position))
    plain = bool(np.all(sums.scale == 1)) and sums.scale.shape[1] == 1
    scale = None
    if not plain:
        scales = sums.scale.astype(table.dtype)
        scale = writer.constant("scale", scales if scales.shape[1] == 1 else scales[:, :, None])
    for node in use.lookups:
        writer.look_up(node, position, scale)
    if use.projections:
        flat = None if scale is None else writer.constant("factor", scales[:, 0])
        for node in use.projections:
            writer.spread(node, position, flat)
    use.value.const_value = ir.Tensor(np.ascontiguousarray(table[sums.kept]), name=name)
    use.value.shape = ir.Shape((len(sums.kept), table.shape[1]))
    _forget_shapes(model, use)


def _squeezed(position: IntArray) -> Array:
    """A vector where every row has one term; in four bytes a number."""
    found = position.astype(np.int32)
    return found[:, 0] if found.shape[1] == 1 else found


def _forget_shapes(model: ir.Model, use: Use) -> None:
    """Shapes that counted rows are wrong now."""
    for node in use.projections:
        for value in (*node.inputs, *node.outputs):
            if value is not None and value.producer() is not None and not value.is_graph_output():
                value.shape = None


class _Writer:
    """Nodes around what reads a table."""

    def __init__(self, graph: ir.Graph, name: str) -> None:
        self._graph = graph
        self._name = name

    def constant(self, what: str, array: Array) -> ir.Value:
        """A constant of the main graph, whose names branches see."""
        tensor = ir.Tensor(
            np.ascontiguousarray(array), name=names.value_name(self._graph, f"{self._name}.{what}")
        )
        value = ir.Value(
            name=tensor.name,
            shape=tensor.shape,
            type=ir.TensorType(tensor.dtype),
            const_value=tensor,
        )
        self._graph.register_initializer(value)
        return value

    def node(self, op: str, *inputs: ir.Value, like: ir.Value, **attributes: object) -> ir.Node:
        """A new node, whose output is of the type of ``like``."""
        name = names.node_name(self._graph, f"{self._name}.{op}")
        made = ir.node(op, inputs, attributes, name=name)  # type: ignore[arg-type]
        made.outputs[0].name = names.value_name(self._graph, f"{name}.output")
        made.outputs[0].type = like.type
        return made

    def look_up(self, node: ir.Node, position: ir.Value, scale: ir.Value | None) -> None:
        """Let a Gather read kept rows, and sum them."""
        table, ids = node.inputs
        assert table is not None
        assert ids is not None
        first = self.node("Gather", position, ids, like=position, axis=0)
        before = [first]
        after: list[ir.Node] = []
        several = len(position.shape or ()) > 1
        if scale is not None:
            factor = self.node("Gather", scale, ids, like=scale, axis=0)
            before.append(factor)
            after.append(self.node("Mul", node.outputs[0], factor.outputs[0], like=scale))
        if several:
            after.append(self._sum(after[-1].outputs[0], scale or table))
        self._inserted(node, before, after)
        node.replace_input_with(1, first.outputs[0])

    def _sum(self, value: ir.Value, like: ir.Value) -> ir.Node:
        """The sum over the axis before the last."""
        if (self._graph.opset_imports.get("") or 1) < _AXES_AS_INPUT:
            return self.node("ReduceSum", value, like=like, axes=[-2], keepdims=0)
        axes = self.constant("axes", np.array([-2]))
        return self.node("ReduceSum", value, axes, like=like, keepdims=0)

    def spread(self, node: ir.Node, position: ir.Value, scale: ir.Value | None) -> None:
        """Give each token the score of the row that stands for it."""
        output = node.outputs[0]
        after = [self.node("Gather", output, position, like=output, axis=-1)]
        if scale is not None:
            after.append(self.node("Mul", after[0].outputs[0], scale, like=output))
        self._inserted(node, [], after)

    def _inserted(self, node: ir.Node, before: list[ir.Node], after: list[ir.Node]) -> None:
        """Put nodes around one, whose readers then read the last of them."""
        graph = node.graph
        assert graph is not None
        graph.insert_before(node, before)
        if not after:
            return
        output, last = node.outputs[0], after[-1].outputs[0]
        last.shape, last.type = output.shape, output.type
        own = {(each, index) for each in after for index in range(len(each.inputs))}
        for reader, index in list(output.uses()):
            if (reader, index) not in own:
                reader.replace_input_with(index, last)
        for place, value in enumerate(graph.outputs):
            if value is output:
                graph.outputs[place] = last
                output.name, last.name = last.name, output.name
        output.shape = None
        graph.insert_after(node, after)


def lookup_probe(model: ir.Model, name: str) -> ir.Model:
    """A model that gives what a table is looked up by: a copy, with nothing that is not needed."""
    copy = model.clone()
    graph = copy.graph
    wanted = list(dict.fromkeys(_ids(uses(copy)[name], graph)))
    graph.outputs.clear()
    for value in wanted:
        node = ir.node("Identity", [value], name=names.node_name(graph, f"{name}.places"))
        node.outputs[0].name = names.value_name(graph, f"{name}.places")
        node.outputs[0].type = value.type
        graph.append(node)
        graph.outputs.append(node.outputs[0])
    RemoveUnusedNodesPass()(copy)
    return copy


def _ids(use: Use, graph: ir.Graph) -> Iterator[ir.Value]:
    """The places that the main graph looks up."""
    for node in use.lookups:
        if node.graph is graph and node.inputs[1] is not None:
            yield node.inputs[1]


def with_table(model: ir.Model, name: str, values: FloatArray) -> ir.Model:
    """A copy with other values in a table."""
    copy = model.clone()
    value = copy.graph.initializers[name]
    kind = constants.dtype(value)
    value.const_value = ir.Tensor(np.ascontiguousarray(values, dtype=kind), name=name)
    return copy
