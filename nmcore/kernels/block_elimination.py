"""Backward elimination of channels that own several features each, for several readers at once.

The matrices are those of :mod:`nmcore.kernels.elimination`, with blocks of T features in place of
single ones: M is the inverse of the covariance of the features that remain, G = W W' the Gram
matrix of the best weights on them. With m and g the columns of channel j, and R' R = M_jj^-1 of
its block, removing it costs tr(M_jj^-1 G_jj) and leaves::

    M' = M - u u'              u = m R'
    G' = G - u v' - v u'       v = g R' - u (R G_jj R') / 2
    W' = W - u r               r = R W_j

Where a reader has few outputs W takes less than G. The diagonal blocks are always up to date; the
matrices are brought up to date once per panel of removals, by products that run at BLAS speed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from nmcore.group import Float64Array, IntArray
from nmcore.kernels.elimination import STALE, add_symmetric, move_to_front
from nmcore.kernels.threads import Workers

# Features that are removed between two updates: the products are at full speed then, and the panels
# are still cheap to read.
PANEL = 128


class _Panel:
    """Rows that are collected, (n, width)."""

    def __init__(self, width: int, taps: int) -> None:
        self._rows = np.empty((PANEL + taps, width))
        self._used = 0

    @property
    def rows(self) -> Float64Array:
        """Those that there are."""
        return self._rows[: self._used]

    def add(self, rows: Float64Array) -> None:
        """Add some."""
        self._rows[self._used : self._used + len(rows)] = rows
        self._used += len(rows)

    def clear(self) -> None:
        """Forget them."""
        self._used = 0


class Gram:
    """G itself.

    Parameters
    ----------
    G : float64 array, shape (F, F)
        Only its upper triangle is read; overwritten.
    taps : int
        T, the features that each channel owns.
    """

    def __init__(self, G: Float64Array, taps: int) -> None:
        self._G, self.taps = G, taps
        self._panel = _Panel(len(G), taps)

    def diagonal(self) -> Float64Array:
        """The blocks on the diagonal, (N, T, T)."""
        return _diagonal(self._G, self.taps)

    def rows(self, own: slice, u: Float64Array) -> Float64Array:
        """The rows of G that belong to a channel, as they are now."""
        v = self._panel.rows
        return _rows(self._G, own) - u[:, own].T @ v - v[:, own].T @ u

    def remove(self, _own: slice, _u: Float64Array, _factor: Float64Array, v: Float64Array) -> None:
        """Note that a channel goes."""
        self._panel.add(v)

    def update(self, u: Float64Array, pool: Workers) -> None:
        """Bring the matrix up to date."""
        v = self._panel.rows
        add_symmetric(self._G, -np.concatenate([u, v]).T, np.concatenate([v, u]), pool)
        self._panel.clear()

    def shrink(self, own: IntArray, pool: Workers) -> None:
        """Leave only some features."""
        move_to_front([self._G], own, pool)
        self._G = self._G[: len(own), : len(own)]
        self._panel = _Panel(len(own), self.taps)


class Factor:
    """W, where G = W W'.

    Parameters
    ----------
    W : float64 array, shape (F, O)
        Overwritten.
    taps : int
        T, the features that each channel owns.
    """

    def __init__(self, W: Float64Array, taps: int) -> None:
        self._W, self.taps = W, taps
        self._panel = _Panel(W.shape[1], taps)

    def diagonal(self) -> Float64Array:
        """The blocks on the diagonal of G, (N, T, T)."""
        blocks = self._W.reshape(-1, self.taps, self._W.shape[1])
        return blocks @ blocks.swapaxes(1, 2)

    def rows(self, own: slice, u: Float64Array) -> Float64Array:
        """The rows of G that belong to a channel, as they are now."""
        w = self._own(own, u)
        return w @ self._W.T - (w @ self._panel.rows.T) @ u

    def _own(self, own: slice, u: Float64Array) -> Float64Array:
        """The rows of W that belong to a channel, as they are now."""
        return self._W[own] - u[:, own].T @ self._panel.rows

    def remove(self, own: slice, u: Float64Array, factor: Float64Array, _v: Float64Array) -> None:
        """Note that a channel goes."""
        self._panel.add(factor @ self._own(own, u))

    def update(self, u: Float64Array, _pool: Workers) -> None:
        """Bring the matrix up to date."""
        self._W -= u.T @ self._panel.rows
        self._panel.clear()

    def shrink(self, own: IntArray, _pool: Workers) -> None:
        """Leave only some features."""
        self._W = self._W[own]


class Blocks:
    """The state of one reader.

    Parameters
    ----------
    M : float64 array, shape (N * T, N * T)
        As in the module; only its upper triangle is read. Overwritten.
    weights : Gram or Factor
        G, in one of its forms.
    """

    def __init__(self, M: Float64Array, weights: Gram | Factor) -> None:
        self._M, self._weights, self.taps = M, weights, weights.taps
        self.m, self.g = _diagonal(M, self.taps), weights.diagonal()
        self._panel = _Panel(len(M), self.taps)
        # What the largest entries leave behind when they cancel.
        self._noise = np.finfo(np.float64).eps * np.abs(self.m).max()

    def costs(self) -> Float64Array:
        """What removing each channel adds to the error, shape (N,)."""
        if self.taps == 1:
            costs: Float64Array = self.g[:, 0, 0] / self.m[:, 0, 0]
        else:
            costs = np.trace(np.linalg.solve(self.m, self.g), axis1=1, axis2=2)
        return costs

    def remove(self, channel: int, pool: Workers) -> None:
        """Take a channel out; its own entries are meaningless afterwards."""
        taps, count = self.taps, len(self.m)
        own = slice(channel * taps, (channel + 1) * taps)
        before = self._panel.rows
        factor = self._inverse_root(channel)
        u = factor @ (_rows(self._M, own) - before[:, own].T @ before)
        v = factor @ self._weights.rows(own, before)
        v -= (factor @ self.g[channel] @ factor.T / 2) @ u
        self._weights.remove(own, before, factor, v)
        self._panel.add(u)
        first, second = (each.reshape(taps, count, taps).transpose(1, 2, 0) for each in (u, v))
        self.m -= first @ first.swapaxes(1, 2)
        mixed = first @ second.swapaxes(1, 2)
        self.g -= mixed + mixed.swapaxes(1, 2)
        # Whatever is left of a removed channel only has to stay invertible.
        self.m[channel] = self.g[channel] = 0
        self.m[channel].flat[:: taps + 1] = 1
        if len(self._panel.rows) >= PANEL:
            self.update(pool)

    def _inverse_root(self, channel: int) -> Float64Array:
        """An R with R' R = M_jj^-1, but for the directions that rounding has left nothing of."""
        values, vectors = np.linalg.eigh(self.m[channel])
        left = values > self._noise
        root: Float64Array = (
            vectors.T * np.where(left, 1 / np.sqrt(np.where(left, values, 1)), 0)[:, None]
        )
        return root

    def update(self, pool: Workers) -> None:
        """Bring the matrices up to date."""
        u = self._panel.rows
        add_symmetric(self._M, -u.T, u, pool)
        self._weights.update(u, pool)
        self._panel.clear()

    def shrink(self, alive: IntArray, pool: Workers) -> None:
        """Leave only some channels."""
        self.update(pool)
        own = (alive[:, None] * self.taps + np.arange(self.taps)).ravel()
        move_to_front([self._M], own, pool)
        self._M = self._M[: len(own), : len(own)]
        self._weights.shrink(own, pool)
        self.m, self.g = self.m[alive], self.g[alive]
        self._panel = _Panel(len(own), self.taps)


def _diagonal(A: Float64Array, taps: int) -> Float64Array:
    """The blocks on the diagonal of a symmetric matrix, (N, T, T), from its upper triangle."""
    own = np.arange(len(A)).reshape(-1, taps)
    blocks = A[own[:, :, None], own[:, None, :]]
    return np.where(_upper(taps), blocks, blocks.swapaxes(1, 2))


def _rows(A: Float64Array, own: slice) -> Float64Array:
    """Some neighbouring rows of a symmetric matrix, from its upper triangle."""
    rows = np.empty((own.stop - own.start, len(A)))
    rows[:, : own.start] = A[: own.start, own].T
    rows[:, own.start :] = A[own, own.start :]
    square = rows[:, own]
    rows[:, own] = np.where(_upper(len(rows)), square, square.T)
    return rows


@cache
def _upper(size: int) -> NDArray[np.bool_]:
    """Where the upper triangle of a square is."""
    return np.triu(np.ones((size, size), bool))


def eliminate_blocks(
    readers: Sequence[Blocks], count: int, pool: Workers
) -> tuple[IntArray, Float64Array]:
    """Remove channels one by one, always the one that costs all readers together least.

    Parameters
    ----------
    readers : sequence of Blocks
        Of the same N channels; used up.
    count : int
        How many channels to remove, below N.
    pool : Workers
        The threads.

    Returns
    -------
    removed : int array, shape (count,)
        First to last.
    cost : float64 array, shape (count,)
        What each removal adds to the error.

    Examples
    --------
    >>> reader = Blocks(np.eye(4), Gram(np.diag([3.0, 1.0, 1.0, 1.0]), taps=2))
    >>> eliminate_blocks([reader], 1, Workers(1))
    (array([1]), array([2.]))
    """
    channel = np.arange(len(readers[0].m))
    gone = np.zeros(len(channel), bool)
    removed, cost = np.empty(count, dtype=np.intp), np.empty(count)
    for number in range(count):
        costs = sum((reader.costs() for reader in readers), start=np.zeros(len(channel)))
        costs[gone] = np.inf
        place = int(np.argmin(costs))
        removed[number], cost[number] = channel[place], max(float(costs[place]), 0.0)
        gone[place] = True
        for reader in readers:
            reader.remove(place, pool)
        if gone.sum() > len(channel) // STALE:
            alive = np.flatnonzero(~gone)
            for reader in readers:
                reader.shrink(alive, pool)
            channel, gone = channel[alive], np.zeros(len(alive), bool)
    return removed, cost
