"""VGG-16 and ResNet-34 for ImageNet with random weights: the shapes, for arithmetic and tests.

Torchvision's networks of these names have the same layers; batch norms are folded here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET, IR_VERSION = 17, 8
CLASSES = 1000
VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
RESNET34 = ((64, 3), (128, 4), (256, 6), (512, 3))


class Builder:
    """Nodes one after another, with random weights of sensible size.

    ``narrow`` divides all hidden widths, which makes a small network of the same form.
    """

    def __init__(self, narrow: int = 1, seed: int = 0) -> None:
        self.narrow = narrow
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def node(self, op: str, name: str, *inputs: str, **attributes: Any) -> str:
        """Add an operator and return the name of its output."""
        self.nodes.append(helper.make_node(op, inputs, [f"{name}_out"], name=name, **attributes))
        return f"{name}_out"

    def conv(
        self, name: str, value: str, inputs: int, outputs: int, kernel: int, stride: int = 1
    ) -> str:
        """Add a convolution that keeps the size of the map, or halves it."""
        weight = self._weight(f"{name}.weight", outputs, inputs, kernel, kernel)
        bias = self._weight(f"{name}.bias", outputs)
        geometry = {
            "kernel_shape": [kernel] * 2,
            "pads": [kernel // 2] * 4,
            "strides": [stride] * 2,
        }
        return self.node("Conv", name, value, weight, bias, **geometry)

    def gemm(self, name: str, value: str, inputs: int, outputs: int) -> str:
        """Add a fully connected layer."""
        weight = self._weight(f"{name}.weight", outputs, inputs)
        bias = self._weight(f"{name}.bias", outputs)
        return self.node("Gemm", name, value, weight, bias, transB=1)

    def _weight(self, name: str, *shape: int) -> str:
        scale = math.sqrt(2 / math.prod(shape[1:])) if len(shape) > 1 else 0.01
        array = scale * self.random.standard_normal(shape, dtype=np.float32)
        self.weights.append(numpy_helper.from_array(array.astype(np.float32), name))
        return name

    def model(self, name: str, output: str) -> onnx.ModelProto:
        """Wrap all up: ``input`` (n, 3, 224, 224) to class scores (n, 1000)."""
        images = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, 224, 224])
        scores = helper.make_tensor_value_info(output, TensorProto.FLOAT, ["n", CLASSES])
        graph = helper.make_graph(self.nodes, name, [images], [scores], self.weights)
        opset = helper.make_opsetid("", OPSET)
        return helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)


def vgg16(narrow: int = 1, seed: int = 0) -> onnx.ModelProto:
    """Build VGG-16: thirteen convolutions, then 4096, 4096 and 1000 outputs."""
    build = Builder(narrow, seed)
    value, inputs = "input", 3
    for stage, widths in enumerate(VGG16, 1):
        for place, full in enumerate(widths, 1):
            name, width = f"conv{stage}_{place}", full // narrow
            value = build.conv(name, value, inputs, width, 3)
            value = build.node("Relu", f"relu{stage}_{place}", value)
            inputs = width
        halved = {"kernel_shape": [2, 2], "strides": [2, 2]}
        value = build.node("MaxPool", f"pool{stage}", value, **halved)
    value, inputs = build.node("Flatten", "flatten", value), inputs * 7 * 7
    for name in ("fc6", "fc7"):
        value = build.gemm(name, value, inputs, 4096 // narrow)
        value, inputs = build.node("Relu", f"{name}_relu", value), 4096 // narrow
    return build.model("vgg16", build.gemm("fc8", value, inputs, CLASSES))


def resnet34(narrow: int = 1, seed: int = 0) -> onnx.ModelProto:
    """Build ResNet-34: sixteen blocks of two convolutions beside a shortcut."""
    build = Builder(narrow, seed)
    inputs = 64 // narrow
    value = build.node("Relu", "stem_relu", build.conv("stem", "input", 3, inputs, 7, 2))
    pool = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    value = build.node("MaxPool", "stem_pool", value, **pool)
    for stage, (full, blocks) in enumerate(RESNET34, 1):
        width = full // narrow
        for place in range(blocks):
            stride = 2 if stage > 1 and place == 0 else 1
            value = _block(build, f"layer{stage}.{place}", value, inputs, width, stride)
            inputs = width
    value = build.node("GlobalAveragePool", "pool", value)
    value = build.node("Flatten", "flatten", value)
    return build.model("resnet34", build.gemm("fc", value, inputs, CLASSES))


def _block(build: Builder, name: str, value: str, inputs: int, width: int, stride: int) -> str:
    inner = build.conv(f"{name}.conv1", value, inputs, width, 3, stride)
    inner = build.node("Relu", f"{name}.relu1", inner)
    inner = build.conv(f"{name}.conv2", inner, width, width, 3)
    if inputs != width:
        value = build.conv(f"{name}.shortcut", value, inputs, width, 1, stride)
    return build.node("Relu", f"{name}.relu2", build.node("Add", f"{name}.add", inner, value))


BUILDERS: dict[str, Callable[..., onnx.ModelProto]] = {"vgg16": vgg16, "resnet34": resnet34}
