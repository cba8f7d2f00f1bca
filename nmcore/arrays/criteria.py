"""Which channels to keep: a score for every channel, and the best of them.

A criterion is a plain function from a :class:`Request` to the kept channels; adding one is adding
it to ``CRITERIA``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from nmcore.arrays import validation
from nmcore.arrays.elimination import error_selection, reading_gram
from nmcore.errors import ArgumentError
from nmcore.group import Float64Array, FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Request:
    """The checked arguments of :func:`select`, which documents them."""

    weight: FloatArray
    keep: int
    bias: FloatArray | None
    next_weight: FloatArray | None
    moments: Any
    seed: int
    kernel: str
    threads: int | None


def select(
    weight: ArrayLike,
    keep: int,
    criterion: str = "l1",
    *,
    bias: ArrayLike | None = None,
    next_weight: ArrayLike | None = None,
    moments: Any = None,
    seed: int = 0,
    kernel: str = "auto",
    threads: int | None = None,
) -> IntArray:
    """Choose which channels of a layer to keep.

    Parameters
    ----------
    weight : float array, shape (N, ...)
        The rows that make the channels, of any rank, float type and memory layout.
    keep : int
        How many channels to keep, from 1 to N.
    criterion : str
        ``l1``, ``l2``: the rows with the largest norm. ``l2-gm``: the rows with the largest summed
        Euclidean distance to all others, far from the geometric median. ``random``: by `seed`.
        ``out-norm``: the norm of the row times that of the weights that read it.
        ``error``: backward elimination by the error that each removal leaves after refitting.
    bias : float array, shape (N,), or None
        One more column of the rows. Give it for layers without batch norm.
    next_weight : float array, shape (O, N, ...), or None
        The weights that read the channels; ``out-norm`` and ``error`` need it.
    moments : object or None
        With ``mean`` (N,) and ``second`` (N, N), the first and second moment of the activations;
        ``error`` needs it.
    seed : int
        For ``random``.
    kernel, threads
        As in :func:`nmcore.scaling_matrix`; they never change the result.

    Returns
    -------
    int array, shape (keep,)
        The kept channels, ascending. Of equal scores the lower channel is kept.

    Raises
    ------
    ArgumentError
        A ValueError; it names the argument, what it got and what it needs.

    References
    ----------
    H. Li et al.: Pruning Filters for Efficient ConvNets, ICLR 2017 (l1).
    Y. He et al.: Filter Pruning via Geometric Median, CVPR 2019 (l2-gm).

    Examples
    --------
    >>> W = np.array([[1.0, 1.0], [3.0, 0.0], [0.0, -2.5]])
    >>> select(W, 2)
    array([1, 2])

    A bias counts as one more column:

    >>> select(W, 2, bias=np.array([9.0, 0.0, 0.0]))
    array([0, 1])
    """
    checked = validation.float_array(weight, "weight", min_rank=2)
    width = len(checked)
    request = Request(
        weight=checked,
        keep=validation.keep_count(keep, width),
        bias=validation.vector(bias, "bias", width),
        next_weight=(
            None if next_weight is None else validation.next_layer(next_weight, width, 1, 1)
        ),
        moments=moments,
        seed=validation.seed_number(seed),
        kernel=kernel,
        threads=validation.thread_limit(threads),
    )
    return CRITERIA[validation.choice(criterion, "criterion", CRITERIA)](request)


def highest(scores: FloatArray, keep: int) -> IntArray:
    """The `keep` highest of the scores (N,), ascending by index; low indices win ties.

    Examples
    --------
    >>> highest(np.array([1.0, 2.0, 2.0, 2.0]), 2)
    array([1, 2])
    """
    return np.sort(np.argsort(-scores, kind="stable")[:keep])


def l1(request: Request) -> IntArray:
    """Keep the rows with the largest sum of absolute values."""
    return highest(_norms(request, power=1), request.keep)


def l2(request: Request) -> IntArray:
    """Keep the rows with the largest Euclidean norm."""
    return highest(_norms(request, power=2), request.keep)


def out_norm(request: Request) -> IntArray:
    """Keep the rows with the largest norm times the norm of the weights that read the channel."""
    weight = _need(request.next_weight, "next_weight", "out-norm", "the weights (O, N, ...)")
    return highest(_norms(request, power=2) * _column_norms(weight), request.keep)


def l2_gm(request: Request) -> IntArray:
    """Keep the rows with the largest summed Euclidean distance to all the others."""
    from nmcore.kernels import get_kernel
    from nmcore.kernels.distances import most_distant
    from nmcore.kernels.rows import make_rows
    from nmcore.kernels.threads import workers

    rows = make_rows(request.weight, request.bias, uniform=True)
    with workers(request.threads) as pool:
        return most_distant(
            rows,
            request.keep,
            get_kernel(request.kernel, len(request.weight) * request.weight.size),
            pool,
        )


def random(request: Request) -> IntArray:
    """Keep channels drawn without replacement."""
    generator = np.random.default_rng(request.seed)
    return np.sort(generator.choice(len(request.weight), request.keep, replace=False))


def error(request: Request) -> IntArray:
    """Keep what backward elimination leaves, from moments and the next weight."""
    moments = _need(request.moments, "moments", "error", "the activations' mean and second moment")
    weight = _need(request.next_weight, "next_weight", "error", "the weights (O, N, ...)")
    width = len(request.weight)
    first = _need(getattr(moments, "mean", None), "moments.mean", "error", f"shape ({width},)")
    both = _need(getattr(moments, "second", None), "moments.second", "error", "a square matrix")
    mean = validation.vector(first, "moments.mean", width)
    assert mean is not None
    second = validation.symmetric(both, "moments.second", width)
    covariance = second - np.outer(mean, mean).astype(np.float64)
    return error_selection(
        covariance,
        reading_gram(weight),
        request.keep,
        kernel=request.kernel,
        threads=request.threads,
    )[0]


CRITERIA: dict[str, Callable[[Request], IntArray]] = {
    "l1": l1,
    "l2": l2,
    "l2-gm": l2_gm,
    "random": random,
    "out-norm": out_norm,
    "error": error,
}


def _norms(request: Request, power: int) -> Float64Array:
    from nmcore.kernels.rows import make_rows, norms
    from nmcore.kernels.threads import workers

    with workers(request.threads) as pool:
        return norms(make_rows(request.weight, request.bias), None, power, pool)


def _column_norms(weight: FloatArray) -> Float64Array:
    """Norms over everything but axis 1 of a weight (O, N, ...), shape (N,)."""
    squares = np.zeros(weight.shape[1])
    others = tuple(axis for axis in range(weight.ndim) if axis != 1)
    step = max(1, (1 << 18) * len(weight) // weight.size)
    for start in range(0, len(weight), step):
        block = weight[start : start + step].astype(np.float64)
        squares += np.square(block, out=block).sum(axis=others)
    return np.sqrt(squares)


def _need(value: Any, name: str, criterion: str, what: str) -> Any:
    if value is None:
        raise ArgumentError(f"{name}: got None; criterion {criterion!r} needs {what}")
    return value
