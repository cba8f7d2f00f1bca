"""What speech synthesis is made of: Snake, adaptive norms, transposed groups, WaveNet's stacks."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import nmcore
from chain import Chain, run
from nmcore_onnx import backend
from proving import prove, reasons

HALF = 4
WIDTH = 2 * HALF


def twins(chain, *shape, runs=1):
    """Rows of which the second half of each run is a copy of the first."""
    array = chain.weight(*shape).reshape(runs, -1, *shape[1:])
    half = array.shape[1] // 2
    array[:, half:] = array[:, :half]
    return array.reshape(shape)


def convolved(chain, width, kernel=3, *, runs=1, **attributes):
    """A convolution whose channels have twins."""
    kernels = twins(chain, width, chain.width, kernel, runs=runs)
    offsets = twins(chain, width, 1, runs=runs)[:, 0]
    chain.node("Conv", kernels, offsets, **attributes)
    chain.width = width
    return chain


def snake(*, divided):
    """x + sin(a x)^2 / a with an a for each channel, whose reciprocal may be computed."""
    chain = convolved(Chain((1, 3, 16)), WIDTH)
    before, factors = chain.value, np.abs(twins(chain, WIDTH, 1)) + 0.5
    factor = chain.constant(factors[None])
    chain.node("Mul", factor).node("Sin")
    wave = chain.value
    square = chain.raw("Mul", wave, wave).value
    if divided:
        chain.raw("Add", factor, chain.constant(np.float32(1e-9))).node("Reciprocal")
        chain.raw("Mul", square, chain.value)
    else:
        chain.raw("Mul", square, chain.constant((1 / factors)[None]))
    return chain.raw("Add", before, chain.value).conv(4).build()


def adaptive():
    """An instance norm whose scale and shift a product makes of a style, (1 + scale) x + shift."""
    chain = convolved(Chain((1, 3, 16)), WIDTH, pads=[1, 1])
    chain.node("InstanceNormalization", np.ones(WIDTH, "f4"), np.zeros(WIDTH, "f4"))
    normal = chain.value
    weights = [twins(chain, 2 * WIDTH, 5, runs=2), twins(chain, 2 * WIDTH, 1, runs=2)[:, 0]]
    chain.raw("Gemm", "style", *map(chain.constant, weights), transB=1)
    chain.node("Unsqueeze", np.array([2]))
    chain.nodes.append(helper.make_node("Split", [chain.value], ["scale", "shift"], "s", axis=1))
    chain.raw("Add", "scale", chain.constant(np.float32(1)))
    chain.raw("Mul", chain.value, normal)
    chain.raw("Add", chain.value, "shift").node("LeakyRelu", alpha=0.2)
    model = chain.conv(4).build(check=False)
    info = helper.make_tensor_value_info(chain.value, TensorProto.FLOAT, [1, 4, "time"])
    model.graph.output[0].CopyFrom(info)
    style = helper.make_tensor_value_info("style", TensorProto.FLOAT, [1, 5])
    model.graph.input.append(style)
    onnx.checker.check_model(model, full_check=True)
    return model


def transposed():
    """A transposed convolution in two wide groups, which are twins as a whole."""
    chain = convolved(Chain((1, 3, 16)), WIDTH, pads=[1, 1]).node("LeakyRelu", alpha=0.1)
    kernels = twins(chain, WIDTH, 6, 4)
    chain.node("ConvTranspose", kernels, np.tile(chain.weight(6, 1)[:, 0], 2), group=2, strides=[2])
    chain.width = 12
    return chain.node("LeakyRelu", alpha=0.1).conv(3).build()


def wavenet():
    """Dilated convolutions, gated, with a stream beside them and the sum of what skips."""
    chain, skipped = convolved(Chain((1, 3, 32)), WIDTH, 1), None
    for dilation in (1, 2, 4):
        stream = chain.value
        chain.width = WIDTH
        chain.node("Pad", np.array([0, 0, 2 * dilation, 0, 0, 0]))
        convolved(chain, 2 * WIDTH, runs=2, dilations=[dilation])
        gates = [f"{name}{dilation}" for name in ("bent", "gate")]
        chain.nodes.append(helper.make_node("Split", [chain.value], gates, gates[0], axis=1))
        bent = chain.raw("Tanh", gates[0]).value
        chain.raw("Sigmoid", gates[1]).node("Mul", bent)
        chain.width = WIDTH
        convolved(chain, 2 * WIDTH, 1, runs=2)
        parts = [f"{name}{dilation}" for name in ("more", "skip")]
        chain.nodes.append(helper.make_node("Split", [chain.value], parts, parts[0], axis=1))
        skipped = parts[1] if skipped is None else chain.raw("Add", skipped, parts[1]).value
        chain.raw("Add", stream, parts[0])
    chain.value, chain.width = skipped, WIDTH
    chain.node("Relu")
    return convolved(chain, WIDTH, 1).node("Relu").conv(4, 1).build()


FORMS = {
    "Snake": lambda: snake(divided=False),
    "Snake, divided": lambda: snake(divided=True),
    "adaptive norm": adaptive,
    "transposed groups": transposed,
    "WaveNet": wavenet,
}


@pytest.mark.parametrize("name", FORMS)
def test_half_of_the_channels_go(name):
    model = FORMS[name]()
    groups = {group.name: group.width for group in backend.open(model).groups}
    prove(model, groups)
    assert len(reasons(model)) == 1  # the last layer's


@pytest.mark.parametrize("name", FORMS)
def test_twins_merge_without_loss(name):
    model = FORMS[name]()
    keep = {group.name: list(range(group.width // 2)) for group in backend.open(model).groups}
    assert len(keep) == (5 if name == "WaveNet" else 1)
    result = nmcore.compress(model, plan={"groups": keep}, method="merge", verify=True)
    small = onnx.load_from_string(result.graph.serialize())
    before, after = (sum(np.prod(t.dims) for t in m.graph.initializer) for m in (model, small))
    assert after < 0.7 * before
    rng = np.random.default_rng(0)
    x = {
        value.name: rng.standard_normal(
            [d.dim_value for d in value.type.tensor_type.shape.dim]
        ).astype(np.float32)
        for value in model.graph.input
    }
    expected, found = run(model, x)[0], run(small, x)[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_the_product_that_makes_scale_and_shift_shrinks():
    result = nmcore.compress(adaptive(), ratio=0.5, method="merge")
    shapes = [list(value.shape) for value in result.model.graph.initializers.values()]
    assert [WIDTH, 5] in shapes
    assert [2 * WIDTH, 5] not in shapes
