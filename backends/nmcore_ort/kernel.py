"""The kernel ``ort``: similarity and best match as a small graph, on CUDA where that really works.

It fulfils :class:`nmcore.kernels.protocol.Kernel` and is found through the entry-point group
``nmcore.kernels``. The graph multiplies unit rows, scores every pair, and returns the pairs whose
score comes within a margin of the best of their row; what decides between those is computed by
nmcore, so that the result is the same as with every other kernel.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmcore.group import Float64Array, FloatArray
from nmcore.kernels.bias import Bias
from nmcore.kernels.numba_ import compare, distance_sums, fill_panel, unit_rows
from nmcore.kernels.protocol import Shortlist
from nmcore.kernels.threads import Workers
from nmcore_ort.fallback import tell_of_cpu
from nmcore_ort.installation import onnxruntime
from nmcore_ort.native_output import captured_output
from nmcore_ort.providers import CPU, CUDA, CUDA_OPTIONS, choose

__all__ = ["NAME", "compare", "distance_sums", "fill_panel", "shortlist", "unit_rows"]

NAME = "ort"

# Stands for an infinite penalty; scores below half of it are no candidates.
_NEVER = 1e30
# What rounding penalties and scores to float32 can add to the error of a score.
_FLOAT32_SLACK = 2e-6
_STRIP = 1 << 18


def shortlist(
    queries: Sequence[FloatArray],
    targets: Sequence[FloatArray],
    bias: Bias | None,
    margin: float,
    pool: Workers,
) -> Shortlist:
    """See :func:`nmcore.kernels.numpy_.shortlist`; unit rows are float32 here.

    Examples
    --------
    >>> query = np.array([[0.6, 0.8]], dtype=np.float32)
    >>> target = np.eye(2, dtype=np.float32)
    >>> shortlist([query], [target], None, 0.01, Workers(1)).column
    array([1])
    """
    if _device.is_cuda:
        try:
            return _shortlist(queries, targets, bias, margin, pool)
        except Exception as error:  # onnxruntime's exceptions share no narrower base class.
            _device.leave_cuda(error)
    return _shortlist(queries, targets, bias, margin, pool)


def _shortlist(
    queries: Sequence[FloatArray],
    targets: Sequence[FloatArray],
    bias: Bias | None,
    margin: float,
    pool: Workers,
) -> Shortlist:
    session, device = _session(len(queries), bias is not None, pool.threads, _device.is_cuda)
    binding = session.io_binding()
    for at, (query, target) in enumerate(zip(queries, targets, strict=True)):
        binding.bind_cpu_input(f"query{at}", np.ascontiguousarray(query))
        binding.bind_ortvalue_input(f"target{at}", _resident(target, device))
    low = high = None
    if bias is not None:
        penalty, low, high = _penalty(bias, pool)
        binding.bind_cpu_input("penalty", penalty)
        binding.bind_cpu_input("lam", np.array(bias.lam, dtype=np.float32))
    binding.bind_cpu_input("margin", np.array(margin + _FLOAT32_SLACK, dtype=np.float32))
    binding.bind_output("pairs", "cpu")
    session.run_with_iobinding(binding)
    row, column = binding.copy_outputs_to_cpu()[0]
    return Shortlist(row.astype(np.intp), column.astype(np.intp), low, high)


def _penalty(bias: Bias, pool: Workers) -> tuple[NDArray[np.float32], Float64Array, Float64Array]:
    """Return (1 - lam) times the normalised bias distances, and each row's extremes."""
    count, width = len(bias.query), bias.target.shape[1]
    penalty = np.empty((count, width), dtype=np.float32)
    low, high = np.empty((2, count))

    def fill(start: int, stop: int) -> None:
        part = slice(start, stop)
        spread, low[part], high[part] = bias.rows(part).spread()
        penalty[part] = np.where(np.isnan(spread), _NEVER, (1 - bias.lam) * spread)

    pool.each(fill, count, max(1, _STRIP // width))
    return penalty, low, high


class _Cache:
    """The targets of the last call on the device: all blocks of a layer have the same ones."""

    def __init__(self) -> None:
        self.values: dict[int, tuple[weakref.ref[Any], Any]] = {}

    def get(self, array: FloatArray, device: str) -> Any:
        known = self.values.get(id(array))
        if known is not None and known[0]() is array:
            return known[1]
        self.values = {key: pair for key, pair in self.values.items() if pair[0]() is not None}
        value = onnxruntime().OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), device, 0)
        self.values[id(array)] = (weakref.ref(array), value)
        return value


_cache = _Cache()


class _Device:
    """Where this process computes: on CUDA where that works, and never again once it has failed."""

    @cached_property
    def is_cuda(self) -> bool:
        return choose(["auto"]).provider == "cuda"

    def leave_cuda(self, failure: Exception) -> None:
        """Go on with the CPU."""
        self.is_cuda = False
        _cache.values.clear()
        tell_of_cpu("the search for the most similar channels", failure)


_device = _Device()


def _resident(array: FloatArray, device: str) -> Any:
    """Return the array as a value on the device."""
    return _cache.get(array, device)


@cache
def _session(factors: int, biased: bool, threads: int, on_cuda: bool) -> tuple[Any, str]:
    """Return a session and the name of its device."""
    with captured_output():
        options = onnxruntime().SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4
        # Spinning threads would take the cores that NumPy's passes between two calls need.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers = [(CUDA, CUDA_OPTIONS), CPU] if on_cuda else [CPU]
        session = onnxruntime().InferenceSession(_model(factors, biased), options, providers)
    return session, "cuda" if CUDA in session.get_providers() else "cpu"


def _model(factors: int, biased: bool) -> bytes:
    """Build the graph: products, scores, and the pairs near the best of each row.

    The score to maximise is the cosine, or ``lam cosine - penalty``.
    """
    from onnx import TensorProto, helper

    def value(name: str, *shape: str) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    inputs, nodes, score = [value("margin")], [], ""
    for at in range(factors):
        inputs += [value(f"query{at}", "K", f"D{at}"), value(f"target{at}", "T", f"D{at}")]
        nodes.append(
            helper.make_node("Gemm", [f"query{at}", f"target{at}"], [f"cosine{at}"], transB=1)
        )
        if score:
            nodes.append(helper.make_node("Mul", [score, f"cosine{at}"], [f"product{at}"]))
        score = f"product{at}" if score else f"cosine{at}"
    if biased:
        inputs += [value("lam"), value("penalty", "K", "T")]
        nodes.append(helper.make_node("Mul", [score, "lam"], ["weighed"]))
        nodes.append(helper.make_node("Sub", ["weighed", "penalty"], ["score"]))
        score = "score"
    nodes += [
        helper.make_node("ReduceMax", [score], ["best"], axes=[1], keepdims=1),
        helper.make_node("Sub", ["best", "margin"], ["near"]),
        helper.make_node("Max", ["near", "never"], ["floor"]),
        helper.make_node("GreaterOrEqual", [score, "floor"], ["mask"]),
        helper.make_node("NonZero", ["mask"], ["pairs"]),
    ]
    pairs = helper.make_tensor_value_info("pairs", TensorProto.INT64, [2, "M"])
    never = helper.make_tensor("never", TensorProto.FLOAT, [], [-_NEVER / 2])
    graph = helper.make_graph(nodes, "shortlist", inputs, [pairs], [never])
    # Opset 17 is the last whose ReduceMax takes its axes as an attribute; every runtime has it.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())
