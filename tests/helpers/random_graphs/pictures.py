"""Blocks of convolutional networks: each takes a picture and gives one.

``@block`` says under which kind of copies the property "merging copies loses nothing" holds:

* ``scaled``: the second of a pair is the first times a factor. Everything between producer and
  consumer must be homogeneous, f(s x) = s f(x) for s >= 0, and a sum needs copies on copies. Firsts
  rank above all copies, so it does not matter in which order or how many at a time channels go.
* ``equal``: the second equals the first, which survives every function. But equals rank equal, and
  then the first in order stay: pairs must be (c, c + half) in the order of the whole group. Blocks
  that cut or join a group's channels in parts do not promise that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from random_graphs.activations import activate
from random_graphs.builder import Builder, Value
from random_graphs.sequences import layer_norm
from random_graphs.twins import join

Block = Callable[[Builder, Value], Value]
BOTH = ("scaled", "equal")


@dataclass(frozen=True)
class Entry:
    """A block with what it needs."""

    make: Block
    copies: tuple[str, ...]
    since: int
    weight: int


BLOCKS: dict[str, Entry] = {}


def block(
    *, copies: tuple[str, ...] = BOTH, since: int = 9, weight: int = 1
) -> Callable[[Block], Block]:
    """Enter a function among the blocks: from which opset on, and how often."""

    def enter(make: Block) -> Block:
        BLOCKS[make.__name__] = Entry(make, copies, since, weight)
        return make

    return enter


def width(b: Builder) -> int:
    return int(b.pick([4, 8, 8, 12, 16]))


def settled(b: Builder, x: Value) -> Value:
    """With equal copies, the second half copies the first in every value that is joined to others.

    A concatenation has its pairs elsewhere; a convolution puts them in order.
    """
    if b.copies != "equal":
        return x
    halves = b.fresh(x.width)
    return x if halves is not None and halves.same(x.twins) else b.conv(x, x.width, 1)


def normalised(b: Builder, x: Value) -> Value:
    return b.batch_norm(x) if b.chance(0.45) else x


# chains


@block(weight=4)
def plain(b: Builder, x: Value) -> Value:
    """Convolution, perhaps a batch norm, an activation."""
    kernel, dilation = b.pick([(1, 1), (3, 1), (3, 1), (5, 1), (3, 2)])
    return activate(b, normalised(b, b.conv(x, width(b), kernel, dilation=dilation)))


@block(weight=2)
def strided(b: Builder, x: Value) -> Value:
    if min(x.size) < 4:
        return plain(b, x)
    return activate(b, normalised(b, b.conv(x, width(b), b.pick([1, 3]), stride=2)))


@block()
def pool(b: Builder, x: Value) -> Value:
    if min(x.size) < 4:
        return plain(b, x)
    op = b.pick(["MaxPool", "AveragePool"])
    b.say(op)
    half = tuple(s // 2 for s in x.size)
    if b.chance(0.5):
        return replace(x, name=b.op(op, x.name, kernel_shape=[2, 2], strides=[2, 2]), size=half)
    made = b.op(op, x.name, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    return replace(x, name=made, size=half)


@block()
def pooled_pyramid(b: Builder, x: Value) -> Value:
    """YOLO's SPPF: pools of pools, all concatenated."""
    x = activate(b, b.conv(x, width(b), 1))
    values = [x]
    for _ in range(2):
        made = b.op("MaxPool", values[-1].name, kernel_shape=[3, 3], strides=[1, 1], pads=[1] * 4)
        values.append(replace(x, name=made))
    return activate(b, b.conv(concatenated(b, values), width(b), 1))


@block()
def dropout(b: Builder, x: Value) -> Value:
    x = plain(b, x)
    return replace(x, name=b.op("Dropout", x.name))


# sums


def _body(b: Builder, x: Value, depth: int = 0) -> Value:
    """What a residual adds to x: as wide, with the same twins."""
    kinds = ["basic", "bottleneck", "inverted", "single"] + ["nested"] * (depth == 0)
    kind = b.pick(kinds)
    b.say("of", kind)
    if kind == "nested":
        return residual(b, _body(b, x, 1), 1)
    if kind == "single":
        return normalised(b, b.conv(x, x.width, 3, twins=x.twins))
    if kind == "basic":
        y = activate(b, normalised(b, b.conv(x, width(b), 3)))
        return normalised(b, b.conv(y, x.width, 3, twins=x.twins))
    y = activate(b, normalised(b, b.conv(x, width(b), 1)))
    group = y.width if kind == "inverted" else 1
    y = activate(b, normalised(b, b.conv(y, y.width, 3, group=group)))
    return normalised(b, b.conv(y, x.width, 1, twins=x.twins))


@block(weight=4)
def residual(b: Builder, x: Value, depth: int = 0) -> Value:
    """The spine: x and what a body makes of it."""
    x = settled(b, x)
    y = b.add(x, _body(b, x, depth))
    return activate(b, y) if b.chance(0.6) else y


@block(weight=2)
def projection(b: Builder, x: Value) -> Value:
    """A shortcut with a convolution of its own."""
    out, stride = width(b), b.pick([1, 2]) if min(x.size) >= 4 else 1
    y = activate(b, normalised(b, b.conv(x, out, 3, stride=stride)))
    y = normalised(b, b.conv(y, out, 3))
    shortcut = normalised(b, b.conv(x, out, 1, stride=stride, twins=y.twins))
    return activate(b, b.add(y, shortcut))


@block(copies=("scaled",))
def option_a(b: Builder, x: Value) -> Value:
    """The shortcut of the CIFAR ResNets: every second pixel, and channels of zeros around."""
    if min(x.size) < 4:
        return plain(b, x)
    steps = [2, 2] if b.opset >= 10 else None
    if steps:
        far = np.iinfo(np.int64).max
        cut = b.slice(x.name, [2, 3], [0, 0], [far, far], steps)
    else:
        cut = b.op("MaxPool", x.name, kernel_shape=[1, 1], strides=[2, 2])
    extra = x.width // 2
    zeros = [b.fresh(extra, local=True), b.fresh(extra, local=True)]
    twins = join([zeros[0], x.twins, zeros[1]]) if x.twins is not None else None
    padded = Value(
        b.pad_channels(cut, extra, extra), x.width * 2, tuple(s // 2 for s in x.size), twins
    )
    y = activate(b, normalised(b, b.conv(x, padded.width, 3, stride=2)))
    y = normalised(b, b.conv(y, padded.width, 3, twins=twins))
    return activate(b, b.add(y, padded))


@block()
def sum_of_three(b: Builder, x: Value) -> Value:
    """One Sum instead of two Adds."""
    first = b.conv(x, width(b), 3)
    others = [b.conv(x, first.width, k, twins=first.twins) for k in (1, 3)]
    made = b.op("Sum", first.name, *(each.name for each in others))
    return activate(b, replace(first, name=made))


# concatenations and splits


def concatenated(b: Builder, values: list[Value]) -> Value:
    made = b.concat([value.name for value in values], 1 if b.chance(0.8) else -3)
    return Value(
        made,
        sum(value.width for value in values),
        values[0].size,
        join([value.twins for value in values]),
    )


@block(weight=2)
def dense_block(b: Builder, x: Value) -> Value:
    """DenseNet: every layer reads all before it, through a batch norm of its own."""
    for _ in range(int(b.rng.integers(1, 4))):
        y = activate(b, b.batch_norm(x) if b.chance(0.7) else x)
        x = concatenated(b, [x, b.conv(y, b.pick([4, 8]), 3)])
    return activate(b, b.conv(x, width(b), 1)) if b.chance(0.5) else x


@block()
def inception(b: Builder, x: Value) -> Value:
    branches = [activate(b, b.conv(x, b.pick([4, 8]), k)) for k in (1, 3, 5)]
    pooled = b.op("AveragePool", x.name, kernel_shape=[3, 3], strides=[1, 1], pads=[1] * 4)
    branches.append(replace(x, name=pooled))
    return concatenated(b, branches)


@block(weight=2)
def u_net(b: Builder, x: Value) -> Value:
    """Down, up again by a Resize or a transposed convolution, and beside what was there."""
    if min(x.size) < 4:
        return plain(b, x)
    x = settled(b, x)
    y = activate(b, normalised(b, b.conv(x, width(b), 3, stride=2)))
    if b.chance(0.3):
        y = residual(b, y)
    y = b.resize(y) if b.chance(0.5) else _transposed(b, y)
    joined = concatenated(b, [x, y] if b.chance(0.5) else [y, x])
    return activate(b, normalised(b, b.conv(joined, width(b), 3)))


def _transposed(b: Builder, x: Value) -> Value:
    """A transposed convolution that doubles height and width; weight (in, out, 2, 2)."""
    out = width(b)
    twins = b.fresh(out)
    array = b.rows(out, x.width, 2, 2, twins=twins).swapaxes(0, 1)
    weight = b.weight(np.ascontiguousarray(array))
    bias = [b.const(b.vector(out, twins), "b")] if b.chance(0.5) else []
    made = b.op("ConvTranspose", x.name, weight, *bias, kernel_shape=[2, 2], strides=[2, 2])
    b.say("by ConvTranspose")
    x = Value(made, out, tuple(2 * s for s in x.size), twins)
    return activate(b, normalised(b, x))


@block(copies=("scaled",), weight=2)
def c2f(b: Builder, x: Value) -> Value:
    """YOLO: one half goes on as it is, the other through small bottlenecks."""
    half = b.pick([4, 8])
    x = activate(b, normalised(b, b.conv(x, 2 * half, 1, local=True)))
    sizes = [half, half] if b.chance(0.7) else [half // 2, 2 * half - half // 2]
    names = b.split(x.name, sizes, 1)
    if b.chance(0.3):
        names = [b.slice(x.name, [1], [at], [to]) for at, to in ((0, sizes[0]), (sizes[0], 99))]
    bounds = [slice(0, sizes[0]), slice(sizes[0], None)]
    parts = [
        replace(x, name=name, width=size, twins=x.twins and x.twins.take(bound))
        for name, size, bound in zip(names, sizes, bounds, strict=True)
    ]
    for _ in range(int(b.rng.integers(1, 3))):
        last = parts[-1]
        y = activate(b, b.conv(last, last.width, 3))
        y = activate(b, b.conv(y, last.width, 3, twins=last.twins))
        parts.append(b.add(last, y) if b.chance(0.6) else y)
    return activate(b, normalised(b, b.conv(concatenated(b, parts), width(b), 1)))


@block(copies=("scaled",))
def sliced(b: Builder, x: Value) -> Value:
    """A part of the channels goes another way than the rest (ShuffleNet v2, GhostNet)."""
    x = activate(b, b.conv(x, 8, 3, local=True))
    low = replace(
        x, name=b.slice(x.name, [1], [0], [4]), width=4, twins=x.twins and x.twins.take(slice(0, 4))
    )
    high = replace(
        x,
        name=b.slice(x.name, [1], [4], [np.iinfo(np.int64).max]),
        width=4,
        twins=x.twins and x.twins.take(slice(4, None)),
    )
    return concatenated(b, [low, activate(b, b.conv(high, 4, 3))])


@block()
def gathered(b: Builder, x: Value) -> Value:
    """Channels in another order, or only some of them."""
    x = activate(b, b.conv(x, 8, 3))
    order = b.rng.permutation(8)
    if b.plain and b.chance(0.5):
        order = order[:6]
    made = b.op("Gather", x.name, b.const(order.astype(np.int64), "order"), axis=1)
    return replace(x, name=made, width=len(order), twins=x.twins and x.twins.take(order))


# gates


@block(copies=("equal",), weight=3)
def gate(b: Builder, x: Value) -> Value:
    """Squeeze and excite. A gate multiplies, so its twins must be equal: not with scaled ones."""
    x = settled(b, x)
    if b.chance(0.5):
        return _dense_gate(b, x)
    pooled = b.op("GlobalAveragePool", x.name) if b.chance(0.5) else b.reduce(x.name, 2, 3)
    y = activate(b, b.conv(replace(x, name=pooled, size=(1, 1)), 4, 1))
    y = b.conv(y, x.width, 1, twins=x.twins)
    return replace(x, name=b.op("Mul", *_any_order(b, x.name, _squash(b, y.name))))


def _dense_gate(b: Builder, x: Value) -> Value:
    """The same with fully connected layers, as Keras and timm have it."""
    if b.chance(0.5):
        pooled = b.reduce(x.name, 2, 3, keepdims=False)
    else:
        pooled = b.op("Flatten", b.op("GlobalAveragePool", x.name), axis=1)
    y = activate(b, b.dense(replace(x, name=pooled, size=()), 4))
    y = b.dense(y, x.width, twins=x.twins)
    squashed = _squash(b, y.name)
    if b.chance(0.5):
        spread = b.reshape(squashed, *b.batch([x.width, 1, 1]))
    else:
        spread = b.unsqueeze(squashed, 2, 3)
    return replace(x, name=b.op("Mul", *_any_order(b, x.name, spread)))


def _squash(b: Builder, name: str) -> str:
    return b.op(b.pick(["Sigmoid", "HardSigmoid"]), name)


def _any_order(b: Builder, *names: str) -> tuple[str, ...]:
    return names if b.chance(0.5) else names[::-1]


@block(copies=("equal",))
def spatial_gate(b: Builder, x: Value) -> Value:
    """One map for all channels: it broadcasts over them and joins nothing."""
    squeezed = b.conv(x, 1, 3).name if b.plain and b.chance(0.5) else b.reduce(x.name, 1)
    return replace(x, name=b.op("Mul", x.name, b.op("Sigmoid", squeezed)))


@block(copies=("equal",))
def product(b: Builder, x: Value) -> Value:
    """Two convolutions multiplied, one of them through a gate: what GLU does."""
    y = b.conv(x, width(b), 3)
    z = b.op("Sigmoid", b.conv(x, y.width, 1, twins=y.twins).name)
    return replace(y, name=b.op("Mul", y.name, z))


# grouped convolutions


@block(weight=2)
def depthwise_separable(b: Builder, x: Value) -> Value:
    """1x1, depthwise, 1x1 as in MobileNet; sometimes two filters a channel."""
    y = activate(b, normalised(b, b.conv(x, width(b), 1)))
    if b.plain and b.chance(0.2):
        y = b.conv(y, 2 * y.width, 3, group=y.width)
    else:
        y = b.conv(y, y.width, 3, group=y.width)
    y = activate(b, normalised(b, y))
    return activate(b, normalised(b, b.conv(y, width(b), 1)))


@block(copies=("scaled",), weight=2)
def grouped(b: Builder, x: Value) -> Value:
    """ResNeXt: each group of filters reads its own part, so both sides shrink part by part."""
    y = activate(b, normalised(b, b.conv(x, 8, 1, local=True)))
    out = b.pick([8, 16])
    y = activate(b, normalised(b, b.conv(y, out, 3, group=b.pick([2, 4]), local=True)))
    return activate(b, b.conv(y, width(b), 1))


@block(copies=("scaled",))
def shuffle(b: Builder, x: Value) -> Value:
    """ShuffleNet: grouped 1x1, the groups' channels interleaved, depthwise, grouped 1x1."""
    groups, wide = 2, 16
    y = activate(b, b.conv(x, wide, 1, local=True))
    y = activate(b, b.conv(y, wide, 1, group=groups, local=True))
    y = _interleaved(b, y, groups)
    y = b.conv(y, wide, 3, group=wide)
    return activate(b, b.conv(y, wide, 1, group=groups, local=True))


def _interleaved(b: Builder, x: Value, groups: int) -> Value:
    each = x.width // groups
    how = b.pick(["constant", "arithmetic"])
    sizes = [int(s) for s in x.size] if b.fixed_size else ["=2", "=3"]
    batch = "=0" if how == "arithmetic" or not b.fixed_size else 0
    if how == "constant" and b.fixed_size:
        cut = b.reshape(x.name, batch, groups, each, *sizes)
    else:
        cut = b.reshape(x.name, batch, groups, each, "=2", "=3")
    turned = b.transpose(cut, 0, 2, 1, 3, 4)
    back = ["=3", "=4"] if not (how == "constant" and b.fixed_size) else sizes
    name = b.reshape(turned, batch, x.width, *back)
    order = np.arange(x.width).reshape(groups, each).T.reshape(-1)
    return replace(x, name=name, twins=x.twins and x.twins.take(order))


# space and depth


@block()
def pixel_shuffle(b: Builder, x: Value) -> Value:
    """Blocks of four channels become one of twice the size."""
    out = b.pick([4, 8])
    inner = b.opset >= 11 and b.chance(0.5)
    made = b.fresh(out)
    y = b.conv(x, 4 * out, 3, twins=made and made.blocks(4, inner))
    mode = {"mode": "CRD" if inner else "DCR"} if b.opset >= 11 else {}
    name = b.op("DepthToSpace", y.name, blocksize=2, **mode)
    b.say("CRD" if inner else "DCR")
    return activate(b, Value(name, out, tuple(2 * s for s in y.size), made))


@block()
def space_to_depth(b: Builder, x: Value) -> Value:
    if min(x.size) < 4:
        return plain(b, x)
    name = b.op("SpaceToDepth", x.name, blocksize=2)
    size = tuple(s // 2 for s in x.size)
    twins = x.twins and x.twins.blocks(4, inner=False)
    return activate(b, b.conv(Value(name, 4 * x.width, size, twins), width(b), 1))


@block()
def focus(b: Builder, x: Value) -> Value:
    """YOLOv5's first layer: four strided slices side by side."""
    if min(x.size) < 4 or b.opset < 10:
        return plain(b, x)
    far, size = np.iinfo(np.int64).max, tuple(s // 2 for s in x.size)
    corners = [(0, 0), (1, 0), (0, 1), (1, 1)]
    parts = [b.slice(x.name, [2, 3], [i, j], [far, far], [2, 2]) for i, j in corners]
    values = [replace(x, name=part, size=size) for part in parts]
    return activate(b, b.conv(concatenated(b, values), width(b), 3))


# normalisation


@block(copies=("equal",))
def instance_norm(b: Builder, x: Value) -> Value:
    """Normalises each channel alone, so a copy's factor would be lost: equal ones only."""
    if min(x.size) < 2:
        return plain(b, x)
    y = b.conv(x, width(b), 3)
    gamma = b.const(b.vector(y.width, y.twins, around=1.0), "gamma")
    beta = b.const(b.vector(y.width, y.twins), "beta")
    made = b.op("InstanceNormalization", y.name, gamma, beta, epsilon=1e-3)
    return activate(b, replace(y, name=made))


@block(copies=("equal",))
def group_norm(b: Builder, x: Value) -> Value:
    """Whole groups can go: the second half of them copies the first."""
    if min(x.size) < 2:
        return plain(b, x)
    y = b.conv(x, b.pick([8, 16]), 3)
    groups = b.pick([2, 4])
    written = _group_norm_op if b.opset >= 21 and b.chance(0.5) else _written_group_norm
    return activate(b, replace(y, name=written(b, y, groups)))


def _group_norm_op(b: Builder, x: Value, groups: int) -> str:
    gamma = b.const(b.vector(x.width, x.twins, around=1.0), "gamma")
    beta = b.const(b.vector(x.width, x.twins), "beta")
    return b.op("GroupNormalization", x.name, gamma, beta, num_groups=groups, epsilon=1e-3)


def _written_group_norm(b: Builder, x: Value, groups: int) -> str:
    """As PyTorch's exporter writes it: an InstanceNorm over groups, and an affine map."""
    shape = b.op("Shape", x.name)
    cut = b.reshape(x.name, 0, groups, -1)
    ones, zeros = b.const(np.ones(groups, "f4")), b.const(np.zeros(groups, "f4"))
    normed = b.op("InstanceNormalization", cut, ones, zeros, epsilon=1e-3)
    back = b.op("Reshape", normed, shape)
    gamma = b.per_channel(x, b.vector(x.width, x.twins, around=1.0))
    beta = b.per_channel(x, b.vector(x.width, x.twins))
    return b.op("Add", b.op("Mul", back, gamma), beta)


@block(copies=())
def l2_norm(b: Builder, x: Value) -> Value:
    """Mixes all channels: the norm of the firsts alone is not the norm of all."""
    norm = b.reduce(x.name, 1, op="ReduceL2")
    return replace(x, name=b.op("Div", x.name, b.op("Add", norm, b.scalar(0.5))))


# channels last


@block(copies=("equal",), weight=2)
def channels_last(b: Builder, x: Value) -> Value:
    """ConvNeXt: depthwise, then a transpose, a layer norm, two dense layers, and back."""
    x = settled(b, x)
    y = b.conv(x, x.width, 3, group=x.width)
    last = replace(y, name=b.transpose(y.name, 0, 2, 3, 1))
    if b.chance(0.5):
        last = layer_norm(b, last)
    wide = activate(b, b.dense(last, width(b)), last=True)
    out = b.dense(wide, x.width, twins=x.twins)
    back = replace(out, name=b.transpose(out.name, 0, 3, 1, 2))
    return b.add(x, back) if b.chance(0.7) else back


@block()
def island(b: Builder, x: Value) -> Value:
    """What tf2onnx leaves: a bias or a scale between two transposes."""
    y = b.conv(x, width(b), 3, bias=False)
    last = b.transpose(y.name, 0, 2, 3, 1)
    scale = b.const(b.vector(y.width, y.twins, around=1.0, scaled=False))
    shifted = b.op("Add", b.op("Mul", last, scale), b.const(b.vector(y.width, y.twins)))
    function = b.pick(["Relu", "LeakyRelu"])
    return replace(y, name=b.transpose(b.op(function, shifted), 0, 3, 1, 2))
