"""Models with quantised weights: read as models of floats, and quantised again when written."""

from nmcore_onnx.quantisation.forms import count, dequantised, requantise
from nmcore_onnx.quantisation.rounding import without_rounding

__all__ = ["count", "dequantised", "requantise", "without_rounding"]
