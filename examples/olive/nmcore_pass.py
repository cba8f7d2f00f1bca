"""A pass for Olive that removes channels with nmcore."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from olive.hardware.accelerator import AcceleratorSpec
from olive.model import ONNXModelHandler
from olive.model.utils import resolve_onnx_path
from olive.passes import Pass
from olive.passes.pass_config import BasePassConfig, PassConfigParam

import nmcore


class NmcoreCompression(Pass):
    """Remove channels from an ONNX model, and merge what they did into the next layers."""

    # The options of nmcore.compress that a workflow may set.
    OPTIONS: ClassVar[dict[str, tuple[type, str]]] = {
        "macs": (float, "Keep at most this share of the multiply-accumulates."),
        "params": (float, "Keep at most this share of the parameters."),
        "ratio": (float, "Remove this share of the channels of every group."),
        "data": (str, "A file or folder of unlabelled inputs."),
        "preprocess": (str, "What these go through, by name or as a JSON file."),
        "samples": (int, "Measure on so many of them."),
        "then": (str, "int8 or fp16: what the weights become in the end."),
    }

    @classmethod
    def _default_config(cls, accelerator_spec: AcceleratorSpec) -> dict[str, PassConfigParam]:
        return {
            name: PassConfigParam(type_=kind, default_value=None, description=words)
            for name, (kind, words) in cls.OPTIONS.items()
        }

    def _run_for_config(
        self, model: ONNXModelHandler, config: type[BasePassConfig], output_model_path: str
    ) -> ONNXModelHandler:
        target = resolve_onnx_path(output_model_path, Path(model.model_path).name)
        given = {name: getattr(config, name) for name in self.OPTIONS}
        options = {name: value for name, value in given.items() if value is not None}
        result = nmcore.compress(model.model_path, **options)
        print(result)
        result.save(target)
        return ONNXModelHandler(model_path=target)
