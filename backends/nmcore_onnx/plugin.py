"""The plugin object that the entry point names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from nmcore.errors import blaming
from nmcore_onnx.graph import OnnxGraph
from nmcore_onnx.ir import constants, defaults
from nmcore_onnx.ir.types import Shapes
from nmcore_onnx.rewrite.fold_transposes import fold_transposes, foldable
from nmcore_onnx.shapes.refinement import refined
from nmcore_onnx.storage import files


class OnnxBackend:
    """Opens ONNX files, ``onnx.ModelProto`` and ``onnx_ir.Model`` objects."""

    name = "onnx"

    def accepts(self, model: Any) -> bool:
        """Any file, since ONNX has no signature to look for, and ONNX's own objects."""
        return isinstance(model, (Path, onnx.ModelProto, ir.Model))

    def open(self, model: Any) -> OnnxGraph:
        """Read and trace a model.

        Raises
        ------
        nmcore.errors.ModelError
            It cannot be read, or is not valid ONNX in a way that cannot be followed.
        """
        name = str(model) if isinstance(model, Path) else "the model"
        left_out: list[str] = []
        if isinstance(model, Path):
            model = files.load(model, left_out)
        elif isinstance(model, onnx.ModelProto):
            model = files.from_proto(model, left_out)
        else:
            model = model.clone()  # the caller's own stays as it is
        with blaming(name, lambda: files.fault(model)):
            defaults.mark(model)
            return _traced(model, left_out)


def _traced(model: ir.Model, left_out: Sequence[str]) -> OnnxGraph:
    """Trace a model, with Transposes folded into the weights that channels are removed from."""
    shapes = refined(model)
    names = foldable(model.graph)
    if not names:
        return OnnxGraph(model, shapes, left_out)
    graph = _folded(model, shapes, names, left_out)
    useful = [name for name in names if name in graph.weights()]
    return graph if useful == names else _folded(model, shapes, useful, left_out)


def _folded(
    model: ir.Model, shapes: Shapes, names: Sequence[str], left_out: Sequence[str]
) -> OnnxGraph:
    """Trace a copy, as the caller's own model stays as it is; only the weights' shapes change."""
    copy = model.clone()
    fold_transposes(copy.graph, names)
    transposed = {name: constants.shape(copy.graph.initializers[name]) or () for name in names}
    return OnnxGraph(copy, {**shapes, **transposed}, left_out)
