"""Backward elimination of channels that own several features each, for several readers at once.

The matrices are those of :mod:`nmcore.kernels.elimination`, with blocks of T features in place of
single ones: M is the inverse of the covariance of the features that remain, G = W W' the Gram
matrix of the best weights on them. With m and g the columns of channel j, and R' R = M_jj^-1 of
its block, removing it costs tr(M_jj^-1 G_jj) and leaves::

    M' = M - u u'              u = m R'
    G' = G - u v' - v u'       v = g R' - u (R G_jj R') / 2

The diagonal blocks are always up to date; the matrices are brought up to date once per panel of
removals, by products that run at BLAS speed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nmcore.group import Float64Array, IntArray
from nmcore.kernels.elimination import STALE, add_symmetric, move_to_front
from nmcore.kernels.threads import Workers

# Features that are removed between two updates: the products are at full speed then, and the panels
# are still cheap to read.
PANEL = 128


class Blocks:
    """The state of one reader.

    Parameters
    ----------
    M, G : float64 arrays, shape (N * T, N * T)
        As in the module; only their upper triangles are read. Overwritten.
    taps : int
        T, the features that each channel owns.
    """

    def __init__(self, M: Float64Array, G: Float64Array, taps: int) -> None:
        self._M, self._G, self.taps = M, G, taps
        self._upper = np.triu(np.ones((taps, taps), bool))
        self.m, self.g = self._diagonal(M), self._diagonal(G)
        self._panel = np.empty((2, PANEL + taps, len(M)))
        self._used = 0
        # What the largest entries leave behind when they cancel.
        self._noise = np.finfo(np.float64).eps * np.abs(self.m).max()

    def _diagonal(self, A: Float64Array) -> Float64Array:
        """The blocks on the diagonal, (N, T, T)."""
        own = np.arange(len(A)).reshape(-1, self.taps)
        blocks = A[own[:, :, None], own[:, None, :]]
        return np.where(self._upper, blocks, blocks.swapaxes(1, 2))

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
        u, v = self._panel[:, : self._used]
        m = self._rows(self._M, own) - u[:, own].T @ u
        g = self._rows(self._G, own) - u[:, own].T @ v - v[:, own].T @ u
        factor = self._inverse_root(channel)
        new = self._panel[:, self._used : self._used + taps]
        new[0] = factor @ m
        new[1] = factor @ g - (factor @ self.g[channel] @ factor.T / 2) @ new[0]
        first, second = (each.reshape(taps, count, taps).transpose(1, 2, 0) for each in new)
        self.m -= first @ first.swapaxes(1, 2)
        mixed = first @ second.swapaxes(1, 2)
        self.g -= mixed + mixed.swapaxes(1, 2)
        # Whatever is left of a removed channel only has to stay invertible.
        self.m[channel] = self.g[channel] = 0
        self.m[channel].flat[:: taps + 1] = 1
        self._used += taps
        if self._used >= PANEL:
            self.update(pool)

    def _inverse_root(self, channel: int) -> Float64Array:
        """An R with R' R = M_jj^-1, but for the directions that rounding has left nothing of."""
        values, vectors = np.linalg.eigh(self.m[channel])
        left = values > self._noise
        root: Float64Array = (
            vectors.T * np.where(left, 1 / np.sqrt(np.where(left, values, 1)), 0)[:, None]
        )
        return root

    def _rows(self, A: Float64Array, own: slice) -> Float64Array:
        """The rows of a channel, (T, N * T), from the upper triangle."""
        rows = np.empty((self.taps, len(A)))
        rows[:, : own.start] = A[: own.start, own].T
        rows[:, own.start :] = A[own, own.start :]
        rows[:, own] = np.where(self._upper, rows[:, own], rows[:, own].T)
        return rows

    def update(self, pool: Workers) -> None:
        """Bring the matrices up to date."""
        u, v = self._panel[:, : self._used]
        add_symmetric(self._M, -u.T, u, pool)
        add_symmetric(self._G, -np.concatenate([u, v]).T, np.concatenate([v, u]), pool)
        self._used = 0

    def shrink(self, alive: IntArray, pool: Workers) -> None:
        """Leave only some channels."""
        self.update(pool)
        own = (alive[:, None] * self.taps + np.arange(self.taps)).ravel()
        move_to_front([self._M, self._G], own, pool)
        self._M, self._G = (A[: len(own), : len(own)] for A in (self._M, self._G))
        self.m, self.g = self.m[alive], self.g[alive]
        self._panel = np.empty((2, PANEL + self.taps, len(own)))


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
    >>> reader = Blocks(np.eye(4), np.diag([3.0, 1.0, 1.0, 1.0]), taps=2)
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
