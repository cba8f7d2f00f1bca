"""Ifs of which only one branch fits what comes behind: with the other the model cannot run.

Exporters write them where a size decides, as in ``squeeze()``, though a layer behind takes values
of one rank alone.
"""

from __future__ import annotations

import onnx_ir as ir

from nmcore_onnx.ir import constants
from nmcore_onnx.ir.types import Shapes
from nmcore_onnx.rewrite.inline_branches import decided, inline_branches
from nmcore_onnx.shapes.refinement import refined
from nmcore_onnx.trace.recurrent.layout import is_recurrent

# Each takes the inference of two models.
_MOST = 8


def fitting(model: ir.Model) -> dict[str, bool]:
    """The condition of one If with one branch that fits, by the name of the If's first output.

    Empty where there is none, or there are too many to try.
    """
    ifs = [node for node in model.graph if node.op_type == "If"]
    if len(ifs) > _MOST:
        return {}
    for node in ifs:
        name = str(node.outputs[0].name)
        fits = [taken for taken in (True, False) if not _contradicts(model, {name: taken})]
        if len(fits) == 1:
            return {name: fits[0]}
    return {}


def _contradicts(model: ir.Model, conditions: dict[str, bool]) -> bool:
    """Whether a model cannot run with these branches."""
    copy = model.clone()
    while conditions:
        inline_branches(copy.graph, conditions)
        shapes = refined(copy)
        if any(_has_other_rank(node, shapes) for node in copy.graph):
            return True
        conditions = decided(copy.graph, shapes)
    return False


def _has_other_rank(node: ir.Node, shapes: Shapes) -> bool:
    """Whether a node with a weight reads a value of more or fewer axes than it can."""
    data = node.inputs[0] if node.inputs else None
    shape = shapes.get(data.name or "") if data is not None else None
    wanted = 3 if is_recurrent(node) else None
    if node.op_type in ("Conv", "ConvTranspose") and node.domain in ("", "ai.onnx"):
        weight = constants.shape(node.inputs[1])
        wanted = None if weight is None else len(weight)
    return shape is not None and wanted is not None and len(shape) != wanted
