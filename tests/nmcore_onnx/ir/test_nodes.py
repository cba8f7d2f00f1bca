"""What a node is called."""

from __future__ import annotations

import onnx_ir as ir

from nmcore_onnx.ir.nodes import label


def node(name, *outputs):
    made = ir.Node("", "LSTM", [], num_outputs=len(outputs), name=name)
    for value, output in zip(made.outputs, outputs, strict=True):
        value.name = output
    return made


def test_its_own_name_or_that_of_the_first_output_with_one():
    assert label(node("lstm", "Y", "Y_h")) == "lstm"
    assert label(node("", "Y", "Y_h")) == "Y"
    assert label(node(None, "", "Y_h")) == "Y_h"
    assert label(node(None, "")) == "?"
