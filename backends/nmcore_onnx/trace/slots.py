"""The places of a graph that change when channels go.

Each slot labels the positions of something with the atoms that own them: entries of a constant, the
columns a weight reads, the rows it makes, a number that counts channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import onnx_ir as ir

from nmcore.group import IntArray
from nmcore_onnx.ir import constants
from nmcore_onnx.ir.constants import Place


@dataclass(frozen=True, eq=False)
class Slot:
    """A constant that loses entries of one axis together with the channels that own them."""

    place: Place
    axis: int
    atoms: IntArray


@dataclass(frozen=True, eq=False)
class CountSlot:
    """A number that counts positions of a channel axis: an entry of a constant or an attribute.

    ``atoms`` owns the counted positions. ``place`` is a Place, or the name of an attribute of
    ``node``; ``path`` are the nodes between the constant and ``node``, its neighbour first. Where
    the place is computed rather than constant, ``computed`` is what it gives for the model as it
    was; it is replaced by a constant, since it may count channels. ``atoms`` of None: as it was.
    """

    node: ir.Node
    place: Place | str
    position: int | None
    atoms: IntArray | None
    path: tuple[ir.Node, ...] = ()
    computed: IntArray | None = None


@dataclass(frozen=True, eq=False)
class IndexSlot:
    """Constant indices into a channel axis, whose positions ``atoms`` owns."""

    place: Place
    atoms: IntArray


@dataclass(frozen=True, eq=False)
class TakeSlot:
    """A node that needs all channels, and behind which those that are left are taken.

    ``atoms`` owns the positions on ``axis`` of its first output; none of them is made by a weight.
    """

    node: ir.Node
    axis: int
    atoms: IntArray


@dataclass(frozen=True, eq=False)
class StepSlot:
    """A Slice that takes every so many-th position of a channel axis, or in another order.

    ``atoms`` owns the positions before, of which it takes ``picked``. Once some have gone, it takes
    no regular ones, and becomes a Gather.
    """

    node: ir.Node
    axis: int
    atoms: IntArray
    picked: IntArray


@dataclass(frozen=True, eq=False)
class ZeroSlot:
    """An optional input that holds nothing but zeros: it is left out once channels have gone.

    ``atoms`` owns the positions of the axis that would have to shrink.
    """

    place: Place
    atoms: IntArray


@dataclass(frozen=True, eq=False)
class ConsumerSlot:
    """A weight whose columns read channels.

    Attributes
    ----------
    node, place : ir.Node and Place
        The node, and where it reads the weight.
    axis : int
        The weight's axis of columns.
    rows : tuple of int
        Its axes of outputs, which count as one: those of a recurrent layer are on two, directions
        and gates.
    atoms : int array, shape (L,)
        The owners of the columns.
    source, source_axis : ir.Value and int
        The value that brings the channels, and its axis.
    source_atoms : int array
        The owners of all positions of that axis. A grouped convolution has a slot a group.
    start : int
        Where the columns begin on that axis.
    outputs : range
        Which of the weight's outputs read these columns.
    made : int array or None
        The owners of all outputs of the weight, where these are channels themselves.
    twins : tuple of ConsumerSlot
        Other nodes that read the same weight; it changes for all alike.
    """

    node: ir.Node
    place: Place
    axis: int
    rows: tuple[int, ...]
    atoms: IntArray
    source: ir.Value
    source_axis: int
    source_atoms: IntArray
    start: int
    outputs: range
    made: IntArray | None = None
    twins: tuple[ConsumerSlot, ...] = ()

    @property
    def all(self) -> tuple[ConsumerSlot, ...]:
        """The slot and its twins."""
        return (self, *self.twins)

    @property
    def width(self) -> int:
        """How many outputs the weight has."""
        shape = constants.shape(self.place.value) or ()
        return math.prod(shape[axis] for axis in self.rows)

    @property
    def taps(self) -> int:
        """How many entries of the weight each output has for each column."""
        shape = constants.shape(self.place.value) or ()
        return math.prod(shape) // (self.width * shape[self.axis])


@dataclass(frozen=True, eq=False)
class ProducerSlot:
    """A weight whose rows, the entries of ``axis``, make the channels ``atoms``.

    The rows may be several ``runs`` of the same channels, as the gates of a recurrent layer.
    """

    node: ir.Node
    place: Place
    axis: int
    columns: int
    atoms: IntArray
    runs: int = 1


@dataclass(frozen=True, eq=False)
class FilterSlot:
    """A grouped convolution that channels pass, each group alone.

    ``atoms`` owns its groups, ``made`` its filters; a depthwise one has a channel a group.
    """

    node: ir.Node
    place: Place
    atoms: IntArray
    made: IntArray


@dataclass(frozen=True)
class Past:
    """An input that is keys or values of the past of a decoder.

    Attributes
    ----------
    heads : int
        The axis that counts heads.
    length : int
        The axis that counts positions.
    following : ir.Value
        The output that gives it together with the new ones.
    """

    heads: int
    length: int
    following: ir.Value
