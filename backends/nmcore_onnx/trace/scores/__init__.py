"""Query and key channels inside attention heads: where they are made, pass and meet."""

from nmcore_onnx.trace.scores.pairs import find_pairs
from nmcore_onnx.trace.scores.slots import HeadValue, InnerCount, Side, TracedPair

__all__ = ["HeadValue", "InnerCount", "Side", "TracedPair", "find_pairs"]
