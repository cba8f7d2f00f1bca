"""Parts of channels: uneven ones, and empty ones."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper

import nmcore
from chain import Chain, run
from nmcore_onnx import backend


def parts(count, width, order, *, sizes=None):
    """A layer whose channels are split, put together in another order, and read."""
    chain = Chain(opset=18).conv(width, pads=[1] * 4).node("Relu")
    names = [f"part{k}" for k in range(count)]
    inputs, attributes = [chain.value], {"axis": 1}
    if sizes is None:
        attributes["num_outputs"] = count
    else:
        inputs.append(chain.constant(np.array(sizes)))
    chain.nodes.append(helper.make_node("Split", inputs, names, "split", **attributes))
    chain.raw("Concat", *(names[k] for k in order), axis=1)
    return chain.conv(6).node("Relu").conv(4).build()


def compressed(model, **options):
    result = nmcore.compress(model, verify=True, **{"ratio": 0.5, "method": "merge", **options})
    proto = ir.to_proto(result.model)
    onnx.checker.check_model(proto, full_check=True)
    run(proto, {"input": np.zeros((1, 3, 8, 8), "f4")})
    return result, proto


@pytest.mark.parametrize("keep", [{"conv1": 3}, {"conv1#3": 1}, {"conv1": 1, "conv1#2": 2}])
def test_uneven_parts_lose_channels_of_their_own(keep):
    """8 channels in three: 3, 3 and 2."""
    model = parts(3, 8, (2, 0, 1))
    widths = {group.name: group.width for group in backend.open(model).groups}
    assert widths == {"conv1": 3, "conv1#2": 3, "conv1#3": 2, "conv2": 6}
    _, small = compressed(model, keep=keep)
    (split,) = [node for node in small.graph.node if node.op_type == "Split"]
    assert len(split.input) == 2
    assert [each.name for each in split.attribute] == ["axis"]


def test_parts_of_uneven_size_stay_in_their_order():
    """Equal to a model whose Split says the sizes itself."""
    plain = compressed(parts(3, 8, (2, 0, 1), sizes=(3, 3, 2)))[1]
    told = compressed(parts(3, 8, (2, 0, 1)))[1]
    x = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype("f4")
    np.testing.assert_array_equal(*(run(each, {"input": x})[0] for each in (plain, told)))


def test_empty_parts():
    """A part of no channels, a constant of none, and a slice of none."""
    model = parts(3, 8, (2, 0, 1), sizes=(5, 0, 3))
    result, _ = compressed(model)
    assert [o.plan.width for o in result.outcomes] == [5, 3, 6]
    chain = Chain((2, 3, 8, 8)).conv(8).node("Relu")
    before = chain.value
    one = np.array([4])
    empty = chain.node("Slice", one, one, np.array([1])).value
    nothing = chain.constant(np.zeros((2, 0, 6, 6), "f4"))
    chain.raw("Concat", nothing, before, empty, axis=1)
    result = nmcore.compress(chain.conv(6).conv(4).build(), ratio=0.5, method="merge", verify=True)
    assert [len(o.plan.kept) for o in result.outcomes] == [4, 3]


@pytest.mark.parametrize(
    ("start", "end", "step"), [(0, 12, 2), (1, 99, 3), (-1, -(2**63), -1), (10, 1, -4)]
)
def test_every_so_many_th_channel(start, end, step):
    """With what is left: those before they are taken, beside those that are."""
    chain = Chain().conv(12, pads=[1] * 4).node("Relu")
    whole = chain.value
    chain.node("Slice", *(np.array([number]) for number in (start, end, 1, step)))
    some = chain.value
    chain.width = len(range(12)[start:end:step])
    model = chain.raw("Concat", whole, some, axis=1)
    chain.width += 12
    model = chain.conv(4).build()
    assert sum(group.width for group in backend.open(model).groups) == 12
    for method in ("merge", "moments"):
        result, proto = compressed(model, method=method)
        assert sum(len(group.kept) for group in result.plan.groups) <= 7
        assert "Slice" not in {node.op_type for node in proto.graph.node}
        assert len(proto.graph.initializer) == 5


def test_a_step_on_several_axes_keeps_the_channels():
    chain = Chain().conv(12, pads=[1] * 4).node("Relu")
    chain.node("Slice", *(np.array(each) for each in ([0, 0], [12, 8], [1, 2], [2, 2])))
    chain.width = 6
    model = chain.conv(4).build()
    assert not backend.open(model).groups
