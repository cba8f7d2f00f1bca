"""What the end of a graph shows of its first output."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from chain import Chain
from encoder import encoder
from nmcore.plugins import registry
from nmcore.plugins.capabilities import gives_features
from nmcore_onnx.probes import output_kinds


def head():
    return Chain(("n", 6)).gemm(8).node("Relu")


ONES = np.ones(8, "f4")
FEATURES = {
    "a norm": lambda: head().gemm(8).node("LayerNormalization", ONES, ONES),
    "a norm before a batch norm": lambda: (
        head().gemm(8).node("LayerNormalization", ONES, ONES).batch_norm()
    ),
    "a pooler": lambda: head().gemm(8).node("Tanh"),
    "unit length": lambda: normalised(head().gemm(8)),
    "a norm, scaled": lambda: (
        head().gemm(8).node("LayerNormalization", ONES, ONES).node("Mul", ONES)
    ),
    "a norm in other places": lambda: (
        head().gemm(8).node("LpNormalization").node("Reshape", np.array([-1, 8, 1])).node("Flatten")
    ),
}
OTHERS = {
    "scores": lambda: head().gemm(8),
    "scores with a bias of their own": lambda: head().matmul(8),
    "probabilities": lambda: head().gemm(8).node("LayerNormalization", ONES, ONES).node("Softmax"),
    "a softmax of several nodes": lambda: divided(head().gemm(8).node("Exp")),
    "scores, scaled": lambda: head().gemm(8).node("Div", np.float32(0.1)),
    "what an activation leaves": head,
    "scores behind a batch norm": lambda: head().gemm(8).batch_norm(),
    "a sum of two": lambda: head().gemm(8).node("Add", "relu1_out"),
}


def normalised(chain):
    length = chain.value
    chain.node("ReduceL2", axes=[1])
    return chain.raw("Div", length, chain.value)


def divided(chain):
    made = chain.value
    chain.node("ReduceMax", axes=[1])
    return chain.raw("Div", made, chain.value)


@pytest.mark.parametrize("name", FEATURES)
def test_features(name):
    graph = ir.from_proto(FEATURES[name]().build()).graph
    assert output_kinds.gives_features(graph)


@pytest.mark.parametrize("name", OTHERS)
def test_what_may_be_scores(name):
    graph = ir.from_proto(OTHERS[name]().build()).graph
    assert not output_kinds.gives_features(graph)


def test_an_opened_graph_tells():
    assert gives_features(registry.open_graph(encoder()))
    assert not gives_features(registry.open_graph(head().gemm(3).build()))
