"""Activations, as one node or as the nodes that exporters write for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from random_graphs.builder import Builder, Value

Activation = Callable[[Builder, str], str]


def _sigmoid_product(b: Builder, x: str) -> str:
    pair = [x, b.op("Sigmoid", x)]
    return b.op("Mul", *(pair if b.chance(0.5) else pair[::-1]))


def _erf_gelu(b: Builder, x: str) -> str:
    if b.chance(0.5):
        inner = b.op("Erf", b.op("Div", x, b.scalar(np.sqrt(2))))
    else:
        inner = b.op("Erf", b.op("Mul", x, b.scalar(np.sqrt(0.5))))
    shifted = b.op("Add", inner, b.scalar(1.0))
    if b.chance(0.5):
        return b.op("Mul", b.op("Mul", x, shifted), b.scalar(0.5))
    return b.op("Mul", b.op("Mul", x, b.scalar(0.5)), shifted)


def _tanh_gelu(b: Builder, x: str) -> str:
    cubed = b.op("Pow", x, b.const(np.float32(3.0)))
    inner = b.op("Add", x, b.op("Mul", cubed, b.scalar(0.044715)))
    bent = b.op("Tanh", b.op("Mul", inner, b.scalar(np.sqrt(2 / np.pi))))
    return b.op("Mul", b.op("Mul", x, b.scalar(0.5)), b.op("Add", bent, b.scalar(1.0)))


def _clip_hard_swish(b: Builder, x: str) -> str:
    gate = b.clip(b.op("Add", x, b.scalar(3.0)), 0.0, 6.0)
    return b.op("Div", b.op("Mul", x, gate), b.scalar(6.0))


def _sigmoid_hard_swish(b: Builder, x: str) -> str:
    return b.op("Mul", x, b.op("HardSigmoid", x, alpha=1 / 6, beta=0.5))


def _mish(b: Builder, x: str) -> str:
    return b.op("Mul", x, b.op("Tanh", b.op("Softplus", x)))


def _simple(op: str) -> Activation:
    return lambda b, x: b.op(op, x)


# f(s x) = s f(x) for s >= 0, so that scaled copies stay scaled copies.
HOMOGENEOUS: dict[str, Activation] = {
    "relu": _simple("Relu"),
    "leaky": lambda b, x: b.op("LeakyRelu", x, alpha=0.1),
}

OTHERS: dict[str, tuple[int, Activation]] = {
    "relu6": (9, lambda b, x: b.clip(x, 0.0, 6.0)),
    "tanh": (9, _simple("Tanh")),
    "sigmoid": (9, _simple("Sigmoid")),
    "elu": (9, _simple("Elu")),
    "selu": (9, _simple("Selu")),
    "softplus": (9, _simple("Softplus")),
    "softsign": (9, _simple("Softsign")),
    "hard-sigmoid": (9, _simple("HardSigmoid")),
    "celu": (12, _simple("Celu")),
    "hard-swish": (14, _simple("HardSwish")),
    "gelu": (20, _simple("Gelu")),
    "mish": (18, _simple("Mish")),
    "silu": (9, _sigmoid_product),
    "silu again": (9, _sigmoid_product),  # the most frequent of all
    "erf-gelu": (9, _erf_gelu),
    "tanh-gelu": (9, _tanh_gelu),
    "clip-hard-swish": (9, _clip_hard_swish),
    "sigmoid-hard-swish": (9, _sigmoid_hard_swish),
    "written-mish": (9, _mish),
}


def activate(b: Builder, x: Value, *, last: bool = False) -> Value:
    """Any activation that keeps twins twins; ``last`` where the channels are the last axis."""
    options = ["relu"] * 6 + ["leaky", "prelu", "none"]
    if b.copies != "scaled":
        options += [name for name, (since, _) in OTHERS.items() if b.opset >= since]
    if b.dtype == np.float16 and "celu" in options:  # for float32 alone
        options.remove("celu")
    name = b.pick(options)
    b.say(name)
    if name == "none":
        return x
    if name == "prelu":
        slope = b.vector(x.width, x.twins, around=0.3, scaled=False)
        shape = (-1,) if last else (-1, *[1] * len(x.size))
        return replace(x, name=b.op("PRelu", x.name, b.const(slope.reshape(shape), "slope")))
    function = HOMOGENEOUS.get(name) or OTHERS[name][1]
    return replace(x, name=function(b, x.name))
