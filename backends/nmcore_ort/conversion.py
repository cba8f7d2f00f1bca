"""Models in smaller numbers: quantised by onnxruntime's quantiser, or in half precision.

Both are onnxruntime's own (MIT licence, kept with the runtime), so nothing else is installed.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from nmcore.errors import ModelError
from nmcore.plugins.conversion import Converted
from nmcore_ort.installation import onnxruntime
from nmcore_ort.providers import one_line

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

Feeds = Mapping[str, NDArray[Any]]
INT8, FP16 = "int8", "fp16"

_CONVOLUTIONS = ("Conv", "ConvTranspose")
_RECURRENT = ("LSTM", "GRU", "RNN")
_PRODUCTS = ("MatMul", "Gemm", "Attention", "Gather")
# What of a network of convolutions becomes integers: what has weights, and what stands between.
_STATIC = (
    *(*_CONVOLUTIONS, "MatMul", "Gemm", "Add", "Mul", "Relu", "Clip", "LeakyRelu", "Sigmoid"),
    *("MaxPool", "AveragePool", "GlobalAveragePool", "Concat", "Split", "Resize"),
    *("Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Pad", "Slice"),
)
# A scale for each channel of a weight needs this version of the operators.
_PER_CHANNEL_OPSET = 13


def convert(model: bytes, to: str, feeds: Callable[[], Sequence[Feeds]]) -> Converted:
    """See :class:`nmcore.plugins.conversion.Converting`."""
    onnxruntime()
    import onnx

    with _unheard():
        try:
            given = onnx.load_from_string(model)
            _check_floats(given, to, "the result")
            found, how, fitted = _half(given) if to == FP16 else _integers(given, feeds)
            found = _sorted(found)
            # The optimiser before the quantiser drops these.
            found.doc_string = given.doc_string
            known = {each.key for each in found.metadata_props}
            found.metadata_props.extend(p for p in given.metadata_props if p.key not in known)
            return Converted(found.SerializeToString(), how, fitted)
        except ModelError:
            raise
        except Exception as error:  # They share no narrower base class.
            raise ModelError(
                f"the result cannot be converted to {to} by onnxruntime: {one_line(error)}"
            ) from error


def check_convertible(model: bytes, to: str) -> None:
    """See :class:`nmcore.plugins.conversion.Converting`."""
    import onnx

    _check_floats(onnx.load_from_string(model), to, "the model")


def _check_floats(model: ModelProto, to: str, name: str) -> None:
    """Raise where nothing would become another: the converters leave out what bodies hold."""
    floats = _floats(model.graph)
    if to == INT8 and floats:
        floats = _quantisable(model.graph, floats)
    if not floats:
        where = " outside of the bodies of its If, Loop or Scan" if _has_bodies(model) else ""
        raise ModelError(f"{name} has no fp32 weights{where} that could be converted to {to}")


def _floats(graph: GraphProto) -> set[str]:
    """The floating-point constants of a graph that are no single numbers."""
    import onnx

    tensors = [(each.name, each) for each in graph.initializer]
    for node in graph.node:
        if node.op_type == "Constant":
            values = [each.t for each in node.attribute if each.name == "value"]
            tensors += [(node.output[0], value) for value in values]
    return {name for name, t in tensors if t.data_type == onnx.TensorProto.FLOAT and t.dims}


def _quantisable(graph: GraphProto, floats: set[str]) -> set[str]:
    """What layers that the quantiser knows read as weights, also what is computed of constants."""
    constant = {each.name for each in graph.initializer} | floats
    floats, found = set(floats), set()
    for node in graph.node:
        read = [name for name in node.input if name]
        if node.op_type in (*_CONVOLUTIONS, *_PRODUCTS, "LSTM"):
            found |= floats.intersection(read)
        if node.op_type == "Constant" or (read and constant.issuperset(read)):
            constant.update(node.output)
            if floats.intersection(read):
                floats.update(node.output)
    return found


def _has_bodies(model: ModelProto) -> bool:
    return any(each.HasField("g") for node in model.graph.node for each in node.attribute)


def _half(model: ModelProto) -> tuple[ModelProto, str, bool]:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    return convert_float_to_float16(model, keep_io_types=True), "inputs and outputs stay", False


def _integers(
    model: ModelProto, feeds: Callable[[], Sequence[Feeds]]
) -> tuple[ModelProto, str, bool]:
    """Quantised: networks of convolutions with fixed ranges, others with those of each input."""
    import onnx
    from onnxruntime.quantization import QuantFormat, quantize_dynamic, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with TemporaryDirectory() as folder:
        raw, prepared, done = (Path(folder, f"{name}.onnx") for name in ("raw", "prepared", "int8"))
        # A file, as the optimiser takes what it is handed in memory apart.
        onnx.save(_of_usable_opset(model), raw)
        quant_pre_process(raw, prepared, skip_symbolic_shape=True)
        ready = onnx.load(prepared)
        if _name_nodes(ready):
            onnx.save(ready, prepared)
        per_channel = _opset(ready) >= _PER_CHANNEL_OPSET
        if not _is_convolutional(ready):
            quantize_dynamic(
                prepared, done, op_types_to_quantize=[*_PRODUCTS, "LSTM"], per_channel=per_channel
            )
            return onnx.load(done), "dynamic, activations get ranges of their own each time", False
        quantize_static(
            prepared,
            done,
            _reader(feeds()),
            quant_format=QuantFormat.QDQ,
            per_channel=per_channel,
            op_types_to_quantize=list(_STATIC),
            nodes_to_exclude=_behind_weights(ready),
            extra_options={"MatMulConstBOnly": True},
        )
        return onnx.load(done), "static (QDQ), activations have fixed ranges", True


def _name_nodes(model: ModelProto) -> bool:
    """Give names to nodes that have none, by which the quantiser tells nodes apart; say if any."""
    taken = {node.name for node in model.graph.node}
    unnamed = [node for node in model.graph.node if not node.name]
    free = (name for number in count() if (name := f"node_{number}") not in taken)
    for node, name in zip(unnamed, free, strict=False):
        node.name = name
    return bool(unnamed)


def _of_usable_opset(model: ModelProto) -> ModelProto:
    """The model in operators that know a scale a channel, where they can be had."""
    from onnx import shape_inference, version_converter

    if _opset(model) >= _PER_CHANNEL_OPSET:
        return model
    try:
        return version_converter.convert_version(model, _PER_CHANNEL_OPSET)
    # Some operators have no way up, which is told by either of these, and a scale for all channels
    # will do.
    except (version_converter.ConvertError, shape_inference.InferenceError, RuntimeError):
        return model


def _opset(model: ModelProto) -> int:
    return max(
        (each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), default=1
    )


def _is_convolutional(model: ModelProto) -> bool:
    """Whether it is a network of convolutions, in which ranges vary little from input to input.

    That has no recurrent layer, and where it has attention, or another product of two values that
    are computed, convolutions hold most of the weights.
    """
    sizes = {each.name: math.prod(each.dims) for each in model.graph.initializer}
    held = {True: 0, False: 0}
    attends = False
    if any(node.op_type in _RECURRENT for node in _nodes(model.graph)):
        return False
    for node in model.graph.node:
        attends |= node.op_type == "Attention"
        attends |= node.op_type == "MatMul" and not any(name in sizes for name in node.input)
        if node.op_type in (*_CONVOLUTIONS, *_PRODUCTS):
            size = sum(sizes.get(name, 0) for name in node.input)
            held[node.op_type in _CONVOLUTIONS] += size
    return held[True] > held[False] if attends else held[True] > 0


def _nodes(graph: GraphProto) -> Iterator[NodeProto]:
    """All nodes, those of branches and loops as well."""
    for node in graph.node:
        yield node
        for each in node.attribute:
            if each.HasField("g"):
                yield from _nodes(each.g)


def _sorted(model: ModelProto) -> ModelProto:
    """The model with each node behind what it reads, in its branches as well.

    The quantiser looks at what branches read from outside no more than at any other name.
    """
    import onnx_ir
    from onnx_ir.passes.common import TopologicalSortPass

    return onnx_ir.to_proto(TopologicalSortPass()(onnx_ir.from_proto(model)).model)


def _behind_weights(model: ModelProto) -> list[str]:
    """The nodes that no weight follows, such as a detector's, that put boxes and scores together.

    Their numbers differ too much in size for one range.
    """
    constant = {each.name for each in model.graph.initializer}
    needed: set[str] = set()
    behind = []
    for node in reversed(model.graph.node):
        weighted = _is_weighted(node, constant)
        if weighted or any(name in needed for name in node.output):
            needed.update(node.input)
        else:
            behind.append(node.name)
    return behind


def _is_weighted(node: NodeProto, constant: set[str]) -> bool:
    products = (*_CONVOLUTIONS, "MatMul", "Gemm")
    return node.op_type in products and any(name in constant for name in node.input[1:2])


def _reader(feeds: Sequence[Feeds]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc,unused-ignore]
        """Hands out the calibration data run by run."""

        def __init__(self) -> None:
            self._left: Iterator[Feeds] = iter(feeds)

        def get_next(self) -> Feeds | None:
            """The next feeds; None after the last."""
            return next(self._left, None)

    return Reader()


@contextmanager
def _unheard() -> Iterator[None]:
    """Keep what the converters log and warn of to themselves."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
