"""The places of a graph that change when heads become narrower inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from nmcore.group import IntArray, ScorePair
from nmcore_onnx.trace.slots import CountSlot, Slot


@dataclass(frozen=True, eq=False)
class InnerCount:
    """A size that counts channels inside heads.

    Attributes
    ----------
    slot : CountSlot
        Where it stands; its atoms own the counted positions.
    heads : int array or None
        The owners of the same positions as channels of whole heads, where these are counted too.
    """

    slot: CountSlot
    heads: IntArray | None = None


@dataclass(frozen=True, eq=False)
class HeadValue:
    """A value on the way from a projection to the scores.

    Attributes
    ----------
    value, axis : ir.Value and int
        The value, and where the channels are.
    heads : int
        How many heads stand side by side on that axis.
    """

    value: ir.Value
    axis: int
    heads: int


@dataclass(frozen=True, eq=False)
class Side:
    """The queries or the keys of one attention.

    Attributes
    ----------
    node : ir.Node
        The layer that projects them.
    weight, bias : Slot, and Slot or None
        What it makes them of, each with the channel inside its head that every row makes.
    head_values : sequence of HeadValue
        The values from the projection to the scores; the first one holds the bias.
    counts : sequence of InnerCount
        The sizes between that follow.
    values : sequence of ir.Value
        What the layer gives and all that is made of it up to the scores, in order.
    """

    node: ir.Node
    weight: Slot
    bias: Slot | None
    head_values: Sequence[HeadValue]
    counts: Sequence[InnerCount]
    values: Sequence[ir.Value]

    @property
    def slots(self) -> list[Slot]:
        """The constants that are changed and cut."""
        return [self.weight] if self.bias is None else [self.weight, self.bias]

    @property
    def made(self) -> HeadValue:
        """The projection with its bias."""
        return self.head_values[0]

    @property
    def heads(self) -> int:
        """How many heads are made."""
        return self.made.heads


@dataclass(frozen=True, eq=False)
class TracedPair:
    """Queries and keys that can become narrower together.

    Attributes
    ----------
    pair : ScorePair
        What the core sees of them.
    atoms : int array, shape (D,)
        The channels inside a head.
    scores : ir.Node
        Where they are multiplied.
    query, key : Side
        Where they come from.
    """

    pair: ScorePair
    atoms: IntArray
    scores: ir.Node
    query: Side
    key: Side

    @property
    def sides(self) -> tuple[Side, Side]:
        """Queries and keys."""
        return self.query, self.key
