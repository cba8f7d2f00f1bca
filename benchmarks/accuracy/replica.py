"""An ONNX file as a PyTorch module, for programs that prune PyTorch modules.

Only what the networks of these benchmarks are made of is known; weights become the parameters of
modules that bear the names of their nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import NodeProto, numpy_helper
from torch import Tensor, nn
from torch.nn import functional

Attributes = Mapping[str, Any]


def _pads(given: Attributes) -> tuple[int, int]:
    """Symmetric pads; PyTorch knows no others here."""
    top, left, bottom, right = given.get("pads", (0, 0, 0, 0))
    if (top, left) != (bottom, right):
        raise ValueError(f"pads {given['pads']} differ from side to side")
    return top, left


def _pool(function: Callable[..., Tensor]) -> Callable[[Attributes, list[Tensor]], Tensor]:
    return lambda given, x: function(
        x[0], tuple(given["kernel_shape"]), tuple(given["strides"]), _pads(given)
    )


# What nodes without weights do.
FUNCTIONS: dict[str, Callable[[Attributes, list[Tensor]], Tensor]] = {
    "Relu": lambda given, x: functional.relu(x[0]),
    "Tanh": lambda given, x: torch.tanh(x[0]),
    "Add": lambda given, x: x[0] + x[1],
    "MaxPool": _pool(functional.max_pool2d),
    "AveragePool": _pool(functional.avg_pool2d),
    "Flatten": lambda given, x: x[0].flatten(1),
    # The only reshape of these networks makes rows of pictures.
    "Reshape": lambda given, x: x[0].flatten(1),
}
# What computes the shape of that reshape.
SHAPES = ("Shape", "Constant", "Gather", "Unsqueeze", "Concat", "Identity")


class Replica(nn.Module):
    """The network of an ONNX file.

    Parameters
    ----------
    model : Path
        The file.

    Attributes
    ----------
    of_node : dict of node name to module
        The modules that hold weights.
    """

    def __init__(self, model: Path) -> None:
        super().__init__()
        graph = onnx.load(model).graph
        weights = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
        for node in graph.node:
            if node.op_type == "Identity" and node.input[0] in weights:
                weights[node.output[0]] = weights[node.input[0]]
        self._nodes = [node for node in graph.node if node.op_type not in SHAPES]
        self.of_node: dict[str, nn.Module] = {}
        for node in self._nodes:
            if node.op_type not in FUNCTIONS:
                self.of_node[node.name] = _module(node, weights)
        self.weighted = nn.ModuleList(self.of_node.values())

    def forward(self, x: Tensor) -> Tensor:
        """Run the nodes in their order."""
        values = {self._nodes[0].input[0]: x}
        for node in self._nodes:
            module = self.of_node.get(node.name)
            if module is None:
                read = [values[name] for name in node.input if name in values]
                found = FUNCTIONS[node.op_type](_attributes(node), read)
            else:
                found = module(values[node.input[0]])
            values[node.output[0]] = found
        return found


def _attributes(node: NodeProto) -> dict[str, Any]:
    return {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}


def _module(node: NodeProto, weights: Mapping[str, Any]) -> nn.Module:
    """The module of a node with weights."""
    given = _attributes(node)
    held = [torch.tensor(weights[name]) for name in node.input[1:]]
    outputs, inputs = len(held[0]), held[0].shape[-1]
    module: nn.Module
    if node.op_type == "Conv":
        inputs = held[0].shape[1] * given.get("group", 1)
        module = nn.Conv2d(
            inputs,
            outputs,
            tuple(held[0].shape[2:]),
            tuple(given.get("strides", (1, 1))),
            _pads(given),
            groups=given.get("group", 1),
            bias=len(held) > 1,
        )
    elif node.op_type == "Gemm" and given.get("transB"):
        module = nn.Linear(inputs, outputs, bias=len(held) > 1)
    elif node.op_type == "BatchNormalization":
        kind = nn.BatchNorm1d if node.name.startswith("gemm") else nn.BatchNorm2d
        module = kind(outputs, eps=given.get("epsilon", 1e-5))
    else:
        raise ValueError(f"{node.op_type} is not known")
    names = ("weight", "bias", "running_mean", "running_var")[: len(held)]
    module.load_state_dict(dict(zip(names, held, strict=True)), strict=False)
    return module.eval()
