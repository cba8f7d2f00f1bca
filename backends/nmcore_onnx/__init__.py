"""nmcore's plugin for ONNX graphs: tracing channels, reading weights, writing smaller models."""

from nmcore_onnx.plugin import OnnxBackend

backend = OnnxBackend()

__all__ = ["OnnxBackend", "backend"]
