"""Small ONNX graphs, written as a chain of layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Chain:
    """Layers one after the other; ``value`` is the name of the last one's output."""

    def __init__(
        self,
        shape: tuple[int | str, ...] = ("n", 3, 8, 8),
        *,
        opset: int = 17,
        seed: int = 0,
        dtype: type = np.float32,
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.shape, self.opset, self.dtype = shape, opset, np.dtype(dtype)
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.value = "input"
        self.width = shape[1]
        self.counts: dict[str, int] = {}

    def constant(self, array: Any, name: str | None = None) -> str:
        name = name or f"constant_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def weight(self, *shape: int) -> np.ndarray:
        scaled = self.rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        return scaled.astype(self.dtype)

    def node(self, op: str, *inputs: Any, **attributes: Any) -> Chain:
        """Append ``op(value, *inputs)``; arrays among the inputs become initialisers."""
        names = [
            each if isinstance(each, str) else self.constant(np.asarray(each)) for each in inputs
        ]
        return self.raw(op, self.value, *names, **attributes)

    def raw(self, op: str, *names: str, **attributes: Any) -> Chain:
        """Append ``op(*names)``."""
        number = self.counts[op] = self.counts.get(op, 0) + 1
        name = f"{op.lower()}{number}"
        self.nodes.append(helper.make_node(op, list(names), [f"{name}_out"], name, **attributes))
        self.value = f"{name}_out"
        return self

    def conv(self, width: int, kernel: int | tuple[int, ...] = 3, **attributes: Any) -> Chain:
        size = (kernel,) * (len(self.shape) - 2) if isinstance(kernel, int) else kernel
        channels = self.width // attributes.get("group", 1)
        self.node(
            "Conv", self.weight(width, channels, *size), self.weight(width, 1)[:, 0], **attributes
        )
        self.width = width
        return self

    def gemm(self, width: int, features: int | None = None, **attributes: Any) -> Chain:
        """A Gemm with transB unless told otherwise; ``features`` is what flattening made."""
        attributes.setdefault("transB", 1)
        weight = self.weight(width, features or self.width)
        if not attributes["transB"]:
            weight = np.ascontiguousarray(weight.T)
        self.node("Gemm", weight, self.weight(width, 1)[:, 0], **attributes)
        self.width = width
        return self

    def matmul(self, width: int, *, bias: bool = True) -> Chain:
        self.node("MatMul", np.ascontiguousarray(self.weight(width, self.width).T))
        self.width = width
        return self.node("Add", self.weight(width, 1)[:, 0]) if bias else self

    def batch_norm(self, **attributes: Any) -> Chain:
        gamma, beta, mean = (self.weight(self.width, 1)[:, 0] + k for k in (1, 0, 0))
        var = np.abs(self.weight(self.width, 1)[:, 0]) + self.dtype.type(0.5)
        return self.node("BatchNormalization", gamma, beta, mean, var, **attributes)

    def build(self, *outputs: str, check: bool = True) -> onnx.ModelProto:
        kind = helper.np_dtype_to_tensor_dtype(self.dtype)
        graph = helper.make_graph(
            self.nodes,
            "network",
            [helper.make_tensor_value_info("input", kind, list(self.shape))],
            [helper.make_tensor_value_info(name, kind, None) for name in outputs or [self.value]],
            self.initializers,
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8
        )
        if check:
            inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
            for declared, known in zip(model.graph.output, inferred.graph.output, strict=True):
                declared.CopyFrom(known)
            onnx.checker.check_model(model, full_check=True)
        return model


def run(model: onnx.ModelProto | bytes, feeds: dict[str, Any]) -> list[np.ndarray]:
    """Run a model on the CPU."""
    import onnxruntime

    data = model if isinstance(model, bytes) else model.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def initializer(model: onnx.ModelProto, name: str) -> np.ndarray:
    """An initialiser as an array."""
    return next(numpy_helper.to_array(t) for t in model.graph.initializer if t.name == name)


__all__ = ["Chain", "TensorProto", "initializer", "run"]
