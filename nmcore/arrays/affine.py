"""Many to one with a constant, from second moments: the least-squares fit of each channel.

Where the moments come from does not matter here: from calibration data, from synthetic inputs, or
from batch norms alone (:mod:`nmcore.arrays.gaussian_moments`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from nmcore.arrays import validation
from nmcore.arrays.linalg import damped_solve, dense, without
from nmcore.arrays.request import Request
from nmcore.errors import ArgumentError
from nmcore.group import Float64Array, Scaling

RIDGE = 1e-3


@dataclass(frozen=True, eq=False)
class ActivationMoments:
    """First and second moments of the activations of a group, over inputs and positions.

    Anything with these two attributes is taken in its place.

    Attributes
    ----------
    mean : float64 array, shape (N,)
        ``E[a_n]``.
    second : float64 array, shape (N, N)
        ``E[a_n a_m]``, not centred.

    Examples
    --------
    >>> activations = np.array([[1.0, 3.0], [3.0, 1.0]])
    >>> ActivationMoments(activations.mean(0), activations.T @ activations / 2).covariance
    array([[ 1., -1.],
           [-1.,  1.]])
    """

    mean: Float64Array
    second: Float64Array

    @property
    def covariance(self) -> Float64Array:
        """``E[a_n a_m] - E[a_n] E[a_m]``, shape (N, N)."""
        return self.second - np.outer(self.mean, self.mean)


def affine(moments: Any, kept: ArrayLike, *, ridge: float = RIDGE) -> Scaling:
    """Rebuild each channel as the affine mix of kept ones that misses it least.

    Parameters
    ----------
    moments : ActivationMoments, or any object with ``mean`` (N,) and ``second`` (N, N)
        Of what the consumers read.
    kept : int array, shape (P,)
        The kept channels, ascending.
    ridge : float
        Damping as a share of the kept channels' mean variance, at least 0.

    Returns
    -------
    Scaling
        With a dense ``matrix`` (P, N) and a ``shift`` (N,), zero for kept channels.

    Raises
    ------
    ArgumentError
        If the moments or the kept channels are not usable.

    Notes
    -----
    With C the covariance and m the mean::

        Z_n = (C_KK + ridge mean(diag C_KK) I)^-1 C_Kn      c_n = m_n - Z_n' m_K

    It is ridge regression on the kept channels and a constant. The constant is not damped, so the
    rebuilt channel has the right mean whatever the damping.

    Examples
    --------
    Channel 2 is ``2 a_0 + a_1 + 5``:

    >>> a = np.random.default_rng(0).random((100, 2))
    >>> a = np.column_stack([a, 2 * a[:, 0] + a[:, 1] + 5])
    >>> scaling = affine(ActivationMoments(a.mean(0), a.T @ a / 100), [0, 1], ridge=1e-9)
    >>> scaling.Z.round(3)
    array([[1., 0., 2.],
           [0., 1., 1.]])
    >>> scaling.shift.round(3)
    array([0., 0., 5.])
    """
    mean, second = checked(moments)
    width = len(mean)
    kept = validation.kept_channels(kept, width)
    share = validation.number(ridge, "ridge", 0, float("inf"))
    removed = without(kept, width)
    inner = second[np.ix_(kept, kept)] - np.outer(mean[kept], mean[kept])
    cross = second[np.ix_(kept, removed)] - np.outer(mean[kept], mean[removed])
    mixture = damped_solve(inner, cross, share * max(float(np.diagonal(inner).mean()), 0.0))
    return dense(kept, width, mixture, mean[removed] - mean[kept] @ mixture)


def checked(moments: Any, width: int | None = None) -> tuple[Float64Array, Float64Array]:
    """Return mean (N,) and second moment (N, N) as float64.

    Raises
    ------
    ArgumentError
        If one is missing, of the wrong shape, not finite, or impossible.

    Examples
    --------
    >>> checked(ActivationMoments(np.ones(2), np.zeros((2, 2))))
    Traceback (most recent call last):
    nmcore.errors.ArgumentError: moments.second: got 0.0 for channel 0 of mean 1.0; need ...
    """
    for name in ("mean", "second"):
        if getattr(moments, name, None) is None:
            raise ArgumentError(
                f"moments: got {type(moments).__name__} without {name!r}; need an object with "
                "mean (N,) and second (N, N)"
            )
    second = validation.symmetric(moments.second, "moments.second", width)
    given = validation.vector(moments.mean, "moments.mean", len(second))
    assert given is not None
    mean = given.astype(np.float64)
    own = np.diagonal(second)
    # Moments that were summed in float32 are off by some of its last digits.
    (low,) = np.nonzero(own < mean**2 * (1 - 1e-4))
    if low.size:
        raise ArgumentError(
            f"moments.second: got {own[low[0]]} for channel {low[0]} of mean {mean[low[0]]}; "
            "need at least the mean's square: a second moment, not a covariance"
        )
    return mean, second


def fitted(request: Request) -> Scaling:
    """Z and shift of least squares on the activations' moments; see :func:`affine`."""
    if request.moments is None:
        raise ArgumentError(
            "moments: got None; method 'affine' needs the activations' mean (N,) and second "
            "moment (N, N)"
        )
    mean, second = checked(request.moments, request.width)
    share = RIDGE if request.ridge is None else request.ridge
    return affine(ActivationMoments(mean, second), request.kept, ridge=share)
