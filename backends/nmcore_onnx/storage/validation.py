"""Validation of untrusted models: their tensors, their data files and their wiring.

Each check costs next to nothing beside tracing the graph; weights in external files are not read.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import onnx_ir as ir
from onnx_ir.traversal import RecursiveGraphIterator

from nmcore.errors import ModelError
from nmcore_onnx.ir.tensors import tensors


def validate(model: ir.Model, name: str) -> None:
    """Refuse a model whose tensors or wiring cannot be trusted; sort its nodes where needed.

    Parameters
    ----------
    model : ir.Model
        As it was read. onnxruntime takes nodes in any order, so they are put in order here.
    name : str
        What errors call it.

    Raises
    ------
    ModelError
        A tensor disagrees with its shape or lies outside the model's folder, a node reads what
        nothing makes, nodes feed each other in a circle, or a Transpose's axes are no permutation.
    """
    nodes = list(RecursiveGraphIterator(model.graph))
    if not nodes and not model.graph.outputs:
        raise ModelError(f"{name} is no ONNX model: it holds no graph")
    for tensor in tensors(model):
        fault = _fault_of(tensor)
        if fault is not None:
            raise ModelError(f"{name}: the weight {tensor.name!r} cannot be used: {fault}")
    _check_wiring(model.graph, nodes, name)
    _check_orders(nodes, name)
    _sort(model.graph, name)


def _fault_of(tensor: ir.TensorProtocol) -> str | None:
    """What is wrong with a tensor, or None; nothing is allocated that its file does not hold."""
    if tensor.dtype == ir.DataType.UNDEFINED:
        return "it has no element type"
    sizes = [size if isinstance(size, int) else -1 for size in tensor.shape]
    if any(size < 0 for size in sizes):
        return f"its shape is {sizes}"
    if isinstance(tensor, ir.ExternalTensor):
        return _fault_of_file(tensor)
    try:
        if isinstance(tensor, ir.StringTensor):
            fits = len(tensor.string_data()) == tensor.size
        elif isinstance(tensor, ir.serde.TensorProtoTensor):
            # The count comes first: an empty tensor would be filled up with zeros to any size.
            fits = len(tensor.tobytes()) == tensor.nbytes and tensor.numpy() is not None
        else:  # an array, which holds what it says
            fits = True
    except Exception as error:  # whatever the data makes of the reader
        return one_line(error)
    return None if fits else f"its shape {sizes} does not fit its data"


def _fault_of_file(tensor: ir.ExternalTensor) -> str | None:
    """What is wrong with where a tensor's data lies: it must be inside the model's folder."""
    shown = repr(os.fspath(tensor.location))
    if not tensor.base_dir:
        return f"its data file {shown} is of no known folder; give the path of the model"
    folder = Path(os.path.realpath(tensor.base_dir))
    path = Path(os.path.realpath(tensor.path))
    if os.path.isabs(tensor.location) or not path.is_relative_to(folder):
        return f"its data file {shown} is outside the model's folder"
    if not os.path.isfile(path):
        return f"its data file {shown} does not exist"
    if path.stat().st_nlink > 1:
        return f"its data file {shown} has a second name (a hard link), which may lie elsewhere"
    offset, length = tensor.offset or 0, tensor.length
    if offset < 0 or (length is not None and length != tensor.nbytes):
        return f"its offset {offset} and length {length} do not fit its shape"
    if path.stat().st_size < offset + tensor.nbytes:
        return f"its data file {shown} is too short"
    return None


def _check_wiring(graph: ir.Graph, nodes: Iterable[ir.Node], name: str) -> None:
    for node in nodes:
        for value in node.inputs:
            if value is not None and not _is_made(value):
                what = f"{node.op_type} {node.name or '?'!r}"
                raise ModelError(
                    f"{name}: the node {what} reads {value.name!r}, which nothing makes"
                )
    for value in graph.outputs:
        if not _is_made(value):
            raise ModelError(f"{name}: its output {value.name!r} is made by nothing")


def _check_orders(nodes: Iterable[ir.Node], name: str) -> None:
    """ONNX's own checker looks only where it knows the rank of what is transposed."""
    for node in nodes:
        order = node.attributes.get("perm")
        if node.op_type != "Transpose" or node.domain or order is None:
            continue
        if order.is_ref() or order.type != ir.AttributeType.INTS:  # the checker's business
            continue
        axes = list(order.as_ints())
        if sorted(axes) != list(range(len(axes))):
            raise ModelError(
                f"{name}: the axes {axes} of the node Transpose {node.name or '?'!r} are no "
                "permutation"
            )


def _is_made(value: ir.Value) -> bool:
    return value.producer() is not None or value.is_graph_input() or value.is_initializer()


def _sort(graph: ir.Graph, name: str) -> None:
    """Put nodes behind those they read from; ONNX asks for it and not every exporter does it."""
    if _is_sorted(graph):
        return
    try:
        graph.sort()
    except ValueError:
        raise ModelError(f"{name}: its nodes feed each other in a circle") from None


def _is_sorted(graph: ir.Graph) -> bool:
    for scope in [graph, *graph.subgraphs()]:
        seen: set[ir.Node] = set()
        for node in scope:
            for value in node.inputs:
                maker = value.producer() if value is not None else None
                if maker is not None and maker.graph is scope and maker not in seen:
                    return False
            seen.add(node)
    return True


def one_line(error: BaseException) -> str:
    """The first line of an error's message, or its type; where one led to another, of the first."""
    while error.__context__ is not None:
        error = error.__context__
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
