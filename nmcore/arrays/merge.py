"""One to one: Z of pruning, and of merging each channel into its most similar kept one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from nmcore.arrays.linalg import folded
from nmcore.arrays.request import Request
from nmcore.group import Float64Array, IntArray, Scaling


def prune(request: Request) -> Scaling:
    """Z of pruning: the unit columns of the kept channels, zero elsewhere."""
    return _scaling(request, np.full(len(request.removed), -1), 0.0, np.nan)


def merge(request: Request) -> Scaling:
    """Z of MostSim (Kim et al., 2020): each removed channel a multiple of its most similar one."""
    from nmcore.kernels import get_kernel
    from nmcore.kernels.match import best_matches
    from nmcore.kernels.threads import workers

    kept, removed = request.kept, request.removed
    with workers(request.threads) as pool:
        found = best_matches(
            _factors(request),
            kept,
            removed,
            _bias_distance(request),
            get_kernel(request.kernel, len(kept) * len(removed) * request.weight[0].size),
            pool,
        )
    alike = (found.similarity >= request.threshold) & (found.scale != 0)
    scaling = _scaling(
        request,
        np.where(alike, found.position, -1),
        np.where(alike, found.scale, 0.0),
        found.similarity,
    )
    return replace(scaling, threshold=request.threshold)


def _scaling(
    request: Request,
    position: IntArray,
    scale: Float64Array | float,
    similarity: Float64Array | float,
) -> Scaling:
    """Fill in what is known of the kept channels."""
    assignment = np.empty(request.width, dtype=np.intp)
    scales, similarities = np.ones((2, request.width))
    assignment[request.kept] = np.arange(len(request.kept))
    assignment[request.removed] = position
    scales[request.removed] = scale
    similarities[request.removed] = similarity
    return Scaling(request.kept, request.width, similarities, assignment, scales)


def _is_linear(request: Request) -> bool:
    return request.batchnorm is None and request.bn_form == "released"


def _factors(request: Request) -> list[Any]:
    """The rows to compare; two factors where a depthwise convolution follows."""
    from nmcore.kernels.rows import make_rows

    gain = None
    if request.batchnorm is not None and request.bn_form == "folded":
        gain = request.batchnorm.gain.astype(np.float64)
    if request.depthwise is not None:
        return [make_rows(request.weight, factor=gain), make_rows(request.depthwise)]
    return [make_rows(request.weight, request.bias if _is_linear(request) else None, gain)]


def _bias_distance(request: Request) -> Any:
    """What turns norms and channels into the numbers of the bias distance; None if linear."""
    from nmcore.kernels import bias as formulas

    if _is_linear(request):
        return None
    form = formulas.RELEASED if request.bn_form == "released" else formulas.FOLDED
    columns = _released_columns if request.bn_form == "released" else _folded_columns
    query, target = columns(request)

    def bias_of(
        norm_n: Float64Array, removed: IntArray, norm_p: Float64Array, kept: IntArray
    ) -> formulas.Bias:
        return formulas.Bias(
            form,
            request.lam,
            np.column_stack([norm_n, *(column[removed] for column in query)]),
            np.vstack([norm_p, *(column[kept] for column in target)]),
        )

    return bias_of


def _released_columns(request: Request) -> tuple[list[Float64Array], list[Float64Array]]:
    norm = request.batchnorm
    assert norm is not None
    mean = norm.mean if request.bias is None else norm.mean - request.bias.astype(np.float64)
    with np.errstate(all="ignore"):
        offset = -(norm.var * norm.beta / norm.gamma) + mean
        slope = norm.gamma / norm.var
    query = [norm.gamma, norm.var, offset]
    target = [norm.gamma, norm.var, slope, mean, norm.beta]
    return query, target  # type: ignore[return-value]


def _folded_columns(request: Request) -> tuple[list[Float64Array], list[Float64Array]]:
    _, bias = folded(request.width, request.bias, request.batchnorm)
    return [bias], [bias]
