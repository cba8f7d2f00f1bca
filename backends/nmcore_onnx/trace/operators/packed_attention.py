"""onnxruntime's Attention: one weight makes queries, keys and values, and is part of the operator."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from nmcore_onnx.ir import constants
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.trace.channels import Channels
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.heads import has_state, mask_follows, spread, tied, unite
from nmcore_onnx.trace.operators.base import Known, elements
from nmcore_onnx.trace.operators.weighted import Weighted


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
        trace.decline_inputs(node, "which is attention with its projection in one")
        heads = node.attributes["num_heads"].as_int()
        sizes = self._sizes(node)
        fault = None
        if has_state(node, range(4, 5)):
            fault = "its keys and values are part of the model's interface"
        elif sizes is None or heads < 1 or any(size % heads for size in sizes):
            fault = "its heads are not known"
        if fault is not None or sizes is None:
            trace.leave(node, fault or "")
            return
        made = trace.produce(node, Place(node, self.weight_input), *self.axes(node), 2)
        parts = np.split(made.atoms, np.cumsum(sizes)[:-1])
        query, key, value = (tied(trace, part, heads) for part in parts)
        assert query is not None
        assert key is not None
        assert value is not None
        unite(trace, query, key, value)
        self.slice_bias(node, trace, made)
        if not mask_follows(node, 5, query, trace):
            trace.freeze(query, "its heads have masks of their own that cannot shrink")
        self._recount(node, trace, [query, key, value], sizes)
        trace.carry(node, spread(value, sizes[2] // heads))

    def _sizes(self, node: ir.Node) -> list[int] | None:
        """How many columns queries, keys and values have."""
        shape = constants.shape(node.inputs[self.weight_input]) or ()
        if "qkv_hidden_sizes" in node.attributes:
            sizes = list(node.attributes["qkv_hidden_sizes"].as_ints())
        else:
            sizes = [shape[-1] // 3] * 3
        fits = len(shape) == 2 and len(sizes) == 3 and min(sizes) > 0 and sum(sizes) == shape[1]
        return sizes if fits else None

    def _recount(
        self, node: ir.Node, trace: Trace, heads: Sequence[np.ndarray], sizes: Sequence[int]
    ) -> None:
        """The attributes that count heads, and columns."""
        trace.count(node, "num_heads", heads[0])
        if "qkv_hidden_sizes" in node.attributes:
            for index, (own, size) in enumerate(zip(heads, sizes, strict=True)):
                owners = np.repeat(own, size // len(own))
                trace.count(node, "qkv_hidden_sizes", owners, position=index)

    def macs(self, node: ir.Node, inputs: Sequence[Known], output: Known) -> int:
        """The projection, scores of each query with each key, and sums over values."""
        data, weight = inputs[:2]
        if data is None or weight is None:
            raise TypeError("data whose shape is not known")
        length, columns = elements((data[1],)), elements((weight[1],))
        return elements(data[:2]) * (elements(weight) + length * columns * 2 // 3)
