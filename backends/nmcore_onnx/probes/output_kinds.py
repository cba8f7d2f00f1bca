"""What the last nodes of a graph show of its first output: features rather than class scores."""

from __future__ import annotations

import onnx_ir as ir

from nmcore_onnx.ir import constants

# What keeps numbers as they are or scales each channel, takes some of them, or pools positions.
_PASSED = frozenset(
    (
        *("Cast", "Concat", "Dropout", "Flatten", "Gather", "Identity", "Reshape", "Slice"),
        *("Squeeze", "Transpose", "Unsqueeze", "ReduceMax", "ReduceMean", "ReduceSum"),
        "BatchNormalization",
    )
)
# What features come from: no classifier ends in them.
_NORMS = frozenset(
    (
        *("GroupNormalization", "InstanceNormalization"),
        *("LayerNormalization", "LpNormalization", "RMSNormalization", "Tanh"),
        *("SimplifiedLayerNormalization", "SkipLayerNormalization"),
        "SkipSimplifiedLayerNormalization",
    )
)
# What numbers are scaled and shifted by, if the other factor is a constant.
_ARITHMETIC = frozenset(("Add", "Div", "Mul", "Sub"))


def gives_features(graph: ir.Graph) -> bool:
    """Whether the first output plainly holds features.

    It is followed backwards through changes of layout, reductions, constant factors and batch
    norms, which classifiers may end in too, to

    (1) a norm, or a Tanh, as poolers end in: features;
    (2) a quotient of computed values, as vectors of length 1 and means under a mask are: features,
        but for a softmax written as several nodes;
    (3) anything else, such as a layer with weights: they may be class scores.
    """
    value: ir.Value | None = graph.outputs[0] if graph.outputs else None
    while value is not None and (node := value.producer()) is not None:
        if node.op_type in _NORMS:
            return True
        if node.op_type in _PASSED:
            value = node.inputs[0]
        elif node.op_type in _ARITHMETIC:
            computed = [each for each in node.inputs if constants.tensor(each) is None]
            if len(computed) != 1:
                return node.op_type == "Div" and not _is_exponential(node.inputs[0])
            (value,) = computed
        else:
            return False
    return False


def _is_exponential(value: ir.Value | None) -> bool:
    maker = None if value is None else value.producer()
    return maker is not None and maker.op_type == "Exp"
