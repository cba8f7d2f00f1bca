"""The plugin object that the entry point names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from nmcore_onnx import files
from nmcore_onnx.graph import OnnxGraph
from nmcore_onnx.turning import turn_weights


class OnnxBackend:
    """Opens ONNX files, ``onnx.ModelProto`` and ``onnx_ir.Model`` objects."""

    name = "onnx"

    def accepts(self, model: Any) -> bool:
        """Any file, since ONNX has no signature to look for, and ONNX's own objects."""
        return isinstance(model, (Path, onnx.ModelProto, ir.Model))

    def open(self, model: Any) -> OnnxGraph:
        """Read and trace a model."""
        if isinstance(model, Path):
            model = files.load(model)
        elif isinstance(model, onnx.ModelProto):
            model = ir.from_proto(model)
        else:
            model = model.clone()  # The caller's own stays as it is.
        turn_weights(model.graph)
        return OnnxGraph(model)
