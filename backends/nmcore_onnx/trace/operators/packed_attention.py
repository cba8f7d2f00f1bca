"""Attention of onnxruntime, which makes queries, keys and values with one weight of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from nmcore_onnx.ir import constants
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.trace.channels import Channels
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.heads import follow_past, has_state, mask_follows, tied, unite
from nmcore_onnx.trace.operators.attention import past_length
from nmcore_onnx.trace.operators.base import Known, elements
from nmcore_onnx.trace.operators.weighted import Weighted

_SIZES = "qkv_hidden_sizes"
# Keys and values of the past, (2, batch, heads, length, size), and the axis of their heads.
_PAST, _PAST_HEADS = 4, 2
# How long what shares its place with the past is.
_SHARED = 6
# The input that is added to the scores, perhaps with an entry a head.
_MASK = 5


class PackedAttention(Weighted):
    """Attention of domain com.microsoft, on data (batch, length, F).

    Its weight (F, 2 D + V) holds the columns of all queries, of all keys and of all values, each
    head by head; its bias (2 D + V,) too. Data (batch, length, F) stay as they are: they are the
    residual stream, behind a norm.
    """

    op_type = "Attention"
    domain = "com.microsoft"
    rank = 2
    output_axis = None

    def axes(self, node: ir.Node) -> tuple[int, int]:
        """Rows on axis 1, columns on axis 0."""
        return 1, 0

    def input_axis(self, node: ir.Node) -> int:
        """Features are the last axis."""
        return -1

    def follow(self, node: ir.Node, trace: Trace) -> None:
        """Each head loses its queries, keys and values together, and its part of the output."""
        if not self.is_constant(node, trace):
            return
        heads, sizes = node.attributes["num_heads"].as_int(), self._sizes(node)
        problem = None
        if sizes is None or heads < 1 or any(size % heads for size in sizes):
            problem = "its heads are not known"
        elif has_state(node, range(_SHARED, _SHARED + 1), first=2):
            problem = "its keys and values are part of the model's interface"
        followed = () if problem else (_MASK, _PAST)
        trace.decline_inputs(node, "which is attention with its projection in one", but=followed)
        if problem or sizes is None:
            trace.leave(node, problem or "its heads are not known")
            return
        made = trace.produce(node, Place(node, self.weight_input), *self.axes(node), 2)
        parts = np.split(made.atoms, np.cumsum(sizes)[:-1])
        query, key, value = (tied(trace, part, heads) for part in parts)
        assert query is not None
        assert key is not None
        assert value is not None
        unite(trace, query, key, value)
        self.slice_bias(node, trace, made)
        if not mask_follows(node, _MASK, query, trace):
            trace.freeze(query.atoms, "its heads have masks of their own that cannot shrink")
        if not follow_past(node, trace, (_PAST,), (key,), _PAST_HEADS):
            trace.freeze(query.atoms, "its keys and values are part of the model's interface")
            trace.decline_inputs(node, "which is attention with its projection in one")
        trace.count(node, "num_heads", query.atoms)
        if _SIZES in node.attributes:
            for index, each in enumerate((query, key, value)):
                trace.count(node, _SIZES, each.owners(), position=index)
        trace.carry(node, Channels(2, value.owners()))

    def _sizes(self, node: ir.Node) -> tuple[int, ...] | None:
        """How many columns queries, keys and values have; None where the weight does not fit."""
        shape = constants.shape(node.inputs[self.weight_input]) or ()
        if len(shape) != 2:
            return None
        given = node.attributes.get(_SIZES)
        sizes = (shape[1] // 3,) * 3 if given is None else tuple(given.as_ints())
        fits = len(sizes) == 3 and min(sizes) > 0 and sum(sizes) == shape[1]
        return sizes if fits and sizes[0] == sizes[1] else None

    def macs(self, node: ir.Node, inputs: Sequence[Known], output: Known) -> int:
        """The projection, the scores of each query with each key, and sums over all values."""
        data, weight, sizes = inputs[0], inputs[1], self._sizes(node)
        if data is None or weight is None or sizes is None:
            raise TypeError("data or a weight whose shape is not known")
        length = elements((data[1],))
        length += past_length(node, inputs, _PAST)
        return elements(data[:2]) * (elements(weight) + length * (sizes[1] + sizes[2]))
