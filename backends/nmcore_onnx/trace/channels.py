"""Channels as they travel through a graph: which axis carries them, and who owns each position.

Every producer makes one fresh atom a channel (:mod:`nmcore_onnx.trace.union_find`). A rule carries
the atoms of a value's channel axis to the node's outputs; at the end every position of every
constant that was sliced along the way is labelled with the atom that owns it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from nmcore.group import IntArray

# No axis that a weight reads is longer; a file that says so is out for our memory.
_LONGEST = 2**24


@dataclass(frozen=True, eq=False)
class Channels:
    """The channel axis of a value.

    Attributes
    ----------
    axis : int
        Which axis of the value it is.
    atoms : int array, shape (M,)
        The owner of each position, before flattening repeats them.
    outer, inner : int or None
        How often flattening repeated the whole sequence (``outer``, from axes before the channel
        axis) and each single position (``inner``, from axes behind it); None where the size is
        not known here. The length of the axis is ``outer * M * inner``.
    """

    axis: int
    atoms: IntArray
    outer: int | None = 1
    inner: int | None = 1

    @property
    def length(self) -> int | None:
        """How many positions the axis has; None where that is not known here."""
        if self.outer is None or self.inner is None:
            return None
        return self.outer * len(self.atoms) * self.inner

    def at(self, axis: int) -> Channels:
        """The same channels on another axis."""
        return replace(self, axis=axis)

    def expand(self, length: int) -> IntArray | None:
        """The owner of each of ``length`` positions, or None where that length cannot be.

        >>> Channels(1, np.array([7, 8]), inner=None).expand(6)
        array([7, 7, 7, 8, 8, 8])
        """
        if not len(self.atoms):  # an empty part
            return self.atoms if length == 0 else None
        if length > _LONGEST:
            return None
        repeats, rest = divmod(length, len(self.atoms))
        outer, inner = self.outer, self.inner
        if outer is None and inner is not None:
            outer = repeats // inner
        elif inner is None and outer is not None:
            inner = repeats // outer
        if rest or outer is None or inner is None or outer * inner != repeats:
            return None
        return np.tile(np.repeat(self.atoms, inner), outer)

    def owners(self) -> IntArray | None:
        """The owner of every position, shape (length,), where the length is known."""
        return None if self.length is None else self.expand(self.length)
