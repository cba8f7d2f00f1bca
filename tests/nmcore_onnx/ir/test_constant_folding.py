"""What is computed from constants and from static sizes."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from chain import Chain
from nmcore_onnx.ir.constant_folding import Folded, fold, static


def test_a_table_that_many_indices_pick_from_is_folded():
    """As the relative positions of attention in windows: bounds by products would be far too
    large.
    """
    chain = Chain((1, 4))
    table = np.arange(196 * 8, dtype=np.float32).reshape(8, 196)
    indices = np.random.default_rng(0).integers(0, 196, (49, 49))
    constants = chain.constant(table), chain.constant(indices)
    picked = chain.raw("Gather", *constants, axis=1).value
    graph = ir.from_proto(chain.build(check=False)).graph
    value = next(v for node in graph for v in node.outputs if v.name == picked)
    np.testing.assert_array_equal(fold(value), table[:, indices])


def test_what_was_folded_once_is_not_computed_again():
    chain = Chain((1, 4))
    three = chain.raw("Add", *(chain.constant(np.array([k])) for k in (1, 2))).value
    six = chain.raw("Add", three, three).value
    graph = ir.from_proto(chain.build(check=False)).graph
    values = {v.name: v for node in graph for v in node.outputs}
    folded = Folded()
    folded.set(values[three], np.array([30]))
    np.testing.assert_array_equal(folded.value(values[six]), [60])


@pytest.mark.parametrize(
    ("op", "number"), [("Min", 64), ("Max", 2), ("Mod", 2), ("Mod", 6), ("Mod", 81)]
)
def test_what_depends_on_a_length_is_not_static(op, number):
    chain = Chain(("n", "s", 8))
    length = chain.raw("Gather", chain.raw("Shape", "input").value, chain.constant(np.array(1)))
    result = chain.raw(op, length.value, chain.constant(np.array(number))).value
    graph = ir.from_proto(chain.build(check=False)).graph
    value = next(v for node in graph for v in node.outputs if v.name == result)
    assert static(value, {"input": ("n", "s", 8)}) is None
    assert static(value, {"input": ("n", 5, 8)}) is not None


@pytest.mark.parametrize(("measured", "width"), [("weight", 8), ("input", 4)])
def test_the_size_of_a_constant_is_a_constant_and_that_of_an_input_is_not(measured, width):
    chain = Chain((3, 4))
    names = {"weight": chain.constant(np.zeros((5, 8), np.float32)), "input": "input"}
    shape = chain.raw("Shape", names[measured]).value
    last = chain.raw("Gather", shape, chain.constant(np.array([1]))).value
    graph = ir.from_proto(chain.build(check=False)).graph
    value = next(v for node in graph for v in node.outputs if v.name == last)
    shapes = {"input": (3, 4), names["weight"]: (5, 8)}
    assert (fold(value, shapes) is not None) == (measured == "weight")
    np.testing.assert_array_equal(static(value, shapes), [width])
