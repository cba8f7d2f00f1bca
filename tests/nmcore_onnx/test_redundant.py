"""Networks with redundant channels: half of them go without loss, whatever reads them.

Channels 8 to 15 of every hidden layer are half of channels 0 to 7, and a ReLU follows. A merged
channel is then its partner times a factor, whose place differs with every form of consumer.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import nmcore
from chain import Chain, run
from nmcore.data.dataset import Dataset

WIDTH = 16
HALF = WIDTH // 2
# The pull towards the folded weights grows with features per row, so there are rows enough here.
SAMPLES = 2000
SHAPES = {"picture": ("n", 3, 8, 8), "vector": ("n", 6), "sequence": ("n", 5, 6)}


def doubled(array: np.ndarray, axis: int = 0) -> np.ndarray:
    """Half as much once more along an axis."""
    return np.concatenate([array, array.dtype.type(0.5) * array], axis)


class Redundant(Chain):
    """A chain whose hidden layers hold every channel twice."""

    def __init__(self, kind: str) -> None:
        super().__init__(SHAPES[kind])
        self.width = self.shape[-1] if kind == "sequence" else self.shape[1]

    def rows(self, *shape: int) -> np.ndarray:
        return doubled(self.unit(*shape))

    def unit(self, *shape: int) -> np.ndarray:
        """Rows of equal l1 norm, so that this norm ranks each above the half of any other."""
        rows = self.weight(HALF, *shape)
        return rows / np.abs(rows).sum(tuple(range(1, rows.ndim)), keepdims=True)

    def constants(self) -> np.ndarray:
        return doubled(np.float32(0.1) * self.rng.choice([-1, 1], HALF).astype(np.float32))

    def hidden(self) -> Redundant:
        """A layer and the ReLU behind it; pictures have a convolution, others a MatMul."""
        if len(self.shape) == 4:
            self.node("Conv", self.rows(self.width, 3, 3), self.constants(), pads=[1] * 4)
        else:
            weight = np.ascontiguousarray(self.rows(self.width).T)
            self.node("MatMul", weight).node("Add", self.constants())
        self.width = WIDTH
        return self.node("Relu")

    def plain_conv(self, width: int = 5, *, bias: bool = True, **attributes) -> Redundant:
        extra = [self.weight(width, 1)[:, 0]] if bias else []
        self.node("Conv", self.weight(width, WIDTH, 3, 3), *extra, **attributes)
        self.width = width
        return self

    def plain_gemm(
        self, shape: tuple[int, ...] | None, *, trans: int = 1, **attributes
    ) -> Redundant:
        weight = self.weight(4, self.width)
        extra = [] if shape is None else [self.weight(4, 1).reshape(-1)[: shape[-1]].reshape(shape)]
        self.node(
            "Gemm",
            weight if trans else np.ascontiguousarray(weight.T),
            *extra,
            transB=trans,
            **attributes,
        )
        self.width = 4
        return self

    def added(self, side: str) -> Redundant:
        """A constant added, on either side of the plus."""
        bias = self.constant(self.weight(self.width, 1)[:, 0])
        pair = (self.value, bias) if side == "right" else (bias, self.value)
        return self.raw("Add", *pair)

    def twice(self, *, bias: str | None) -> Redundant:
        """A hidden MatMul in the middle, with half of its own channels redundant."""
        self.node("MatMul", np.ascontiguousarray(self.rows(WIDTH).T))
        if bias is not None:
            constant = self.constant(self.constants())
            pair = (self.value, constant) if bias == "right" else (constant, self.value)
            self.raw("Add", *pair)
        return self.node("Relu")

    def depthwise(self) -> Redundant:
        """Equal kernels for both of a pair, and a bias of half the size for the second."""
        kernel = self.unit(1, 3, 3)
        kernels = np.concatenate([kernel, kernel])
        self.node("Conv", kernels, self.constants(), group=WIDTH, pads=[1] * 4)
        return self.node("Relu")


def picture() -> Redundant:
    return Redundant("picture").hidden()


def vector() -> Redundant:
    return Redundant("vector").hidden()


def sequence() -> Redundant:
    return Redundant("sequence").hidden()


CONSUMERS = {
    "conv": lambda: picture().plain_conv(),
    "conv without bias": lambda: picture().plain_conv(bias=False),
    "conv, batch norm behind": lambda: picture().plain_conv().batch_norm(),
    "conv without bias, batch norm behind": lambda: picture().plain_conv(bias=False).batch_norm(),
    "conv, strided": lambda: picture().plain_conv(strides=[2, 2], pads=[1] * 4),
    "conv, dilated": lambda: picture().plain_conv(dilations=[2, 2], bias=False),
    "conv, strided and dilated": lambda: picture().plain_conv(strides=[2, 1], dilations=[1, 3]),
    "depthwise between": lambda: picture().depthwise().plain_conv(),
    "flatten": lambda: flattened().plain_gemm((4,)),
    "flatten, gemm not transposed": lambda: flattened().plain_gemm((4,), trans=0),
    "flatten, matmul": lambda: flattened().matmul(4),
    "pooled": lambda: picture().node("GlobalAveragePool").node("Flatten").plain_gemm((4,)),
    **{
        f"gemm, transB {trans}, C {shape}": lambda trans=trans, shape=shape: vector().plain_gemm(
            shape, trans=trans
        )
        for trans in (0, 1)
        for shape in ((4,), (1, 4), (1,), None)
    },
    **{
        f"gemm, alpha and beta, transB {trans}, C {shape}": (
            lambda trans=trans, shape=shape: vector().plain_gemm(
                shape, trans=trans, alpha=2.5, beta=0.5
            )
        )
        for trans in (0, 1)
        for shape in ((4,), (1, 4), (1,), None)
    },
    "gemm, batch norm behind": lambda: vector().plain_gemm((4,)).batch_norm(),
    "gemm without C, batch norm behind": lambda: vector().plain_gemm(None).batch_norm(),
    **{
        f"matmul, rank {rank}, add on the {side}": lambda start=start, side=side: (
            start().matmul(4, bias=False).added(side)
        )
        for rank, start in ((2, vector), (3, sequence))
        for side in ("left", "right")
    },
    **{
        f"matmul in the middle, rank {rank}, bias {side}": lambda start=start, side=side: (
            start().twice(bias=side).matmul(4)
        )
        for rank, start in ((2, vector), (3, sequence))
        for side in (None, "left", "right")
    },
    **{
        f"matmul last, rank {rank}": lambda start=start: start().matmul(4, bias=False)
        for rank, start in ((2, vector), (3, sequence))
    },
    "matmul in the middle and last, rank 2": lambda: (
        vector().twice(bias=None).matmul(4, bias=False)
    ),
    "matmul with add, batch norm behind, rank 2": lambda: vector().matmul(5).batch_norm(),
    "matmul, batch norm behind, rank 2": lambda: vector().matmul(5, bias=False).batch_norm(),
    # A batch norm's channels are axis 1: of (n, 5, 5) the positions, not what the MatMul makes.
    "matmul with add, batch norm behind, rank 3": lambda: sequence().matmul(5).batch_norm(),
    "matmul, batch norm behind, rank 3": lambda: sequence().matmul(5, bias=False).batch_norm(),
}


def flattened() -> Redundant:
    """Four features of every channel."""
    chain = picture().node("MaxPool", kernel_shape=[4, 4], strides=[4, 4]).node("Flatten")
    chain.width = WIDTH * 4
    return chain


def unnamed(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network as exporters write it that give nodes no names."""
    for node in model.graph.node:
        node.ClearField("name")
    return model


def inputs(model: onnx.ModelProto, count: int, seed: int) -> np.ndarray:
    dims = model.graph.input[0].type.tensor_type.shape.dim[1:]
    shape = (count, *(dim.dim_value for dim in dims))
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def small(model: onnx.ModelProto, **options) -> onnx.ModelProto:
    """Half of the channels of every group gone, proven by the runtime."""
    result = nmcore.compress(model, ratio=0.5, verify=True, providers=("cpu",), **options)
    assert result.outcomes  # groups were found
    assert all(2 * len(each.plan.kept) == each.plan.width == WIDTH for each in result.outcomes)
    proto = onnx.load_from_string(result.graph.serialize())
    onnx.checker.check_model(proto, full_check=True)
    assert result.after.params < result.before.params
    return proto


@pytest.fixture(params=[True, False], ids=["named", "unnamed"])
def named(request):
    return request.param


@pytest.mark.parametrize("consumer", CONSUMERS)
def test_merging_loses_nothing(consumer, named):
    model = CONSUMERS[consumer]().build()
    model = model if named else unnamed(model)
    proto = small(model, method="merge", criterion="l1")
    x = {"input": inputs(model, 8, seed=5)}
    (got,), (want,) = run(proto, x), run(model, x)
    assert np.abs(got - want).max() <= 1e-4 * np.abs(want).max()


@pytest.mark.parametrize("consumer", CONSUMERS)
def test_moments_of_data_lose_nothing(consumer, named):
    model = CONSUMERS[consumer]().build()
    model = model if named else unnamed(model)
    data = Dataset("x", inputs(model, SAMPLES, seed=4))
    proto = small(model, method="moments", data=data, samples=SAMPLES)
    x = {"input": inputs(model, 64, seed=5)}  # others than it was fitted to
    (got,), (want,) = run(proto, x), run(model, x)
    assert np.linalg.norm(got - want) < 1e-2 * np.linalg.norm(want - want.mean(0))
