"""Backward elimination of channels by the error that is left after refitting the others.

With C the covariance of the activations and H the Gram matrix of the weights that read them,
removing channel j and refitting the rest costs ``x_j' H x_j / M_jj``, where ``M = C_KK^-1`` and
``X = M C_K:`` rebuilds all channels from the kept ones K. Only ``G = X H X'`` is needed of X, and
both matrices change by a low rank when j goes. With m and g their columns j, d = M_jj, e = G_jj::

    M' = M - u u'              u = m / sqrt(d)
    G' = G - u v' - v u'       v = g / sqrt(d) - u e / (2 d)

So a removal needs the diagonals and one column of each matrix. The vectors u and v are collected in
panels, and the matrices are brought up to date once per panel by products that run at BLAS speed.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nmcore.errors import ArgumentError
from nmcore.group import Float64Array, IntArray
from nmcore.kernels.protocol import Kernel, Panel
from nmcore.kernels.threads import Workers, blas_threads

# Wide enough for the products to run at full speed, narrow enough for the panels to stay in cache.
PANEL = 96
_STRIPE = 128
_SMALL = 64
# Removed rows and columns are carried along until they are this share of the matrix.
STALE = 12


@dataclass(frozen=True, eq=False)
class Elimination:
    """The order in which channels go.

    Attributes
    ----------
    removed : int array, shape (R,)
        First to last.
    cost : float64 array, shape (R,)
        What each removal adds to the error.
    total : float
        The error of removing everything, trace(H C).
    """

    removed: IntArray
    cost: Float64Array
    total: float


def eliminate(
    C: Float64Array, H: Float64Array, count: int, kernel: Kernel, pool: Workers
) -> Elimination:
    """Remove `count` channels one by one, always the one that costs least; low indices win ties.

    Parameters
    ----------
    C : float64 array, shape (N, N)
        A positive definite covariance; overwritten.
    H : float64 array, shape (N, N)
        Gram matrix of the reading weights; overwritten.
    count : int
        How many channels to remove, at most N - 1.
    kernel : Kernel
        Who fills the panels.
    pool : Workers
        The threads.

    Returns
    -------
    Elimination

    Raises
    ------
    ArgumentError
        If C is not positive definite.

    Examples
    --------
    Of three channels two are nearly the same, so one of these goes, and nearly for nothing:

    >>> from nmcore.kernels import numpy_
    >>> C = np.array([[1.0, 0.99, 0.0], [0.99, 1.0, 0.0], [0.0, 0.0, 1.0]])
    >>> gone = eliminate(C, np.eye(3), 1, numpy_, Workers(1))
    >>> gone.removed, gone.cost.round(4)
    (array([0]), array([0.0199]))
    """
    total = float(np.vdot(H, C))
    invert(C, pool)
    variance = C.diagonal()
    if not (np.isfinite(variance) & (variance > 0)).all():
        raise ArgumentError("covariance: is not positive definite; need one, or more damping")
    removed, cost = eliminate_inverted(C, H, count, kernel, pool)
    return Elimination(removed, cost, total)


def eliminate_inverted(
    M: Float64Array, G: Float64Array, count: int, kernel: Kernel, pool: Workers
) -> tuple[IntArray, Float64Array]:
    """Remove `count` channels, given the matrices that the module is about.

    Parameters
    ----------
    M, G : float64 arrays, shape (N, N)
        Only their upper triangles are read; overwritten.
    count, kernel, pool
        As for :func:`eliminate`.

    Returns
    -------
    removed : int array, shape (count,)
        First to last.
    cost : float64 array, shape (count,)
        What each removal adds to the error.

    Examples
    --------
    >>> from nmcore.kernels import numpy_
    >>> eliminate_inverted(np.eye(2), np.diag([3.0, 2.0]), 1, numpy_, Workers(1))
    (array([1]), array([2.]))
    """
    panel = Panel(M.diagonal().copy(), G.diagonal().copy(), np.empty((2, PANEL, len(M))))
    channel = np.arange(len(M))
    removed, cost = np.empty(count, dtype=np.intp), np.empty(count)
    done = 0
    while done < count:
        steps = min(PANEL, count - done)
        part = slice(done, done + steps)
        kernel.fill_panel(M, G, panel, steps, removed[part], cost[part])
        removed[part] = channel[removed[part]]
        done += steps
        if done < count:
            _apply(M, G, panel, steps, pool)
            alive = np.flatnonzero(np.isfinite(panel.m))
            if len(alive) < len(channel) - len(channel) // STALE:
                move_to_front([M, G], alive, pool)
                M, G = M[: len(alive), : len(alive)], G[: len(alive), : len(alive)]
                panel = panel.without(alive)
                channel = channel[alive]
    return removed, cost


def invert(A: Float64Array, pool: Workers) -> None:
    """Invert a positive definite matrix in place; only the upper triangle is read and written.

    By halves, so that all the work is matrix products: with A = [[F, S], [S', T]] and
    R = F^-1 S, the inverse is [[F^-1 + Q R', -Q], [-Q', U]], where U = (T - S' R)^-1 and Q = R U.
    A matrix that is not positive definite leaves numbers on the diagonal that are not positive.

    Examples
    --------
    >>> A = np.array([[2.0, 0.0], [0.0, 4.0]])
    >>> invert(A, Workers(1))
    >>> A
    array([[0.5 , 0.  ],
           [0.  , 0.25]])
    """
    count = len(A)
    if count <= _SMALL:
        _invert_small(A)
        return
    half = count // 2
    first, side, second = A[:half, :half], A[:half, half:], A[half:, half:]
    with np.errstate(all="ignore"):
        invert(first, pool)
        rebuilt = _filled(first, pool) @ side
        add_symmetric(second, side.T, -rebuilt, pool)
        invert(second, pool)
        mixed = rebuilt @ _filled(second, pool)
        add_symmetric(first, mixed, rebuilt.T, pool)
        np.negative(mixed, out=side)


def _invert_small(A: Float64Array) -> None:
    try:
        A[...] = np.linalg.inv(np.triu(A) + np.triu(A, 1).T)
    except np.linalg.LinAlgError:
        A[...] = np.nan


def _filled(A: Float64Array, pool: Workers) -> Float64Array:
    """Copy a symmetric matrix from its upper triangle."""
    result = np.empty(A.shape)

    def copy(start: int, stop: int) -> None:
        result[start:stop, start:] = A[start:stop, start:]
        result[stop:, start:stop] = A[start:stop, stop:].T
        square = result[start:stop, start:stop]
        square[...] = np.triu(square) + np.triu(square, 1).T

    pool.each(copy, len(A), _STRIPE)
    return result


def add_symmetric(A: Float64Array, B: Float64Array, C: Float64Array, pool: Workers) -> None:
    """Add the product B C, known to be symmetric, to the upper triangle of A.

    >>> A = np.zeros((2, 2))
    >>> add_symmetric(A, np.ones((2, 1)), np.ones((1, 2)), Workers(1))
    >>> float(A[0, 1])
    1.0
    """
    count = len(A)
    room = threading.local()

    def add(start: int, stop: int) -> None:
        # Memory mapped anew for every product would cost as much as the product.
        if not hasattr(room, "flat"):
            room.flat = np.empty(_STRIPE * count)
        product = room.flat[: (stop - start) * (count - start)].reshape(stop - start, -1)
        np.matmul(B[start:stop], C[:, start:], out=product)
        A[start:stop, start:] += product

    # One thread a stripe: product and sum then stay in that core's cache.
    with blas_threads(1):
        pool.each(add, count, _STRIPE)


def _apply(M: Float64Array, G: Float64Array, panel: Panel, steps: int, pool: Workers) -> None:
    """Bring the upper triangles up to date."""
    u, v = panel.vectors[:, :steps]
    add_symmetric(M, -u.T, u, pool)
    add_symmetric(G, -np.concatenate([u, v]).T, np.concatenate([v, u]), pool)


def move_to_front(matrices: Sequence[Float64Array], alive: IntArray, pool: Workers) -> None:
    """Move the upper triangles that belong to the features still there to the front.

    >>> A = np.triu(np.arange(9.0).reshape(3, 3))
    >>> move_to_front([A], np.array([0, 2]), Workers(1))
    >>> A[:2, :2]
    array([[0., 2.],
           [0., 8.]])
    """
    count = len(alive)

    def move(which: int, _: int) -> None:
        A = matrices[which]
        # In order, so that a row is read before it is overwritten.
        for start in range(0, count, _STRIPE):
            rows = alive[start : start + _STRIPE]
            A[start : start + len(rows), start:count] = A[rows].take(alive[start:], axis=1)

    pool.each(move, len(matrices), 1)
