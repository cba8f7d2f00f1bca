"""What groups can lose: predicted from synthetic inputs or weights, measured on data."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import nmcore
from chain import Chain, initializer
from nmcore.data.dataset import Dataset
from nmcore.errors import DataError, ModelError
from nmcore.pipeline.sensitivity import WEIGHTS_ALONE
from nmcore.report.sensitivity import RATIOS

OPTIONS = {"providers": ("cpu",)}


@pytest.fixture
def saved(tmp_path):
    def save(model):
        onnx.save(model, tmp_path / "m.onnx")
        return tmp_path / "m.onnx"

    return save


def classifier(*, widths=(8, 6), size="n"):
    """Two convolutions and a fully connected layer, the first of which makes pairs of channels."""
    chain = Chain((size, 3, 6, 6)).conv(widths[0], 1).node("Relu").conv(widths[1], 1).node("Relu")
    model = chain.node("GlobalAveragePool").node("Flatten").gemm(4).build()
    replace(model, model.graph.node[0], lambda w: np.concatenate([w[::2]] * 2))
    return model


def replace(model, node, change):
    for name in node.input[1:3]:
        old = initializer(model, name)
        new = onnx.numpy_helper.from_array(np.asarray(change(old), old.dtype), name)
        next(t for t in model.graph.initializer if t.name == name).CopyFrom(new)


def images(count=40, *, labelled=False):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((count, 3, 6, 6)).astype(np.float32)
    return Dataset("d", x, rng.integers(0, 4, count) if labelled else None)


def test_half_of_channels_that_come_in_pairs_cost_nothing(saved):
    first, second = nmcore.sensitivity(saved(classifier()), data=images(), **OPTIONS).groups
    assert (first.name, first.width, first.removed) == ("conv1", 8, (2, 4, 6))
    assert 5 * max(first.error[:2]) < first.error[2] <= 1
    assert second.error[2] > max(first.error[:2])


def test_made_inputs_are_told_and_nothing_is_measured_on_them(saved):
    found = nmcore.sensitivity(saved(classifier()), **OPTIONS)
    first, second = found.groups
    assert (first.name, first.width, first.removed) == ("conv1", 8, (2, 4, 6))
    assert 3 * max(first.error[:2]) < first.error[2] <= 1
    assert second.error[2] > max(first.error[:2])
    assert found.ratios == RATIOS
    assert found.source.endswith("synthetic inputs")
    assert found.measure is None
    assert "the same inputs" not in repr(found)
    assert first.drop == (None, None, None)


def test_parameters_and_work_of_layers_between_two_groups_count_for_both(saved):
    first, second = nmcore.sensitivity(saved(classifier()), samples=8, **OPTIONS).groups
    made, between, read = 8 * 3 + 8, 6 * 8, 6 + 4 * 6
    assert (first.params, second.params) == (made + between, between + read)
    assert first.macs == 36 * (8 * 3 + 6 * 8)


def test_the_measured_drop_agrees_with_the_prediction(saved):
    found = nmcore.sensitivity(saved(classifier()), data=images(), **OPTIONS)
    first, second = found.groups
    assert found.measured_on == "40 inputs of d"
    assert "\nthe same inputs that the layers were refitted to: on others" in repr(found)
    assert found.measure == "agreement"
    assert first.drop[:2] == (0.0, 0.0)
    assert second.drop[2] > 0


def test_classes_are_measured_as_accuracy(saved):
    path = saved(classifier())
    found = nmcore.sensitivity(path, data=images(labelled=True), samples=20, **OPTIONS)
    assert found.measure == "top1"
    assert found.measured_on == "20 inputs of d"
    assert found.groups[0].drop[0] == 0.0


def test_outputs_without_classes_are_measured_by_their_deviation(saved):
    path = saved(Chain(("n", 3, 6, 6)).conv(4, 1).node("Relu").conv(5, 3).build())
    found = nmcore.sensitivity(path, data=images(), **OPTIONS)
    assert found.measure == "deviation"
    low, middle, high = found.groups[0].drop
    assert 0 < low < middle < high


def test_a_model_that_does_not_run_is_judged_by_its_weights(saved):
    chain = Chain(("n", 3, 6, 6)).conv(8, 1).node("Relu").conv(6, 3)
    model = chain.raw("Reshape", chain.value, "size").build(check=False)
    replace(model, model.graph.node[0], lambda w: np.concatenate([w[::2]] * 2))
    model.graph.input.append(
        onnx.helper.make_tensor_value_info("size", onnx.TensorProto.INT64, [2])
    )
    found = nmcore.sensitivity(saved(model), **OPTIONS)
    (group,) = found.groups
    assert found.source.startswith(WEIGHTS_ALONE)
    assert 10 * max(group.error[:2]) < group.error[2] <= 1
    with pytest.raises((ModelError, DataError)):
        nmcore.sensitivity(saved(model), data=images(), **OPTIONS)


def test_channels_that_never_vary_are_not_robust(saved):
    """Biases far below zero: behind the ReLU nothing is left, on these inputs."""
    model = classifier()
    replace(model, model.graph.node[2], lambda w: w * 0 - 100 if w.ndim == 1 else w)
    _, dead = nmcore.sensitivity(saved(model), **OPTIONS).groups
    assert dead.error == (None, None, None)
    assert dead.note.startswith("constant on these inputs")
    assert dead.curve is None


def test_narrow_groups_lose_nothing_and_say_so(saved):
    (group,) = nmcore.sensitivity(saved(classifier(widths=(2, 1))), **OPTIONS).groups
    assert group.removed == (0, 1, 1)
    assert [error is None for error in group.error] == [True, False, False]


def test_progress_tells_what_is_done_and_of_how_much(saved):
    seen = {}

    def progress(text, items):
        seen[text] = list(items)
        return seen[text]

    nmcore.sensitivity(saved(classifier()), data=images(), progress=progress, **OPTIONS)
    assert set(seen) == {"measuring", "ordering channels", "cutting one group at a time"}
    assert len(seen["ordering channels"]) == 2
    assert len(seen["cutting one group at a time"]) == 2 * len(RATIOS)
