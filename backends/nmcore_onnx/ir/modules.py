"""What else a node is called: its weights, and the PyTorch module that it was exported from."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

import onnx_ir as ir

from nmcore_onnx.ir import constants

# Where the newer exporter of PyTorch keeps the modules around a node, the innermost before the
# last, which is the node itself.
SCOPES = "pkg.torch.onnx.name_scopes"


def other_names(node: ir.Node, values: Sequence[ir.Value | None]) -> list[str]:
    """The names of some inputs of a node that are constants, and of the node's module.

    Parameters
    ----------
    values : sequence of ir.Value or None
        The inputs.
    """
    found: dict[str, None] = {}
    for value in values:
        source = constants.source(value)
        if source is not None and source.name and constants.tensor(source) is not None:
            found[source.name] = None
            found.update(dict.fromkeys(_module_of_weight(source.name)))
    found.update(dict.fromkeys(_module_of_path(node.name or "")))
    found.update(dict.fromkeys(_module_of_scopes(node.metadata_props.get(SCOPES, ""))))
    return [*found]


def _module_of_weight(name: str) -> Iterator[str]:
    """The module that a parameter belongs to.

    >>> [*_module_of_weight("layer1.0.conv1.weight")], [*_module_of_weight("onnx::Conv_554")]
    (['layer1.0.conv1'], [])
    """
    module, _, last = name.rpartition(".")
    if module and last.startswith(("weight", "bias", "running_", "in_proj_")):
        yield module


def _module_of_path(name: str) -> Iterator[str]:
    """The module in whose call a node stands, as the older exporter of PyTorch names nodes.

    A step of the path that begins with the one before, as those of lists of modules do, stands for
    both.

    >>> [*_module_of_path("/layer3/layer3.0/conv1/Conv")]
    ['layer3.0.conv1']
    >>> [*_module_of_path("/model.22/cv2.0/cv2.0.2/Conv")]
    ['model.22.cv2.0.2']
    """
    if not name.startswith("/"):
        return
    steps: list[str] = []
    for step in name.split("/")[1:-1]:
        if steps and step.startswith(f"{steps[-1]}."):
            steps.pop()
        steps.append(step)
    if steps:
        yield ".".join(steps)


def _module_of_scopes(scopes: str) -> Iterator[str]:
    """The same of the newer exporter.

    >>> [*_module_of_scopes("['', 'layer1', 'layer1.0', 'layer1.0.conv1', 'conv2d_2']")]
    ['layer1.0.conv1']
    """
    try:
        found = ast.literal_eval(scopes)
    except (SyntaxError, ValueError):
        return
    if isinstance(found, list) and len(found) > 1 and isinstance(found[-2], str) and found[-2]:
        yield found[-2]
