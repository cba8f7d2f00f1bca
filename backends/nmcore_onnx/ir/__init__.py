"""Helpers over onnx-ir: constants, constant folding, tensors, nodes, and the types they share."""
