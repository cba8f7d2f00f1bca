"""What follows a layer directly counts when its rows are compared."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

import nmcore
from chain import Chain, run
from nmcore_onnx import backend


def twins(chain, kind, width, rng):
    """A layer whose second half differs from the first by what its norm multiplies and adds."""
    half = width // 2
    weight = rng.standard_normal((chain.width, half))
    weight /= np.abs(weight).sum(0)  # the first half is kept
    weight = np.concatenate([weight, 0.125 * weight], axis=1).astype("f4")
    bias = rng.standard_normal(half) * 0.2
    bias = np.concatenate([bias, 0.125 * bias]).astype("f4")
    if kind == "gemm":
        chain.node("Gemm", weight, bias)
    else:
        chain.node("MatMul", weight)
    if kind == "matmul, add":
        chain.node("Add", bias)
    chain.width = width

    def both(numbers, factor=1.0):
        return np.concatenate([numbers, factor * numbers]).astype("f4")

    gamma, var = rng.uniform(0.8, 1.2, (2, half))
    beta, mean = rng.standard_normal((2, half)) * 0.2
    return both(gamma, 2.0), both(beta, 0.25), both(mean, 0.125), both(var)


def unchanged(model, shape):
    options = {"method": "merge", "criterion": "l1", "bn_form": "folded"}
    result = nmcore.compress(model, ratio=0.5, verify=True, **options)
    assert result.after.params < result.before.params
    x = np.random.default_rng(1).standard_normal(shape).astype("f4")
    before, after = (run(each, {"input": x})[0] for each in (model, ir.to_proto(result.model)))
    np.testing.assert_allclose(after, before, atol=1e-5 * np.abs(before).max())


@pytest.mark.parametrize("kind", ["gemm", "matmul, add", "matmul"])
def test_a_batch_norm_behind_a_dense_layer_on_two_axes(kind):
    """Half of the channels are a quarter of the others, but only once the norm has been counted."""
    rng = np.random.default_rng(0)
    chain = Chain(("n", 12))
    for width in (16, 20):
        norm = twins(chain, kind, width, rng)
        chain.node("BatchNormalization", *norm).node("Relu")
    unchanged(chain.gemm(5).build(), (7, 12))


@pytest.mark.parametrize("kind", ["matmul, add", "matmul"])
@pytest.mark.parametrize("shape", [("n", 12), ("n", 3, 12), ("n", 2, 3, 12)])
def test_a_factor_and_an_offset_behind_a_matmul(kind, shape):
    rng = np.random.default_rng(0)
    chain = Chain(shape)
    chain.width = 12
    for width in (16, 20):
        gamma, beta, mean, var = twins(chain, kind, width, rng)
        gain = (gamma / np.sqrt(var + 1e-5)).astype("f4")
        chain.node("Sub", mean).node("Mul", gain).node("Add", beta).node("Relu")
    unchanged(chain.matmul(5).build(), (7, *(each for each in shape[1:])))


def test_a_norm_of_another_axis_is_no_part_of_the_rows():
    """On three axes a batch norm works on the second, and the rows of a MatMul make the third."""
    chain = Chain(("n", 4, 12))
    chain.width = 12
    chain.matmul(4)
    chain.width = 4
    chain.batch_norm().matmul(3)
    graph = backend.open(chain.build())
    assert all(graph.producers(group)[0].batchnorm is None for group in graph.groups)


def test_the_norm_behind_a_matmul_weighs_what_it_makes():
    chain = Chain(("n", 6)).matmul(8).node("Relu").matmul(4).batch_norm()
    graph = backend.open(chain.build())
    (consumer,) = graph.consumers(graph.groups[0])
    assert consumer.scale is not None
    assert consumer.scale.shape == (4,)
