"""Blocks of transformers and multilayer perceptrons: channels on the last axis.

See :mod:`random_graphs.pictures` for what ``copies`` says of a block.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from random_graphs.activations import activate
from random_graphs.builder import Builder, Value
from random_graphs.twins import join

HEADS = 4


def layer_norm(b: Builder, x: Value) -> Value:
    """One node from opset 17 on, or what was written for it before.

    Its mean and variance over equal pairs are those over the firsts alone; over scaled ones not.
    """
    gamma = b.const(b.vector(x.width, x.twins, around=1.0, scaled=False), "gamma")
    beta = b.const(b.vector(x.width, x.twins), "beta")
    if b.opset >= 17 and b.chance(0.6):
        made = b.op("LayerNormalization", x.name, gamma, beta, axis=-1, epsilon=1e-3)
        return replace(x, name=made)
    centred = b.op("Sub", x.name, b.reduce(x.name, -1))
    squared = b.op("Pow", centred, b.const(np.float32(2.0)))
    variance = b.op("Add", b.reduce(squared, -1), b.const(np.float32(1e-3)))
    normed = b.op("Div", centred, b.op("Sqrt", variance))
    return replace(x, name=b.op("Add", b.op("Mul", normed, gamma), beta))


def rms_norm(b: Builder, x: Value) -> Value:
    """As language models have it: no mean, no offset."""
    squared = b.op("Mul", x.name, x.name)
    root = b.op("Sqrt", b.op("Add", b.reduce(squared, -1), b.const(np.float32(1e-3))))
    gamma = b.const(b.vector(x.width, x.twins, around=1.0, scaled=False), "gamma")
    normed = b.op("Div", x.name, root) if b.chance(0.5) else _times_inverse(b, x.name, root)
    return replace(x, name=b.op("Mul", normed, gamma))


def _times_inverse(b: Builder, x: str, root: str) -> str:
    return b.op("Mul", x, b.op("Reciprocal", root))


def _normed(b: Builder, x: Value) -> Value:
    return (layer_norm if b.chance(0.8) else rms_norm)(b, x)


def attention(b: Builder, x: Value) -> Value:
    """Self-attention; with copies the second half of the heads copies the first."""
    each = b.pick([2, 4])
    width = HEADS * each
    cut = b.pick([_separate, _fused])
    b.say(cut.__name__.strip("_"))
    queries, keys, values = cut(b, x, width)
    scores = b.op("MatMul", queries, b.transpose(keys, 0, 1, 3, 2))
    root = float(np.sqrt(each))
    scores = (
        b.op("Div", scores, b.scalar(root))
        if b.chance(0.5)
        else b.op("Mul", scores, b.scalar(1 / root))
    )
    mixed = b.op("MatMul", b.op("Softmax", scores, axis=-1 if b.opset >= 13 else 3), values)
    joined = b.reshape(b.transpose(mixed, 0, 2, 1, 3), *b.batch([b.pick([-1, "=1"]), width]))
    y = replace(x, name=joined, width=width, twins=b.fresh(width))
    return b.dense(y, x.width, twins=x.twins)


def _separate(b: Builder, x: Value, width: int) -> list[str]:
    return [_heads(b, b.dense(x, width).name, width) for _ in range(3)]


def _heads(b: Builder, name: str, width: int) -> str:
    """(n, t, width) as (n, heads, t, each)."""
    cut = b.reshape(name, *b.batch([b.pick([0, "=1"]), HEADS, width // HEADS]))
    return b.transpose(cut, 0, 2, 1, 3)


def _fused(b: Builder, x: Value, width: int) -> list[str]:
    """One product for all three, cut by a Split, or by a Reshape and three Gathers as in timm."""
    each = b.fresh(width)
    name = b.dense(x, 3 * width, twins=join([each] * 3) if each else None).name
    if b.chance(0.5):
        return [_heads(b, part, width) for part in b.split(name, [width] * 3, -1)]
    cut = b.reshape(name, *b.batch([b.pick([0, "=1"]), 3, HEADS, width // HEADS]))
    turned = b.transpose(cut, 2, 0, 3, 1, 4)
    return [b.op("Gather", turned, b.const(np.int64(k)), axis=0) for k in range(3)]


def feed_forward(b: Builder, x: Value) -> Value:
    """Dense, any activation, dense."""
    y = activate(b, b.dense(x, b.pick([8, 16, 24])), last=True)
    return b.dense(y, x.width, twins=x.twins, bias=b.chance(0.7))


def gated(b: Builder, x: Value) -> Value:
    """SwiGLU and its kin: the hidden channel is a product of two producers."""
    wide = b.pick([8, 16])
    if b.plain and b.chance(0.3):  # both in one product, as in Llama's fused form
        halves = b.split(b.dense(x, 2 * wide).name, [wide, wide], -1)
        left, right = (replace(x, name=half, width=wide) for half in halves)
    else:
        left = b.dense(x, wide)
        right = b.dense(x, wide, twins=left.twins)
    made = b.op("Mul", activate(b, left, last=True).name, right.name)
    return b.dense(replace(left, name=made), x.width, twins=x.twins, bias=b.chance(0.5))


def transformer_block(b: Builder, x: Value) -> Value:
    """Attention and feed-forward, each beside the spine; norms before or after."""
    before = b.chance(0.7)
    for part in (attention, b.pick([feed_forward, gated])):
        b.say(part.__name__)
        y = part(b, _normed(b, x) if before else x)
        x = b.add(x, y) if before else _normed(b, b.add(x, y))
    return x


# Gates of each recurrent operator.
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def recurrent_block(b: Builder, x: Value) -> Value:
    """A recurrent layer and a product that reads it, beside the spine."""
    op, units = b.pick(list(GATES)), b.pick([4, 8])
    direction = b.pick(["forward", "reverse", "bidirectional"])
    b.say(op, direction)
    both, twins = 1 + (direction == "bidirectional"), b.fresh(units)

    def gates(*rest: int, runs: int = 1) -> str:
        parts = [
            b.rows(units, *rest, twins=twins, scaled=False, gain=0.7)
            for _ in range(both * GATES[op] * runs)
        ]
        return b.const(np.concatenate(parts).reshape(both, -1, *rest), "gates")

    steps_first = b.transpose(x.name, 1, 0, 2)
    weights = [gates(x.width), gates(units)] + [gates(runs=2)] * b.chance(0.7)
    after = {"linear_before_reset": int(b.chance(0.5))} if op == "GRU" else {}
    made = b.op(op, steps_first, *weights, hidden_size=units, direction=direction, **after)
    if both == 1:
        made = b.transpose(b.squeeze(made, 1), 1, 0, 2)
    else:
        turned = b.transpose(made, 2, 0, 1, 3)
        made = b.op("Reshape", turned, b.ints(0, 0, 2 * units))
    y = Value(made, both * units, x.size, join([twins] * both))
    return b.add(x, b.dense(y, x.width, twins=x.twins))


def dense_layer(b: Builder, x: Value) -> Value:
    """Dense and activation, now and then a batch norm of vectors between."""
    y = b.dense(x, b.pick([8, 12, 16]))
    if not x.size and b.chance(0.3):
        y = b.batch_norm(y, written_out=False)
    return activate(b, y, last=True)


def dense_residual(b: Builder, x: Value) -> Value:
    y = activate(b, b.dense(x, b.pick([8, 16])), last=True)
    return b.add(x, b.dense(y, x.width, twins=x.twins))


def dense_concat(b: Builder, x: Value) -> Value:
    """The skip connection of wide-and-deep networks."""
    y = activate(b, b.dense(x, 8), last=True)
    made = b.concat([x.name, y.name], -1)
    joined = replace(x, name=made, width=x.width + 8, twins=join([x.twins, y.twins]))
    return dense_layer(b, joined)


VECTOR_BLOCKS: dict[str, Callable[[Builder, Value], Value]] = {
    "dense": dense_layer,
    "residual": dense_residual,
    "concat": dense_concat,
    "feed-forward": feed_forward,
    "gated": gated,
}
