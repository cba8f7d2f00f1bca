"""Probe graphs: second moments formed inside the runtime, so that only small matrices leave it.

A probe holds the model as it stands now, or a part of it, and, where targets are asked for, one of
the original beside it; each begins at the inputs or where its values have been carried to. For each
consumer it unfolds the consumer's input into rows of features (one row an output position, one
feature a channel and tap) and multiplies them together. Of a consumer that reads several groups
only the columns of the group in question are unfolded. Every output is a mean over the rows of a
run, or a sum around such means.

Where sigmoids make probabilities of what a consumer gives, its rows are weighed by what an error
there does to these: p (1 - p), as in the Gauss-Newton steps of logistic regression (iteratively
reweighted least squares). Else the many rows that are plainly no object would hide the few that
may be one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from nmcore.group import FloatArray, IntArray
from nmcore_onnx.ir import constants
from nmcore_onnx.ir.builder import Builder
from nmcore_onnx.ir.nodes import attribute, only_reader
from nmcore_onnx.ir.types import Shapes
from nmcore_onnx.probes.cuts import Resumed, begin
from nmcore_onnx.probes.padding import without_padding
from nmcore_onnx.rewrite.model_copy import Copy
from nmcore_onnx.trace import operators
from nmcore_onnx.trace.slots import ConsumerSlot

_PREFIX = "nmcore.original."

# What a row counts at least, as certain as its probabilities may be: each output adds up to 1.
_CERTAIN = 1e-6

# A batch norm whose scale is this small against its largest blocks the channel: nothing that comes
# before it can make up for anything behind it.
_BLOCKED = 1e-3


@dataclass(frozen=True, eq=False)
class Residual:
    """What happens to a consumer's output before it is added to another value.

    Attributes
    ----------
    norm : ir.Node or None
        A batch norm on the way.
    add : ir.Node
        The sum.
    index : int
        Which of the sum's inputs is the other value.
    """

    norm: ir.Node | None
    add: ir.Node
    index: int


def residual(node: ir.Node, shapes: Shapes) -> Residual | None:
    """The sum of equals that a node's output goes into, alone or through one batch norm."""
    operator = operators.weighted(node)
    output, norm = operator.output(node), None
    is_product = operator.output_axis is not None and not operator.is_activated
    reader = only_reader(output) if is_product else None
    behind = operator.made_axis(node, shapes) == 1  # batch norms work on axis 1
    if reader is not None and reader.op_type == "BatchNormalization" and behind:
        norm, output = reader, reader.outputs[0]
        reader = only_reader(output)
    if reader is None or reader.op_type != "Add":
        return None
    index = 1 if reader.inputs[0] is output else 0
    other = reader.inputs[index]
    if other is None or other is output or not _alike(other, output, shapes):
        return None
    return Residual(norm, reader, index)


def _alike(one: ir.Value, other: ir.Value, shapes: Shapes) -> bool:
    """Whether two values have the same shape as far as it is known, with nothing broadcast."""
    a, b = shapes.get(one.name or ""), shapes.get(other.name or "")
    if a is None or b is None or len(a) != len(b) or constants.tensor(one) is not None:
        return False
    return all(
        x == y if isinstance(x, int) and isinstance(y, int) else 1 not in (x, y)
        for x, y in zip(a, b, strict=True)
    )


@dataclass(frozen=True, eq=False)
class Reading:
    """One consumer of a group in the model as it stands, and what its probe gives.

    Attributes
    ----------
    slot : ConsumerSlot
        The consumer.
    columns : int array, shape (N * r,)
        Where the group's channels stand now on the axis that the consumer reads.
    width : int
        How long that axis is now.
    outputs, original : int array, shape (O,)
        Which outputs of the node they are made into, now and in the original.
    own : (array of shape (F, O), array of shape (O,)) or None
        The weights on these columns and the bias, where the consumer reads other columns too.
    step : int
        Every how many-th row counts.
    targets : bool
        Whether the original's outputs are compared.
    residual : Residual or None
        The sum that the consumer's output goes into.
    offset : array of shape (O,) or None
        By how much the bias of the node is above that of the first node that reads the weight.
    alone : bool
        Whether the target is what these columns give now, whatever others have lost.
    mask : str or None
        The input whose zeros mark the rows that do not count.
    probable : bool
        Whether the model gives the outputs as probabilities, by sigmoids.
    """

    slot: ConsumerSlot
    columns: IntArray
    width: int
    outputs: IntArray
    original: IntArray
    own: tuple[FloatArray, FloatArray] | None
    step: int
    targets: bool
    residual: Residual | None
    offset: FloatArray | None = None
    alone: bool = False
    mask: str | None = None
    probable: bool = False


def correcting_once(weights: Sequence[Sequence[Reading]]) -> list[list[Reading]]:
    """Let only the first of several consumers compensate what has been lost before all of them.

    They are fitted independently; each would compensate the same loss.
    """
    result = []
    corrected = False
    seen: set[ir.Node] = set()
    for readings in weights:
        keep = not corrected and readings[0].residual is not None
        corrected |= keep
        result.append(
            [
                replace(
                    reading,
                    residual=reading.residual if keep else None,
                    alone=reading.slot.node in seen and reading.slot.start == 0,
                )
                for reading in readings
            ]
        )
        seen |= {reading.slot.node for reading in readings}
    return result


def wanted(weights: Iterable[Sequence[Reading]]) -> Iterator[ir.Value]:
    """The values of the original that a probe is made from."""
    for reading in (each for readings in weights for each in readings):
        yield from reading.slot.node.outputs
        yield operators.weighted(reading.slot.node).output(reading.slot.node)
        if reading.residual is not None:
            yield reading.residual.add.outputs[0]


@dataclass(frozen=True, eq=False)
class Part:
    """A copy of a model, or of the part of it that a probe runs.

    Attributes
    ----------
    copy : Copy
        It is used up.
    start : sequence of Resumed
        Values that are read instead of computed.
    stop : sequence of ir.Value
        Values of the model that are given besides.
    """

    copy: Copy
    start: Sequence[Resumed] = ()
    stop: Sequence[ir.Value] = ()


def probe(now: Part, before: Part | None, weights: Sequence[Sequence[Reading]]) -> ir.Model:
    """Turn a copy of a model into a graph whose outputs are sums for the given consumers.

    Parameters
    ----------
    now : Part
        Of the model as it stands; it becomes the probe.
    before : Part or None
        Of the model that sets the targets, where there are any.
    weights : sequence of sequence of Reading
        What to form moments for: of each consumer all places where its weight is read, which are
        summed.

    Returns
    -------
    ir.Model
        For each consumer the outputs ``count`` (1,), ``mean_x`` (F,), ``scatter_x`` (F, F); with
        targets ``mean_y`` (O,), ``power_y`` (O,), ``cross`` (F, O); without, where what it makes
        goes into a sum, ``mean_s`` and ``power_s`` (O,) of that sum. F counts features in the order
        of the group's channels, then taps.
    """
    current, original = now.copy, None if before is None else before.copy
    graph = current.model.graph
    if original is not None:
        adopt(graph, original.model.graph)
    begin(graph, current, now.start)
    if before is not None:
        begin(graph, before.copy, before.start, original=True)
    build = Builder(graph)
    outputs: list[ir.Value] = []
    for readings in weights:
        outputs += _sums(build, current, original, readings)
    for part in (now,) if before is None else (now, before):
        # An output may not be an input as well, nor be given twice.
        outputs += [build.node("Identity", part.copy.value(value)) for value in part.stop]
    for value in outputs:
        value.type = ir.TensorType(ir.DataType.FLOAT)
    graph.outputs.clear()
    graph.outputs.extend(outputs)
    RemoveUnusedNodesPass()(current.model)
    return current.model


def adopt(graph: ir.Graph, other: ir.Graph) -> None:
    """Move the nodes and weights of another graph over; it reads this graph's inputs."""
    other.outputs.clear()  # some may be weights or inputs, whose readers change
    given = ([v for v in each.inputs if not v.is_initializer()] for each in (graph, other))
    for mine, theirs in zip(*given, strict=True):
        ir.convenience.replace_all_uses_with(theirs, mine)
    for value in list(other.initializers.values()):
        assert value.const_value is not None
        # A new value: renaming this one would rename the tensor, which the caller's model shares.
        data = ir.Tensor(value.const_value.numpy(), name=_PREFIX + (value.name or ""))
        mine = ir.Value(
            name=data.name, shape=data.shape, type=ir.TensorType(data.dtype), const_value=data
        )
        graph.register_initializer(mine)
        ir.convenience.replace_all_uses_with(value, mine)
    nodes = list(other)
    other.remove(nodes)
    for node in nodes:
        if node.name:  # the runtime wants names to differ, but none at all is fine
            node.name = _PREFIX + node.name
        for value in node.outputs:
            if value.name:  # an optional output that is not wanted has none
                value.name = _PREFIX + value.name
    graph.extend(nodes)


def _sums(
    build: Builder, current: Copy, original: Copy | None, readings: Sequence[Reading]
) -> list[ir.Value]:
    """The outputs of one consumer, over all places where its weight is read."""
    read = [_counted(build, each, features(build, current, each)) for each in readings]
    rows, first = build.concatenated(read), readings[0]
    weights = _weights(build, current, original, readings)
    count = build.count(rows) if weights is None else build.total(weights)
    mean, rows = build.centred(rows, weights)
    width = len(first.columns) * first.slot.taps
    outputs = [count, mean, build.gram(rows, width)]
    if first.targets:
        assert original is not None
        wanted = [
            _wanted(build, current, original, *each) for each in zip(readings, read, strict=True)
        ]
        mean, targets = build.centred(build.concatenated(wanted), weights)
        square = build.node("Mul", targets, targets)
        outputs += [mean, build.total(square), build.product(rows, targets)]
    elif first.residual is not None or first.own is not None:
        fed = build.concatenated([_fed(build, current, each) for each in readings])
        mean, fed = build.centred(fed, weights)
        outputs += [mean, build.total(build.node("Mul", fed, fed))]
    return outputs


def _weights(
    build: Builder, current: Copy, original: Copy | None, readings: Sequence[Reading]
) -> ir.Value | None:
    """What each row counts, (n, 1), where not all count alike."""
    if not all(each.probable for each in readings):
        return None
    found = []
    for each in readings:
        copy, chosen = (current, each.outputs) if original is None else (original, each.original)
        operator = operators.weighted(each.slot.node)
        value = copy.value(operator.output(each.slot.node))
        rows = operator.output_rows(build, each.slot, value, chosen, each.step)
        found.append(_counted(build, each, _uncertainty(build, rows, len(chosen))))
    return build.concatenated(found)


def _uncertainty(build: Builder, rows: ir.Value, width: int) -> ir.Value:
    """What each row (n, O) counts, (n, 1): the sum of 4 p (1 - p), which is 1 for p = 1/2."""
    likely = build.node("Sigmoid", rows)
    spread = build.node("Sub", likely, build.node("Mul", likely, likely))
    total = build.node("MatMul", spread, build.constant(np.full((width, 1), 4, np.float32)))
    return build.node("Add", total, build.constant(np.full(1, _CERTAIN, np.float32)))


def _wanted(
    build: Builder, current: Copy, original: Copy, reading: Reading, rows: ir.Value
) -> ir.Value:
    """What these columns should give at one place, as rows (n, O)."""
    wanted = _counted(build, reading, target(build, current, original, reading))
    if reading.own is None:
        return wanted
    return _without_others(build, current, reading, wanted, rows)


def _fed(build: Builder, current: Copy, reading: Reading) -> ir.Value:
    """The sum that a consumer feeds at one place, as rows (n, O)."""
    if reading.residual is None:
        fed = given(build, current, reading, reading.outputs)
    else:
        stream = current.value(reading.residual.add.outputs[0])
        fed = _as_rows(build, stream, reading, reading.outputs)
    return _counted(build, reading, fed)


def _counted(build: Builder, reading: Reading, rows: ir.Value) -> ir.Value:
    """The rows that count, of every ``step``-th row."""
    inputs = {value.name: value for value in build.graph.inputs}
    return without_padding(build, inputs.get(reading.mask), rows, reading.step)


def features(build: Builder, current: Copy, reading: Reading) -> ir.Value:
    """The rows (n, F) that a consumer reads now."""
    slot, node = reading.slot, current.node(reading.slot.node)
    operator = operators.weighted(node)
    value = channels(build, current, reading)
    return operator.unfold(build, node, slot.place.index, value, len(reading.columns), reading.step)


def channels(build: Builder, current: Copy, reading: Reading) -> ir.Value:
    """The channels of a group as a consumer reads them now."""
    slot, node = reading.slot, current.node(reading.slot.node)
    value = operators.weighted(node).data(build, node, slot.place.index)
    if np.array_equal(reading.columns, np.arange(reading.width)):
        return value
    return build.node("Gather", value, build.ints(*reading.columns.tolist()), axis=slot.source_axis)


def target(build: Builder, current: Copy, original: Copy, reading: Reading) -> ir.Value:
    """The original's output of a consumer, plus what the sum behind it has lost so far.

    Where the output is added to another value, that value has changed already; the consumer can
    make up for it. A batch norm on the way divides the difference by its own factor.
    """
    found = reading.residual
    rows = given(build, original, reading, reading.original)
    if found is None:
        return rows
    before, now = (copy.node(found.add).inputs[found.index] for copy in (original, current))
    assert before is not None
    assert now is not None
    lost = build.node(
        "Sub",
        _as_rows(build, before, reading, reading.original),
        _as_rows(build, now, reading, reading.outputs),
    )
    if found.norm is not None:
        factor = _inverse_factor(original.node(found.norm))[reading.original]
        lost = build.node("Mul", lost, build.constant(factor))
    return build.node("Add", rows, lost)


def _without_others(
    build: Builder, current: Copy, reading: Reading, target: ir.Value, rows: ir.Value
) -> ir.Value:
    """What these columns alone should give: the target less what all others give now."""
    assert reading.own is not None
    weights, bias = (build.constant(part.astype(np.float32)) for part in reading.own)
    if reading.alone:
        return build.node("Add", build.node("MatMul", rows, weights), bias)
    total = given(build, current, reading, reading.outputs)
    total = _counted(build, reading, total)
    own = build.node("Add", build.node("MatMul", rows, weights), bias)
    return build.node("Add", build.node("Sub", target, total), own)


def given(build: Builder, copy: Copy, reading: Reading, chosen: IntArray) -> ir.Value:
    """Some of what a consumer gives in a copy of the model, as rows (n, O).

    All nodes that read one weight are given the bias of the first, as they are fitted together.
    """
    slot = reading.slot
    operator = operators.weighted(slot.node)
    value = copy.value(operator.output(slot.node))
    value = operator.product(build, copy.node(slot.node), slot.place.index, value)
    rows = operator.output_rows(build, slot, value, chosen, reading.step)
    if reading.offset is None:
        return rows
    return build.node("Sub", rows, build.constant(reading.offset.astype(np.float32)))


def _as_rows(build: Builder, value: ir.Value, reading: Reading, chosen: IntArray) -> ir.Value:
    """Some columns of a value of the shape of a consumer's output, as rows (n, O)."""
    operator = operators.weighted(reading.slot.node)
    return operator.output_rows(build, reading.slot, value, chosen, reading.step)


def _inverse_factor(norm: ir.Node) -> FloatArray:
    """What undoes the scale of a batch norm; 0 where it nearly blocks a channel."""
    gamma, var = (constants.array(norm.inputs[index]) for index in (1, 4))
    assert gamma is not None
    assert var is not None
    scale = gamma.astype(np.float64) / np.sqrt(var + attribute(norm, "epsilon", 1e-5))
    open_ = np.abs(gamma) > _BLOCKED * np.abs(gamma).max()
    return np.where(open_, 1 / np.where(open_, scale, 1), 0).astype(np.float32)
