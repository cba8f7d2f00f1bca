"""Weights in files of their own beside the model: read as maps of memory, written as a stream."""

from __future__ import annotations

import hashlib
import mmap
import os
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx_ir as ir

# Tensors of fewer bytes stay in the model, where tools that look at shapes find them.
THRESHOLD = 1024
# Where each tensor starts, so that runtimes can map it: the pages of any processor.
_ALIGNMENT = 4096
_DIGITS = 12


def forget(tensor: ir.TensorProtocol | None) -> None:
    """Let the system take back the memory of a mapped tensor; it is read again when needed."""
    mapped = tensor.raw if isinstance(tensor, ir.ExternalTensor) else None
    if mapped is not None and hasattr(mapped, "madvise"):  # not on Windows
        mapped.madvise(mmap.MADV_DONTNEED)


def data_files(tensors: Iterable[ir.TensorProtocol]) -> list[Path]:
    """The files that tensors lie in, each once, in order of their names."""
    paths = {Path(tensor.path) for tensor in tensors if isinstance(tensor, ir.ExternalTensor)}
    return sorted(paths)


def write(model: ir.Model, folder: Path, name: str) -> ir.Model:
    """Write the large weights of a model into a file, one after the other.

    Parameters
    ----------
    model : ir.Model
        Not changed.
    folder : Path
        Where the file goes.
    name : str
        Of the model's file; the data's is this, some digits of its digest, and ``.data``. As its
        content is in its name, it can take no other file's place.

    Returns
    -------
    ir.Model
        A copy that refers to the file; there is none where no weight is large enough.
    """
    copy = model.clone()
    large = [
        value
        for graph in copy.graphs()
        for value in graph.initializers.values()
        if value.const_value is not None
        and value.const_value.nbytes >= THRESHOLD
        and value.const_value.dtype != ir.DataType.STRING
    ]
    if not large:
        return copy
    digest, places = hashlib.sha256(), []
    draft = folder / f"{name}.data"
    with draft.open("wb") as file:
        for value in large:
            tensor = value.const_value
            assert tensor is not None
            gap = bytes(-file.tell() % _ALIGNMENT)
            content = _content(tensor)
            for part in (gap, content):
                file.write(part)
                digest.update(part)
            places.append(file.tell() - len(content))
            forget(tensor)
        file.flush()
        os.fsync(file.fileno())
    path = draft.rename(folder / f"{name}.{digest.hexdigest()[:_DIGITS]}.data")
    for value, place in zip(large, places, strict=True):
        value.const_value = _reference(value, path, place)
    return copy


def _content(tensor: ir.TensorProtocol) -> memoryview | bytes:
    """The bytes of a tensor as ONNX has them, without a second copy where that is possible."""
    if tensor.dtype.bitwidth < 8 or sys.byteorder != "little":
        return tensor.tobytes()
    return np.ascontiguousarray(tensor.numpy()).reshape(-1).view(np.uint8).data


def _reference(value: ir.Value, path: Path, place: int) -> ir.ExternalTensor:
    tensor = value.const_value
    assert tensor is not None
    return ir.ExternalTensor(
        path.name,
        place,
        tensor.nbytes,
        tensor.dtype,
        shape=ir.Shape(tensor.shape.numpy()),
        name=str(value.name),
        base_dir=path.parent,
    )
