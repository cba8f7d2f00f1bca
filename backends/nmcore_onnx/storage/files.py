"""Reading, checking and writing ONNX files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx_ir.traversal import RecursiveGraphIterator

from nmcore.errors import ModelError, VerificationError
from nmcore_onnx.ir.tensors import tensors
from nmcore_onnx.shapes.inference import is_outline, outline
from nmcore_onnx.storage import external_data as external
from nmcore_onnx.storage.validation import one_line, validate

_PROTOBUF_LIMIT = 2**31 - 1
# Leave room for the graph around the weights.
_MAX_BYTES = 2**31 - 2**24


def load(path: Path, left_out: list[str]) -> ir.Model:
    """Read a model file; weights in external files are mapped, not read.

    What of it is not taken over is added to ``left_out``, a line each.

    Raises
    ------
    ModelError
        The file is no ONNX model, is damaged, or misses its external data.
    """
    return _validated(lambda: _read(path, left_out), str(path))


def from_proto(proto: onnx.ModelProto, left_out: list[str]) -> ir.Model:
    """Take over a model that was read elsewhere; see :func:`load`.

    Raises
    ------
    ModelError
        It is damaged, or its weights lie in files of an unknown folder.
    """
    return _validated(lambda: _deserialised(proto, left_out), "the model")


def from_bytes(data: bytes, left_out: list[str]) -> ir.Model:
    """Take over the content of a model file; see :func:`load`.

    Raises
    ------
    ModelError
        It is no ONNX model, is damaged, or its weights lie in files of an unknown folder.
    """
    return _validated(lambda: _deserialised(onnx.load_from_string(data), left_out), "the model")


def _validated(read: Callable[[], ir.Model], name: str) -> ir.Model:
    """Read a model and look at all of it: whatever goes wrong here lies in the model."""
    try:
        model = read()
        validate(model, name)
        _embed_attributes(model)
        _skeleton(model)  # what cannot be written again is refused before any work is done
    except ModelError:
        raise
    except DecodeError as error:
        raise ModelError(f"{name} is no ONNX model, or is damaged") from error
    except Exception as error:
        raise ModelError(f"{name} cannot be read as an ONNX model: {one_line(error)}") from error
    return model


def _read(path: Path, left_out: list[str]) -> ir.Model:
    size = path.stat().st_size
    if size > _PROTOBUF_LIMIT:
        raise ValueError(f"it has {size:,} bytes, and protobuf takes {_PROTOBUF_LIMIT:,}")
    proto = onnx.load(path, format="protobuf", load_external_data=False)
    model = _deserialised(proto, left_out)
    # An absolute path: where the folder has no name, onnx_ir does not check what leaves it.
    ir.external_data.set_base_dir(model.graph, path.absolute().parent)
    if path.is_symlink():
        for graph in model.graphs():
            for value in graph.initializers.values():
                value.const_value = _resolved(value.const_value, path)
    return model


def _resolved(tensor: ir.TensorProtocol | None, path: Path) -> ir.TensorProtocol | None:
    """A tensor of a model that is a symbolic link, where its data lies beside the link's target.

    Caches of model hubs keep all files in one folder, under digests, and link to them by name.
    """
    if not isinstance(tensor, ir.ExternalTensor):
        return tensor
    location = os.path.normpath(tensor.location)
    folder, data = (Path(os.path.realpath(each)) for each in (path, path.parent / location))
    folder = folder.parent
    escapes = os.path.isabs(location) or location.startswith(os.pardir)
    if escapes or not data.is_relative_to(folder):
        return tensor
    return ir.ExternalTensor(
        data.relative_to(folder),
        tensor.offset,
        tensor.length,
        tensor.dtype,
        shape=tensor.shape,
        name=str(tensor.name),
        base_dir=folder,
    )


def _embed_attributes(model: ir.Model) -> None:
    """Read constants in external files that are no initialisers."""
    for node in RecursiveGraphIterator(model.graph):
        for name, attribute in list(node.attributes.items()):
            if attribute.type == ir.AttributeType.TENSOR and not attribute.is_ref():
                tensor = attribute.as_tensor()
                if isinstance(tensor, ir.ExternalTensor):
                    data = ir.Tensor(tensor.numpy(), name=tensor.name)
                    node.attributes[name] = ir.AttrTensor(name, data)


def _deserialised(proto: onnx.ModelProto, left_out: list[str]) -> ir.Model:
    """Refuse, or tell, what onnx_ir would leave out in silence."""
    if proto.graph.sparse_initializer:
        raise ValueError("sparse weights are not supported; make them dense first")
    if not all(tensor.name for tensor in proto.graph.initializer):
        raise ValueError("a weight has no name")
    if proto.training_info:
        left_out.append(
            "the model's training_info (how it is trained further) was left out: "
            "it is of the weights as they were"
        )
    maps = {each.name: each.type for each in proto.graph.output if _has_map(each.type)}
    if maps:  # onnx_ir has no such types
        copy = onnx.ModelProto()
        copy.CopyFrom(proto)
        for values in (copy.graph.output, copy.graph.value_info):
            for each in values:
                if _has_map(each.type):
                    each.ClearField("type")
        proto = copy
    model = ir.from_proto(proto)
    for value in model.graph.outputs:
        if value.name in maps:
            value.meta[_TYPE] = maps[value.name]
    return model


# Where a value keeps a type that onnx_ir has not.
_TYPE = "nmcore.type"


def _has_map(kind: onnx.TypeProto) -> bool:
    """Whether a type is of maps, or of sequences of them."""
    while kind.HasField("sequence_type") or kind.HasField("optional_type"):
        inner = kind.sequence_type if kind.HasField("sequence_type") else kind.optional_type
        kind = inner.elem_type
    return bool(kind.HasField("map_type"))


def _bytes(model: ir.Model) -> bytes:
    data: bytes = _proto(model).SerializeToString()
    return data


def _proto(model: ir.Model) -> onnx.ModelProto:
    """A model as it is written down, with types that onnx_ir has not."""
    proto = ir.to_proto(model)
    for value, written in zip(model.graph.outputs, proto.graph.output, strict=True):
        if _TYPE in value.meta:
            written.type.CopyFrom(value.meta[_TYPE])
    # Outputs without a name at the end of a node's are left out by onnx_ir; runtimes choose other
    # kernels then, which round otherwise.
    for node, plain in zip(model.graph, proto.graph.node, strict=True):
        plain.output.extend([""] * (len(node.outputs) - len(plain.output)))
    return proto


def serialize(model: ir.Model) -> bytes:
    """A model as the bytes of an ONNX file.

    Raises
    ------
    ModelError
        It is larger than protobuf allows.
    """
    data: bytes = to_proto(model).SerializeToString()
    return data


def to_proto(model: ir.Model) -> onnx.ModelProto:
    """A model as the ONNX project's own object, with weights of external files in it.

    Raises
    ------
    ModelError
        It is larger than protobuf allows.
    """
    size = weight_bytes(model)
    if size > _MAX_BYTES:
        raise ModelError(
            f"the model's weights have {size:,} bytes, more than protobuf takes at once"
        )
    return _proto(_embedded(model))


def weight_bytes(model: ir.Model) -> int:
    """How many bytes all tensors of a model take."""
    return sum(tensor.nbytes for tensor in tensors(model))


def _embedded(model: ir.Model) -> ir.Model:
    """The model itself, or a copy of it without weights in external files."""
    if not any(isinstance(tensor, ir.ExternalTensor) for tensor in tensors(model)):
        return model
    copy = model.clone()
    for graph in copy.graphs():
        for value in graph.initializers.values():
            if isinstance(value.const_value, ir.ExternalTensor):
                value.const_value = ir.Tensor(value.const_value.numpy(), name=value.name)
    return copy


def write(model: ir.Model, folder: Path, name: str, external_data: bool | None) -> None:
    """Write a model into a folder: one file, or its graph and its large weights.

    Without ``external_data`` only what is too large for one file is divided.
    """
    if external_data is None:
        external_data = weight_bytes(model) > _MAX_BYTES
    if external_data:
        model = external.write(model, folder, name)
        data = _bytes(model)
    else:
        data = serialize(model)
    with (folder / name).open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def size(model: ir.Model) -> int:
    """How many bytes a model takes, written as one file."""
    weights = weight_bytes(model)
    return len(serialize(model)) if weights <= _MAX_BYTES else weights + len(_skeleton(model))


def check(model: ir.Model, original: ir.Model) -> None:
    """Run the ONNX checker with strict shape inference.

    Raises
    ------
    VerificationError
        The model fails where the original passes.
    """
    found = fault(model)
    if found is not None and fault(original) is None:
        raise VerificationError(f"the compressed model is not valid: {found}")


def fault(model: ir.Model) -> str | None:
    """Why a model is not valid ONNX, in one line, or None."""
    try:
        onnx.checker.check_model(_skeleton(model), full_check=True)
    except Exception as error:  # what cannot even be written down is not valid either
        return one_line(error)
    return None


def _skeleton(model: ir.Model) -> bytes:
    """A model whose large weights are inputs instead: as valid, and never beyond protobuf."""
    return _bytes(model if is_outline(model) else outline(model))
