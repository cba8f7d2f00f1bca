"""Shapes behind operators that onnxruntime puts into graphs."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

import nmcore
from chain import Chain
from nmcore_onnx import backend

MS = {"domain": "com.microsoft"}


def optimised():
    """A fused convolution, plain ones, and fused layers of a head."""
    chain = Chain()
    fused = {"activation": "Relu", "pads": [1] * 4, "strides": [2, 2], **MS}
    chain.node("FusedConv", chain.weight(16, 3, 3, 3), chain.weight(16, 1)[:, 0], **fused)
    chain.width = 16
    chain.conv(12).node("Relu").node("GlobalAveragePool").node("Flatten")
    chain.matmul(24, bias=False).node("BiasGelu", chain.weight(24, 1)[:, 0], **MS)
    chain.node("FusedMatMul", chain.weight(16, 24), transB=1, **MS)
    chain.width = 16
    chain.node("Unsqueeze", np.array([1]))
    before, one = chain.value, np.ones(16, "f4")
    chain.node("SkipLayerNormalization", before, one, 0 * one, **MS)
    chain.matmul(32, bias=False).node("QuickGelu", alpha=1.0, **MS).matmul(5, bias=False)
    model = chain.build(check=False)
    info = helper.make_tensor_value_info(chain.value, TensorProto.FLOAT, ["n", 1, 5])
    model.graph.output[0].CopyFrom(info)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return model


def test_layers_between_fused_ones_are_cut():
    result = nmcore.compress(optimised(), ratio=0.5, method="merge", verify=True)
    kept = {o.plan.name: len(o.plan.kept) for o in result.outcomes}
    assert kept == {"fusedconv1": 8, "conv1": 6, "matmul1": 12, "matmul2": 16}


def test_work_is_counted_behind_them():
    assert backend.open(optimised()).cost().macs is not None


def test_a_sum_that_the_model_gives_and_a_layer_reads():
    """Its shape, which nobody declared, is that of the norm beside it."""
    chain = Chain(("n", 5, 16))
    chain.width = 16
    one = chain.weight(16, 1)[:, 0]
    chain.node("SkipLayerNormalization", chain.value, one, 0 * one, **MS)
    chain.nodes[-1].output.extend(["", "", "sum"])
    chain.value = "sum"
    chain.matmul(12, bias=False).node("Relu").matmul(3, bias=False)
    model = chain.build(check=False)
    info = helper.make_tensor_value_info(chain.value, TensorProto.FLOAT, ["n", 5, 3])
    model.graph.output[0].CopyFrom(info)
    model.graph.output.append(helper.make_tensor_value_info("sum", TensorProto.FLOAT, None))
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    assert [group.width for group in backend.open(model).groups] == [12]
