"""Builders of the scaling matrix Z: how every channel is rebuilt from the kept ones.

A method is a plain function from a :class:`Request` to a :class:`~nmcore.group.Scaling`; adding
one is adding it to ``METHODS``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nmcore import validate
from nmcore.affine import moments
from nmcore.errors import ArgumentError
from nmcore.group import BatchNorm, FloatArray, IntArray, Scaling
from nmcore.nmf import nmf
from nmcore.ridge import ridge

Float64Array = NDArray[np.float64]

# Published with LeNet-300-100 and with VGG-16 and ResNet-56.
LINEAR_THRESHOLD = 0.45
BATCH_NORM_THRESHOLD = 0.1
BN_FORMS = ("released", "folded")


@dataclass(frozen=True, eq=False)
class Request:
    """The checked arguments of :func:`scaling_matrix`, which documents them."""

    weight: FloatArray
    kept: IntArray
    bias: FloatArray | None
    batchnorm: BatchNorm | None
    threshold: float
    lam: float
    bn_form: str
    depthwise: FloatArray | None
    moments: Any
    ridge: Any
    kernel: str
    threads: int | None

    @property
    def width(self) -> int:
        """N, the number of channels."""
        return len(self.weight)

    @property
    def removed(self) -> IntArray:
        """The channels that are not kept, ascending, shape (N - P,)."""
        return np.delete(np.arange(self.width), self.kept)


def scaling_matrix(
    weight: ArrayLike,
    kept: ArrayLike,
    method: str = "merge",
    *,
    bias: ArrayLike | None = None,
    batchnorm: BatchNorm | None = None,
    threshold: float | None = None,
    lam: float = 0.85,
    bn_form: str = "released",
    depthwise: ArrayLike | None = None,
    moments: Any = None,
    ridge: Any = None,
    kernel: str = "auto",
    threads: int | None = None,
) -> Scaling:
    """Build Z, which says how every channel of a layer is rebuilt from the kept ones.

    Parameters
    ----------
    weight : float array, shape (N, ...)
        The rows that make the channels, of any rank, float type and memory layout.
    kept : int array, shape (P,)
        The kept channels, ascending; see :func:`nmcore.select`.
    method : str
        ``prune`` drops the removed channels; ``merge`` rebuilds each from its most similar kept
        one; ``ridge`` from all kept ones, by regression between rows and, with less weight,
        biases (:func:`nmcore.ridge.mixed_rows` has the formula); ``moments`` from all kept ones and
        a constant, by regression between activations; ``nmf`` is a baseline.
    bias : float array, shape (N,), or None
        The constant added to each channel before any batch norm.
    batchnorm : BatchNorm or None
        The batch norm that follows, while it is not folded into weight and bias.
    threshold : float or None
        The least cosine at which a channel is merged. None takes the published one: 0.45 in the
        linear form and 0.1 where a batch norm is involved.
    lam : float
        The weight of the cosine distance against the bias distance, from 0 to 1.
    bn_form : str
        ``released`` computes the bias distance as the authors' published program does; ``folded``
        compares the rows and biases that are left once the batch norm is folded away. Where an
        exporter has folded it already, ask for ``folded`` without a `batchnorm`.
    depthwise : float array, shape (N, ...), or None
        The depthwise kernels between a pointwise `weight` and its reader: the two count as one
        convolution, whose filters are the outer products of their rows. `batchnorm` is then the one
        after the depthwise convolution, and `bias` is that convolution's.
    moments : object or None
        With ``mean`` (N,) and ``second`` (N, N), the first and second moment of the activations;
        ``moments`` needs it.
    ridge : float or None
        Damping of ``ridge`` and ``moments``, as a share of the diagonal; None takes 0.03 for
        ``ridge`` and 0.001 for ``moments``.
    kernel : str
        ``numpy``, ``numba``, one that is installed (``ort``), or ``auto``; all give the same Z.
    threads : int or None
        None takes OMP_NUM_THREADS, NUMBA_NUM_THREADS or every core.

    Returns
    -------
    Scaling
        With ``Z`` (P, N), ``shift`` (N,) or None, and ``similarity`` (N,).

    Raises
    ------
    ArgumentError
        A ValueError; it names the argument, what it got and what it needs.

    Notes
    -----
    With neither a batch norm nor the folded form, rows are ``[W | b]`` and the best kept channel
    is that of the greatest cosine. Otherwise it minimises ``lam (1 - cos) + (1 - lam) B``, with
    the bias distance B min-max normalised over the kept channels. Sums are float64 whatever the
    input; of equal scores the lowest kept channel wins.

    What the formulas leave open is settled so:

    * a zero row has cosine 0 to every row: removed, it is left out (its column of Z stays zero; its
      norm, hence its factor, is 0 anyway); kept, nothing is merged into it;
    * with one kept channel, or where all bias distances of a row are equal, they count as 0;
    * released form, gamma or running variance 0 on either side: pairs whose S or B is not finite
      are no candidates, and a channel without candidates is left out. A removed channel with
      gamma = 0 is the constant beta; no multiple of another channel is, so it is left out too;
    * released form, factors S below zero (gammas of opposite sign) are kept, with the sign they
      give B, as the published program has it, although ReLU is homogeneous for positive factors
      only;
    * a bias in front of a batch norm is moved into its running mean;
    * a factor too large for a float64 counts as no candidate.

    References
    ----------
    W. Kim, S. Kim, M. Park, G. Jeon: Neuron Merging: Compensating for Pruned Neurons, NeurIPS 2020,
    algorithms 1 and 2; the released form follows the program published with it.

    Examples
    --------
    Channel 2 is twice channel 0, and channel 3 is like neither:

    >>> W = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    >>> scaling = scaling_matrix(W, [0, 1])
    >>> scaling.Z
    array([[1., 0., 2., 0.],
           [0., 1., 0., 0.]])
    >>> scaling.merged
    1
    """
    method = validate.choice(method, "method", METHODS)
    # Merging looks for NaN and infinity itself, while it reads the rows.
    checked = validate.float_array(weight, "weight", min_rank=2, check_finite=method != "merge")
    width = len(checked)
    norm = validate.batch_norm(batchnorm, width)
    bn_form = validate.choice(bn_form, "bn_form", BN_FORMS)
    request = Request(
        weight=checked,
        kept=validate.kept_channels(kept, width),
        bias=validate.vector(bias, "bias", width),
        batchnorm=norm,
        threshold=_threshold(threshold, linear=norm is None and bn_form == "released"),
        lam=validate.number(lam, "lam", 0, 1),
        bn_form=bn_form,
        depthwise=_depthwise(depthwise, width),
        moments=moments,
        ridge=ridge,
        kernel=kernel,
        threads=validate.thread_limit(threads),
    )
    return METHODS[method](request)


def _threshold(value: float | None, *, linear: bool) -> float:
    if value is None:
        return LINEAR_THRESHOLD if linear else BATCH_NORM_THRESHOLD
    return validate.number(value, "threshold", -1, 1)


def _depthwise(value: ArrayLike | None, width: int) -> FloatArray | None:
    if value is None:
        return None
    kernels = validate.float_array(value, "depthwise", min_rank=2)
    if len(kernels) != width:
        raise ArgumentError(
            f"depthwise: got shape {kernels.shape}; need ({width}, ...), one kernel a channel"
        )
    return kernels


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


METHODS: dict[str, Callable[[Request], Scaling]] = {
    "prune": prune,
    "merge": merge,
    "ridge": ridge,
    "moments": moments,
    "nmf": nmf,
}


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
        gain = request.batchnorm.gamma / _deviation(request.batchnorm)
    if request.depthwise is not None:
        return [make_rows(request.weight, factor=gain), make_rows(request.depthwise)]
    return [make_rows(request.weight, request.bias if _is_linear(request) else None, gain)]


def _deviation(norm: BatchNorm) -> Float64Array:
    """The standard deviation that a batch norm divides by; infinite where it would be zero."""
    deviation = np.sqrt(norm.var + norm.eps).astype(np.float64)
    return np.where(deviation > 0, deviation, np.inf)


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
    bias = np.zeros(request.width) if request.bias is None else request.bias.astype(np.float64)
    if request.batchnorm is not None:
        norm = request.batchnorm
        bias = norm.beta - norm.gamma * (norm.mean - bias) / _deviation(norm)
    return [bias], [bias]
