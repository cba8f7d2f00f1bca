"""Builders of the scaling matrix Z: how every channel is rebuilt from the kept ones.

A method is a plain function from a :class:`Request` to a :class:`~nmcore.group.Scaling`; adding
one is adding it to ``METHODS``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import ArrayLike

from nmcore.arrays import validation
from nmcore.arrays.affine import fitted
from nmcore.arrays.merge import merge, prune
from nmcore.arrays.nmf import nmf
from nmcore.arrays.request import Request
from nmcore.arrays.ridge import ridge
from nmcore.errors import ArgumentError
from nmcore.group import BatchNorm, FloatArray, Scaling

# Published with LeNet-300-100 and with VGG-16 and ResNet-56.
LINEAR_THRESHOLD = 0.45
BATCH_NORM_THRESHOLD = 0.1
BN_FORMS = ("released", "folded")


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
        biases (:func:`nmcore.arrays.ridge.mixed_rows` has the formula); ``affine`` from all kept
        ones and a constant, by regression between activations; ``nmf`` is a baseline.
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
        ``affine`` needs it.
    ridge : float or None
        Damping of ``ridge`` and ``affine``, as a share of the diagonal; None takes 0.03 for
        ``ridge`` and 0.001 for ``affine``.
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

    >>> import numpy as np
    >>> W = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    >>> scaling = scaling_matrix(W, [0, 1])
    >>> scaling.Z
    array([[1., 0., 2., 0.],
           [0., 1., 0., 0.]])
    >>> scaling.merged
    1
    """
    method = validation.choice(method, "method", METHODS)
    # Merging looks for NaN and infinity itself, while it reads the rows.
    checked = validation.float_array(weight, "weight", min_rank=2, check_finite=method != "merge")
    width = len(checked)
    norm = validation.batch_norm(batchnorm, width)
    bn_form = validation.choice(bn_form, "bn_form", BN_FORMS)
    request = Request(
        weight=checked,
        kept=validation.kept_channels(kept, width),
        bias=validation.vector(bias, "bias", width),
        batchnorm=norm,
        threshold=_threshold(threshold, linear=norm is None and bn_form == "released"),
        lam=validation.number(lam, "lam", 0, 1),
        bn_form=bn_form,
        depthwise=_depthwise(depthwise, width),
        moments=moments,
        ridge=ridge,
        kernel=kernel,
        threads=validation.thread_limit(threads),
    )
    return METHODS[method](request)


def _threshold(value: float | None, *, linear: bool) -> float:
    if value is None:
        return LINEAR_THRESHOLD if linear else BATCH_NORM_THRESHOLD
    return validation.number(value, "threshold", -1, 1)


def _depthwise(value: ArrayLike | None, width: int) -> FloatArray | None:
    if value is None:
        return None
    kernels = validation.float_array(value, "depthwise", min_rank=2)
    if len(kernels) != width:
        raise ArgumentError(
            f"depthwise: got shape {kernels.shape}; need ({width}, ...), one kernel a channel"
        )
    return kernels


METHODS: dict[str, Callable[[Request], Scaling]] = {
    "prune": prune,
    "merge": merge,
    "ridge": ridge,
    "affine": fitted,
    "nmf": nmf,
}
