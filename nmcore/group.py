"""The data that flows through the core: what a backend hands over, and what goes back.

All classes are frozen; their arrays are shared, not copied, and must not be written to.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
FloatArray = NDArray[np.floating]
IntArray = NDArray[np.intp]
Float64Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class BatchNorm:
    """A batch normalisation at inference: ``gamma * (x - mean) / sqrt(var + eps) + beta``.

    Parameters
    ----------
    gamma, beta, mean, var : array, shape (N,)
        Learned scale and offset, running mean and running variance, one entry a channel.
    eps : float
        The constant added to the variance.

    Examples
    --------
    >>> one, zero = np.ones(2), np.zeros(2)
    >>> norm = BatchNorm(gamma=one, beta=zero, mean=zero, var=np.array([4.0, 1.0]), eps=0)
    >>> norm.gain, norm.folded_bias(np.array([3.0, 3.0]))
    (array([0.5, 1. ]), array([1.5, 3. ]))
    """

    gamma: FloatArray
    beta: FloatArray
    mean: FloatArray
    var: FloatArray
    eps: float = 1e-5

    @property
    def gain(self) -> FloatArray:
        """``gamma / sqrt(var + eps)``, shape (N,); zero where the deviation is: x is constant."""
        deviation = np.sqrt(self.var + self.eps)
        gain: FloatArray = self.gamma / np.where(deviation > 0, deviation, np.inf)
        return gain

    def folded_bias(self, bias: FloatArray | float = 0.0) -> FloatArray:
        """``beta + gain (bias - mean)``, shape (N,): a layer's bias with the norm folded in."""
        return self.beta + self.gain * (bias - self.mean)


@dataclass(frozen=True, eq=False)
class Scaling:
    """How every channel of a group is rebuilt from the kept ones.

    A merge writes at most one number into each column of Z, so it is held as ``assignment`` and
    ``scale``; a method that mixes many channels hands over the whole ``matrix``.
    Build one with :func:`nmcore.scaling_matrix`.

    Attributes
    ----------
    kept : int array, shape (P,)
        The kept channels, ascending.
    width : int
        N, the number of channels before.
    assignment : int array, shape (N,), or None
        For each channel the *position in kept* it is rebuilt from; -1 where it is left out.
    scale : float array, shape (N,), or None
        The factor of that one kept channel (1 for kept channels, 0 where left out).
    matrix : float array, shape (P, N), or None
        Z itself, where it is dense.
    shift : float array, shape (N,), or None
        The constant part of the rebuilt activation.
    similarity : float array, shape (N,)
        For each removed channel the cosine to the kept channel it was matched with; 1 for kept
        channels, NaN where the method compares nothing.
    threshold : float or None
        The least similarity at which a channel was merged, where that decided.

    Examples
    --------
    The third row is twice the first, so the third channel is twice the first one:

    >>> import nmcore
    >>> rows = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0]])
    >>> scaling = nmcore.scaling_matrix(rows, [0, 1])
    >>> scaling.Z
    array([[1., 0., 2.],
           [0., 1., 0.]])
    >>> scaling.merged
    1
    """

    kept: IntArray
    width: int
    similarity: FloatArray
    assignment: IntArray | None = None
    scale: FloatArray | None = None
    matrix: FloatArray | None = None
    shift: FloatArray | None = None
    threshold: float | None = None

    @cached_property
    def Z(self) -> FloatArray:
        """The scaling matrix, shape (P, N)."""
        if self.matrix is not None:
            return self.matrix
        assert self.assignment is not None
        assert self.scale is not None
        Z = np.zeros((len(self.kept), self.width), dtype=self.scale.dtype)
        (columns,) = np.nonzero(self.assignment >= 0)
        Z[self.assignment[columns], columns] = self.scale[columns]
        return Z

    @property
    def merged(self) -> int:
        """How many removed channels are rebuilt from kept ones, at least in part."""
        if self.assignment is not None:
            return int(np.count_nonzero(self.assignment >= 0)) - len(self.kept)
        return int(np.count_nonzero(np.any(self.Z != 0, axis=0))) - len(self.kept)


@dataclass(frozen=True, eq=False)
class RowSums:
    """The rows of a table as sums of some that are kept: the columns of a sparse Z.

    Attributes
    ----------
    kept : int array, shape (K,)
        The rows that stay, ascending.
    position : int array, shape (V, r)
        For each row the positions, among the kept ones, of those that it is made of.
    scale : array, shape (V, r)
        Their factors; 0 where there are fewer. A kept row is itself.
    """

    kept: IntArray
    position: IntArray
    scale: FloatArray

    def rebuilt(self, table: FloatArray, rows: IntArray | slice = slice(None)) -> FloatArray:
        """What some rows (all without ``rows``) become, shape (n, D), as float64."""
        atoms = table[self.kept[self.position[rows]]].astype(np.float64)
        result: FloatArray = (self.scale[rows][:, :, None] * atoms).sum(axis=1)
        return result


@dataclass(frozen=True, eq=False)
class Refit:
    """New weights of a consumer on some of the channels that it reads, and none on the others.

    Attributes
    ----------
    kept : int array, shape (P,)
        Positions among the channels that the consumer reads, ascending.
    weight : array, shape (O, P, T)
        The new weight.
    bias : array, shape (O,), or None
        What to add to the bias.
    """

    kept: IntArray
    weight: FloatArray
    bias: FloatArray | None = None


@dataclass(frozen=True, eq=False)
class Producer:
    """Weights whose rows make the channels of a group.

    Attributes
    ----------
    name : str
        The node's name.
    weight : array, shape (N, ...)
        One row a channel: (N, inputs) of a fully connected layer, (N, inputs, *kernel) of a
        convolution.
    bias : array, shape (N,), or None
        The constant added to each channel before any normalisation.
    batchnorm : BatchNorm or None
        The normalisation that follows directly, where the graph still holds one.
    depthwise : array, shape (N, ...), or None
        The filters of a depthwise convolution behind a pointwise one, which together count as one
        convolution; ``bias`` and ``batchnorm`` are then those behind the depthwise one.
    """

    name: str
    weight: FloatArray
    bias: FloatArray | None = None
    batchnorm: BatchNorm | None = None
    depthwise: FloatArray | None = None

    def folded(self) -> Producer:
        """The same rows with the batch norm and the depthwise filters multiplied into them.

        w = (gamma / sqrt(var + eps)) W and b = beta + gamma (bias - mean) / sqrt(var + eps); the
        row of a pointwise and a depthwise convolution is the outer product of their filters.
        """
        weight, bias = self.weight, self.bias
        if self.depthwise is not None:
            flat, filters = (part.reshape(len(part), -1) for part in (weight, self.depthwise))
            weight = flat[:, :, None] * filters[:, None, :]
        norm = self.batchnorm
        if norm is not None:
            weight = weight * norm.gain.reshape(-1, *([1] * (weight.ndim - 1)))
            bias = norm.folded_bias(0.0 if bias is None else bias)
        return Producer(self.name, weight, bias)


@dataclass(frozen=True, eq=False)
class Consumer:
    """Weights whose columns read the channels of a group; outputs that are gone do not count.

    Attributes
    ----------
    name : str
        The node's name.
    weight : array, shape (O, N, T)
        O outputs, N channels, T taps: the kernel positions of a convolution, or the neighbouring
        columns that one flattened channel owns.
    bias : array, shape (O,), or None
        What is added to its outputs.
    scale : array, shape (O,), or None
        What a batch norm right behind multiplies each output by.
    feeds_sum : bool
        Whether what it makes of these channels is added to something else of the same shape: a
        residual stream, or what it makes of channels of other groups.
    """

    name: str
    weight: FloatArray
    bias: FloatArray | None = None
    scale: FloatArray | None = None
    feeds_sum: bool = False

    @property
    def features(self) -> int:
        """F = N T, how many numbers it reads for each output."""
        _, width, taps = self.weight.shape
        return int(width * taps)

    def matrix(self) -> NDArray[np.float64]:
        """The weight, shape (F, O)."""
        return self.weight.reshape(len(self.weight), -1).T.astype(np.float64)

    def offsets(self) -> NDArray[np.float64]:
        """The bias, shape (O,), of zeros where there is none."""
        zeros = np.zeros(len(self.weight))
        return zeros if self.bias is None else self.bias.astype(np.float64)

    def gains(self) -> NDArray[np.float64]:
        """What each output is multiplied by, shape (O,), ones where no batch norm follows."""
        ones = np.ones(len(self.weight))
        return ones if self.scale is None else self.scale.astype(np.float64)


@dataclass(frozen=True)
class Group:
    """Channels that are kept or removed together everywhere.

    Attributes
    ----------
    name : str
        The name of the first producer's node.
    width : int
        N, the number of channels.
    producers, consumers : sequence of str
        The names of the nodes whose rows make, and whose columns read, the channels.
    block : int
        How many rows of the first producer make one channel of the group: more than one where
        whole blocks stay or go, such as attention heads. Widths count blocks then.
    filters : sequence of str
        The names of the grouped convolutions on the way, such as depthwise ones.
    gates : int
        How many gates of the first producer have rows for each channel: more than one in a
        recurrent layer, whose unit owns such rows in each.
    members : mapping of str to bool
        Every name of what holds an entry for each channel: nodes, their weights, and the modules of
        a framework that these are from. Whether the entries are the channels of the group, one by
        one and in the same order; else they are several for each, or those of other groups, too.
    unmeasured : str
        Where the channels are read, if nothing can be measured there; else empty.
    """

    name: str
    width: int
    producers: Sequence[str]
    consumers: Sequence[str]
    block: int = 1
    filters: Sequence[str] = ()
    gates: int = 1
    members: Mapping[str, bool] = field(default_factory=dict, compare=False)
    unmeasured: str = ""

    @property
    def names(self) -> Sequence[str]:
        """All that it can be called, its own name first."""
        return [*dict.fromkeys((self.name, *self.producers, *self.members))]

    def multiple(self, rows: int) -> int:
        """How many channels of the group come to a multiple of so many rows.

        >>> Group("heads", 6, ["q"], ["out"], block=32).multiple(8)
        1
        >>> Group("pairs", 6, ["q"], ["out"], block=2).multiple(8)
        4
        """
        return rows // math.gcd(rows, self.block)


@dataclass(frozen=True)
class ScorePair(Group):
    """The query and the key channels inside the heads of one attention, which go together.

    Its channels are those inside one head, and every head loses as many: after the maps of a
    :class:`Narrowing` they stand by falling share of the scores, so that the first ones stay.
    Producers are the two layers that project queries and keys, in this order; what reads both is
    the one consumer.

    Attributes
    ----------
    heads, key_heads : int
        How many heads the queries and the keys have; several neighbouring query heads may read one
        key head.
    """

    heads: int = 1
    key_heads: int = 1

    @property
    def names(self) -> Sequence[str]:
        """All that it can be called; its scores are its own, though its heads are a group's too."""
        return [*dict.fromkeys((self.name, *self.producers, *self.consumers))]


@dataclass(frozen=True, eq=False)
class Narrowing:
    """What makes the queries and keys of all heads narrower: q becomes A' q, and k becomes B' k.

    Attributes
    ----------
    query : array, shape (H, D, d)
        A of each query head.
    key : array, shape (G, D, d)
        B of each key head.
    """

    query: Float64Array
    key: Float64Array

    @property
    def width(self) -> int:
        """How many channels are left, d."""
        return int(self.key.shape[2])


@dataclass(frozen=True)
class Reading:
    """One consumer of a group.

    Attributes
    ----------
    group : str
        The group's name.
    index : int
        Which of its consumers.
    source : str
        What it reads: consumers of the same source cannot influence each other.
    """

    group: str
    index: int
    source: str


@dataclass(frozen=True)
class Declined:
    """A part of the model that is left alone.

    Attributes
    ----------
    node, op : str
        Its name and its operator.
    reason : str
        Why, in words a user understands.
    names : sequence of str
        What else it is called: its weights, and the module of a framework that it is from.
    """

    node: str
    op: str
    reason: str
    names: Sequence[str] = field(default=(), compare=False)


@dataclass(frozen=True)
class Term:
    """A part of a model's cost that shrinks with the widths of some groups.

    With k of N channels kept in each of ``groups``, its cost is multiplied by the product of k/N;
    a group that stands there twice counts twice.
    """

    macs: float
    params: float
    groups: tuple[str, ...]


@dataclass(frozen=True)
class Cost:
    """What a model weighs.

    Attributes
    ----------
    nodes : int
        Operators in the graph, those in subgraphs included.
    params : int
        Numbers in its floating-point weights.
    macs : int or None
        Multiply-accumulates of one sample; None where a needed size is unknown.
    assumed : mapping of input name to shape
        The inputs whose sizes the model leaves open, and those that ``macs`` were counted at. An
        open batch alone is none of them, as one sample is counted.
    uncounted : tuple of str
        The nodes that a size is missing for; empty unless ``macs`` is None.
    remarks : tuple of str
        How parts were counted that do not just run once, a line each.
    """

    nodes: int
    params: int
    macs: int | None = None
    assumed: Mapping[str, tuple[int, ...]] = field(default_factory=dict, compare=False)
    uncounted: tuple[str, ...] = field(default=(), compare=False)
    remarks: tuple[str, ...] = field(default=(), compare=False)
