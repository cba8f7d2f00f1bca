"""The plugin object that the entry point names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from nmcore.errors import blaming
from nmcore_onnx import files
from nmcore_onnx.graph import OnnxGraph


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
        if isinstance(model, Path):
            model = files.load(model)
        elif isinstance(model, onnx.ModelProto):
            model = files.from_proto(model)
        with blaming(name, lambda: files.fault(model)):
            return OnnxGraph(model)
