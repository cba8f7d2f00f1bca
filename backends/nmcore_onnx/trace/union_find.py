"""A union-find over atoms: integers that stand for channels."""

from __future__ import annotations

import numpy as np

from nmcore.group import IntArray


class UnionFind:
    """A union-find over integers.

    Every weight makes one fresh atom a channel. Where two values are added, multiplied or otherwise
    matched position by position, their atoms are united: the channels are kept or removed together.

    Examples
    --------
    >>> atoms = UnionFind()
    >>> one, other = atoms.fresh(3), atoms.fresh(3)
    >>> atoms.unite(one[:2], other[1:])
    >>> atoms.roots(other)
    array([3, 0, 1])
    """

    def __init__(self) -> None:
        self._parents: list[int] = []
        self._array: IntArray | None = None

    def fresh(self, count: int) -> IntArray:
        """New atoms that are united with nothing."""
        first = len(self._parents)
        self._parents += range(first, first + count)
        self._array = None
        return np.arange(first, first + count)

    def unite(self, one: IntArray, other: IntArray) -> None:
        """Unite the atoms at equal positions; the oldest one of each set stands for it."""
        for a, b in zip(one.ravel().tolist(), other.ravel().tolist(), strict=True):
            first, second = sorted((self._root(a), self._root(b)))
            self._parents[second] = first
        self._array = None

    def tie(self, blocks: IntArray) -> None:
        """Unite all atoms of each row of a (blocks, members) array."""
        for column in blocks.T[1:]:
            self.unite(blocks.T[0], column)

    def roots(self, atoms: IntArray) -> IntArray:
        """The atom that stands for each one's set."""
        if self._array is None:
            self._array = np.array(self._parents, dtype=np.intp)
            while not np.array_equal(above := self._array[self._array], self._array):
                self._array = above
        return self._array[atoms] if len(atoms) else atoms

    def _root(self, atom: int) -> int:
        while (parent := self._parents[atom]) != atom:
            self._parents[atom] = atom = self._parents[parent]
        return atom
