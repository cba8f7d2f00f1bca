"""Reading, checking and writing ONNX files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from nmcore.errors import ModelError, VerificationError
from nmcore.files import atomic_write

# protobuf's limit is 2 GiB; leave room for the graph around the weights.
_MAX_BYTES = 2**31 - 2**24


def load(path: Path) -> ir.Model:
    """Read a model file.

    Raises
    ------
    ModelError
        The file is no ONNX model, is damaged, or misses its external data.
    """
    try:
        model = ir.load(path)
    except Exception as error:
        raise ModelError(f"{path} cannot be read as an ONNX model: {one_line(error)}") from error
    if not list(model.graph) and not model.graph.outputs:
        raise ModelError(f"{path} is no ONNX model: it holds no graph")
    for name, value in model.graph.initializers.items():
        _check_tensor(path, name, value.const_value)
    return model


def _check_tensor(path: Path, name: str, tensor: Any) -> None:
    """A damaged tensor shows when it is read; find out before anything is computed."""
    try:
        if isinstance(tensor, ir.ExternalTensor):
            size = Path(tensor.path).stat().st_size
            if size < (tensor.offset or 0) + (tensor.length or tensor.nbytes):
                raise ValueError(f"its data file {tensor.location} is too short")
        elif tensor is not None:
            tensor.numpy()
    except Exception as error:
        raise ModelError(f"{path}: the weight {name!r} is damaged: {one_line(error)}") from error


def one_line(error: BaseException) -> str:
    """The first line of an error's message, or its type."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def serialize(model: ir.Model) -> bytes:
    """A model as the bytes of an ONNX file.

    Raises
    ------
    ModelError
        It is larger than protobuf allows.
    """
    size = sum(v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value)
    if size > _MAX_BYTES:
        raise ModelError(
            f"the model has {size:,} bytes of weights; above 2 GiB is not supported yet"
        )
    data: bytes = ir.to_proto(model).SerializeToString()
    return data


def save(model: ir.Model, path: Path) -> None:
    """Write a model beside ``path`` and rename it over."""
    atomic_write(path, serialize(model))


def check(model: ir.Model, original: ir.Model) -> None:
    """Run the ONNX checker with strict shape inference.

    Raises
    ------
    VerificationError
        The model fails where the original passes.
    """
    fault = _fault(model)
    if fault is not None and _fault(original) is None:
        raise VerificationError(f"the compressed model is not valid: {fault}")


def _fault(model: ir.Model) -> str | None:
    try:
        onnx.checker.check_model(serialize(model), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        return str(error)
    return None
