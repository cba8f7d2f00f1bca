"""Query and key channels inside attention heads: where they are made, pass and meet."""

from nmcore_onnx.trace.scores.pairs import find_pairs
from nmcore_onnx.trace.scores.slots import InnerCount, Passed, Side, TracedPair

__all__ = ["InnerCount", "Passed", "Side", "TracedPair", "find_pairs"]
