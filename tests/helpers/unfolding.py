"""What a weighted node reads, as plain NumPy rows: the reference for probes."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
from onnx import helper, numpy_helper

from chain import run


def readings(graph, groups):
    """The readings of some groups, in the order of their consumers."""
    names = [group.name for group in groups]
    found = [reading for reading in graph.readings() if reading.group in names]
    return sorted(found, key=lambda reading: (names.index(reading.group), reading.index))


def values(model: onnx.ModelProto | bytes, names, feeds) -> list[np.ndarray]:
    """The values of a graph with these names."""
    copy = onnx.ModelProto()
    copy.ParseFromString(model if isinstance(model, bytes) else model.SerializeToString())
    del copy.graph.output[:]
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(names))
    found = dict(zip(dict.fromkeys(names), run(copy, feeds), strict=True))
    return [found[name] for name in names]


def attributes(node: onnx.NodeProto) -> dict:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def constant(model: onnx.ModelProto, name: str) -> np.ndarray:
    return next(numpy_helper.to_array(t) for t in model.graph.initializer if t.name == name)


def conv_rows(x, kernel, *, strides=None, dilations=None, pads=None, auto_pad=b"NOTSET", **_):
    """Rows (n * positions, C * taps), one output position after the other."""
    rank = len(kernel)
    strides, dilations = strides or [1] * rank, dilations or [1] * rank
    reach = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    pads = list(pads or [0] * 2 * rank)
    if auto_pad in (b"SAME_UPPER", b"SAME_LOWER"):
        for axis, (size, step, length) in enumerate(zip(x.shape[2:], strides, reach, strict=True)):
            total = max((-(-size // step) - 1) * step + length - size, 0)
            small, large = total // 2, total - total // 2
            upper = auto_pad == b"SAME_UPPER"
            pads[axis], pads[axis + rank] = (small, large) if upper else (large, small)
    x = np.pad(x, [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)])
    counts = [
        (size - length) // step + 1
        for size, length, step in zip(x.shape[2:], reach, strides, strict=True)
    ]
    rows = []
    for image in x:
        for place in itertools.product(*map(range, counts)):
            window = tuple(
                slice(p * s, p * s + length, d)
                for p, s, length, d in zip(place, strides, reach, dilations, strict=True)
            )
            rows.append(image[(slice(None), *window)].reshape(-1))
    return np.array(rows)


def last(x, axis=1):
    """(..., channels, ...) as rows (n, channels)."""
    moved = np.moveaxis(x, axis, -1)
    return moved.reshape(-1, moved.shape[-1])


def features(model: onnx.ModelProto, node: onnx.NodeProto, x: np.ndarray) -> np.ndarray:
    """What a node reads as rows, in the order of its weight's columns and taps."""
    options = attributes(node)
    if node.op_type == "Conv":
        return conv_rows(x, constant(model, node.input[1]).shape[2:], **options)
    if node.op_type == "Gemm":
        return x.T if options.get("transA") else x
    return last(x, x.ndim - 1)


def outputs(node: onnx.NodeProto, y: np.ndarray) -> np.ndarray:
    """What a node gives as rows."""
    return last(y, 1 if node.op_type == "Conv" else y.ndim - 1)


def sums(x, y=None) -> list[np.ndarray]:
    """What a probe should give for rows of features and targets."""
    x = x.astype(np.float64)
    apart = x - x.mean(0)
    found = [np.array([len(x)]), x.mean(0), apart.T @ apart]
    if y is not None:
        y = y.astype(np.float64)
        around = y - y.mean(0)
        found += [y.mean(0), np.square(around).sum(0), apart.T @ around]
    return found
