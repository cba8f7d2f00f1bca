"""Transposed convolutions in groups: a whole group goes, with all it reads and makes."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest

import nmcore
from chain import Chain
from nmcore_onnx import backend


def grouped(channels, groups, filters, bias):
    chain = Chain().conv(channels, pads=[1] * 4).node("Relu")
    weight = chain.weight(channels, filters, 3, 3)
    chain.width = groups * filters
    offset = [chain.weight(chain.width, 1)[:, 0]] if bias else []
    chain.node("ConvTranspose", weight, *offset, group=groups, strides=[2, 2]).node("Relu")
    return chain.conv(6).node("Relu").conv(4).build()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("channels", "groups", "filters"), [(8, 8, 1), (8, 8, 2), (12, 4, 3), (12, 3, 4), (8, 4, 5)]
)
@pytest.mark.parametrize("method", ["merge", "moments"])
def test_whole_groups_go(channels, groups, filters, bias, method):
    model = grouped(channels, groups, filters, bias)
    group = backend.open(model).groups[0]
    assert (group.name, group.width) == ("conv1", groups)
    result = nmcore.compress(model, keep={"conv1": groups // 2}, method=method, verify=True)
    small = ir.to_proto(result.model)
    onnx.checker.check_model(small, full_check=True)
    (node,) = [node for node in small.graph.node if node.op_type == "ConvTranspose"]
    shapes = {tensor.name: list(tensor.dims) for tensor in small.graph.initializer}
    assert [each.i for each in node.attribute if each.name == "group"] == [groups // 2]
    assert shapes[node.input[1]][:2] == [channels * (groups // 2) // groups, filters]
