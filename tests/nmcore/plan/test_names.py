"""Groups by the names that other programs know: weights, modules, any member."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import nmcore
from chain import Chain
from nmcore.errors import ArgumentError

# As PyTorch's older exporter names what a model of two blocks and a head is made of.
NODES = {
    "Conv_1": ("/layer1/layer1.0/conv1/Conv", "layer1.0.conv1"),
    "BatchNormalization_1": ("/layer1/layer1.0/bn1/BatchNormalization", "layer1.0.bn1"),
    "Conv_2": ("/layer1/layer1.1/conv1/Conv", None),
    "Gemm_1": ("/head/Gemm", "head"),
}
FIRST, SECOND = "/layer1/layer1.0/conv1/Conv", "/layer1/layer1.1/conv1/Conv"


@pytest.fixture(scope="module")
def model():
    chain = Chain(("n", 3, 8, 8)).conv(8).batch_norm().node("Relu").conv(12).node("Relu")
    proto = chain.node("GlobalAveragePool").node("Flatten").gemm(10).build()
    seen = {}
    for node in proto.graph.node:
        seen[node.op_type] = seen.get(node.op_type, 0) + 1
        path, module = NODES.get(f"{node.op_type}_{seen[node.op_type]}", (node.name, None))
        node.name = path
        if module is not None:
            weight = next(each for each in proto.graph.initializer if each.name == node.input[1])
            weight.name = node.input[1] = f"{module}.weight"
    onnx.checker.check_model(proto)
    return proto


def kept(result):
    return {group.name: len(group.kept) for group in result.plan.groups}


@pytest.mark.parametrize(
    "name", [FIRST, "layer1.0.conv1", "layer1.0.conv1.weight", "layer1.0.bn1", "*.0.*", "*/bn1/*"]
)
def test_options_take_weights_modules_and_members(model, name):
    other = nmcore.compress(model, ratio=0.5, exclude=[name], method="merge")
    assert kept(other) == {FIRST: 8, SECOND: 6}
    assert kept(nmcore.compress(model, only=[name], method="merge")) == {FIRST: 4, SECOND: 12}
    assert kept(nmcore.compress(model, keep={name: 3}, method="merge")) == {FIRST: 3, SECOND: 12}


def test_a_group_that_another_name_found_is_told(model):
    """Its channels may be those of more layers than were named, as of a residual stream."""
    found = nmcore.compress(model, keep={"*.0.*": 3}, method="merge")
    told = f"keep '*.0.*' is of {FIRST}, whose channels it names by another name"
    assert found.notes.count(told) == 1
    own = nmcore.compress(model, keep={FIRST: 3}, method="merge")
    assert not [note for note in own.notes if note.startswith("keep ")]


def test_a_module_without_weights_of_its_name_is_told_by_its_path(model):
    """As where the batch norm was folded in, and the exporter made up the names of the weights."""
    assert kept(nmcore.compress(model, keep={"layer1.1.conv1": 5}, method="merge"))[SECOND] == 5


@pytest.mark.parametrize("name", ["layer1.0.conv1", "layer1.0.conv1.weight", "layer1.0.bn1"])
def test_plans_take_them_too(model, name):
    channels = [1, 2, 6]
    named = nmcore.compress(model, plan={"groups": {name: channels}}, method="merge")
    plain = nmcore.compress(model, plan={"groups": {FIRST: channels}}, method="merge")
    assert named.serialize() == plain.serialize()
    assert named.plan.groups == plain.plan.groups
    assert named.plan.groups[0].kept == (1, 2, 6)


def test_a_plan_names_a_group_once(model):
    groups = {"layer1.0.conv1": [1, 2], "layer1.0.bn1": [1, 2]}
    with pytest.raises(ArgumentError, match=r"layer1\.0\.conv1 and layer1\.0\.bn1, which are of"):
        nmcore.compress(model, plan={"groups": groups})


def test_what_is_left_alone_is_known_by_its_module(model):
    with pytest.raises(ArgumentError, match="'head' names /head/Gemm, which is left alone: its"):
        nmcore.compress(model, only=["head"])
    with pytest.raises(ArgumentError, match="the plan names head, which is left alone"):
        nmcore.compress(model, plan={"groups": {"head": [0]}})
    assert kept(nmcore.compress(model, exclude=["head"], method="merge"))[FIRST] == 4
    with pytest.raises(ArgumentError, match=r"did you mean 'layer1\.0\.conv1'"):
        nmcore.compress(model, only=["layer1.0.conv11"])


def taken_apart(sizes):
    """One layer of 8 channels, which two layers read a part of each."""
    chain = Chain(("n", 3, 8, 8)).conv(8)
    names = [chain.value]
    if len({*sizes}) > 1:
        names.append(chain.constant(np.array(sizes), "sizes"))
    chain.nodes.append(onnx.helper.make_node("Split", names, ["a", "b"], axis=1))
    made = []
    for chain.value, chain.width in zip("ab", sizes, strict=True):
        made.append(chain.conv(5).value)
    return chain.raw("Add", *made).build()


def test_a_name_of_several_groups_is_no_name_for_a_plan():
    model = taken_apart([3, 5])
    weight = model.graph.node[0].input[1]
    assert [group.name for group in nmcore.inspect(model).groups] == ["conv1", "conv1#2"]
    with pytest.raises(ArgumentError, match=r"not those of one group.* name conv1 and conv1#2"):
        nmcore.compress(model, plan={"groups": {weight: [0, 1]}})
    assert kept(nmcore.compress(model, keep={"conv1": 2}, method="merge"))["conv1#2"] == 5
    assert [*kept(nmcore.compress(model, keep={weight: 2}, method="merge")).values()] == [2, 2]


def test_nor_is_one_whose_rows_are_several_for_a_channel():
    """Halves stay alike, so a channel of the group is one of each half."""
    model = taken_apart([4, 4])
    (group,) = nmcore.inspect(model).groups
    assert (group.width, group.block) == (4, 2)
    with pytest.raises(ArgumentError, match="not those of one group, one by one: name conv1"):
        nmcore.compress(model, plan={"groups": {model.graph.node[0].input[1]: [0, 5]}})


def test_scopes_of_the_newer_exporter(model):
    proto = onnx.ModelProto.FromString(model.SerializeToString())
    node = proto.graph.node[0]
    node.name = "node_conv2d"
    scopes = "['', 'stem', 'stem.first', 'conv2d']"
    node.metadata_props.add(key="pkg.torch.onnx.name_scopes", value=scopes)
    assert kept(nmcore.compress(proto, keep={"stem.first": 2}, method="merge"))["node_conv2d"] == 2
    node.metadata_props[0].value = "[no list"
    assert np.all([group.width > 0 for group in nmcore.inspect(proto).groups])
