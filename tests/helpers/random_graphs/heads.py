"""How a network begins and how it ends."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from random_graphs.activations import activate
from random_graphs.builder import Builder, Value
from random_graphs.sequences import dense_layer, layer_norm
from random_graphs.twins import Twins

CLASSES = 5


def classified(b: Builder, x: Value) -> str:
    """Logits, or what a softmax makes of them."""
    x = b.dense(x, CLASSES, twins=None if b.plain else _alone(CLASSES))
    return b.op("Softmax", x.name, axis=-1 if b.opset >= 13 else 1) if b.chance(0.3) else x.name


def _alone(width: int) -> Twins:
    """Outputs of the model have no copies: they stay whatever happens."""
    return Twins(np.arange(width), np.ones(width))


def pooled(b: Builder, x: Value) -> str:
    """Global pooling in any form, then fully connected layers."""
    how = b.pick(["flatten", "squeeze", "mean", "reshape", "arithmetic", "max"])
    b.say("pooled by", how)
    if how == "mean":
        name = b.reduce(x.name, 2, 3, keepdims=False)
    else:
        op = "GlobalMaxPool" if how == "max" else "GlobalAveragePool"
        name = b.op(op, x.name)
        if how in ("flatten", "max"):
            name = b.op("Flatten", name, axis=1)
        elif how == "squeeze":
            name = b.squeeze(name, 2, 3)
        elif how == "reshape":
            name = b.reshape(name, *b.pick([(0, -1), (-1, x.width)]))
        else:
            name = b.reshape(name, "=0", "=1")
    y = replace(x, name=name, size=())
    return classified(b, dense_layer(b, y) if b.chance(0.5) else y)


def flattened(b: Builder, x: Value) -> str:
    """Every position of every channel is a feature of its own."""
    b.fixed_size = True
    features = x.width * int(np.prod(x.size))
    how = b.pick(["flatten", "reshape", "count", "channels last"])
    b.say("flattened by", how)
    name, twins = x.name, None
    if how == "channels last":
        name = b.transpose(name, 0, 2, 3, 1)
    if how in ("flatten", "channels last"):
        name = b.op("Flatten", name)
    elif how == "reshape":
        name = b.reshape(name, *b.batch([-1]))
    else:
        name = b.reshape(name, -1, features)
    y = b.dense(Value(name, features, (), twins), b.pick([8, 12]))
    return classified(b, activate(b, y, last=True))


def mapped(b: Builder, x: Value) -> str:
    """A map: segmentation, super-resolution."""
    y = b.conv(x, 3, 1, twins=None if b.plain else _alone(3))
    return b.op("Sigmoid", y.name) if b.chance(0.4) else y.name


def detected(b: Builder, x: Value) -> str:
    """Boxes: channels cut into anchors and their numbers, and turned."""
    anchors, numbers = 2, 3
    out = anchors * numbers
    y = b.conv(x, out, 1, twins=None if b.plain else _alone(out))
    if b.chance(0.5):
        cut = b.reshape(y.name, *b.batch([anchors, numbers, -1]))
        return b.transpose(cut, 0, 1, 3, 2)
    turned = b.transpose(y.name, 0, 2, 3, 1)
    return b.reshape(turned, "=0", -1, numbers)


PICTURE_HEADS = [pooled, pooled, pooled, flattened, mapped, detected]


def patches(b: Builder, x: Value) -> Value:
    """A picture as a sequence: one convolution, its positions in a row."""
    y = b.conv(x, 8, 3, stride=2)
    flat = b.reshape(y.name, *b.batch([y.width, -1]))
    count = int(np.prod(y.size))
    return Value(b.transpose(flat, 0, 2, 1), y.width, (count,), y.twins)


def embedded(b: Builder, ids: str, length: int) -> Value:
    """Rows of a table, and what is added for the position."""
    twins = b.fresh(8)
    table = b.rows(8, 50, twins=twins, gain=7.0).T
    name = b.op("Gather", b.const(np.ascontiguousarray(table), "table"), ids, axis=0)
    x = Value(name, 8, (length,), twins)
    return layer_norm(b, x) if b.chance(0.5) else x


def read_out(b: Builder, x: Value) -> str:
    """One vector of a sequence, or every one of them, to classes."""
    how = b.pick(["mean", "first", "all"])
    b.say("read out:", how)
    x = layer_norm(b, x) if b.chance(0.5) else x
    if how == "mean":
        x = replace(x, name=b.reduce(x.name, 1, keepdims=False), size=())
    elif how == "first":
        x = replace(x, name=b.op("Gather", x.name, b.const(np.int64(0)), axis=1), size=())
    y = b.dense(x, CLASSES, twins=None if b.plain else _alone(CLASSES))
    return y.name
