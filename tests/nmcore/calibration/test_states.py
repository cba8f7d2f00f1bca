"""States along a file of sound are those that the original has there."""

from __future__ import annotations

import wave

import numpy as np
import pytest

from nmcore.calibration.collect import Inputs, calibration_set_for
from nmcore.calibration.random_inputs import hints_of
from nmcore.data.sounds import Sounds
from nmcore.evaluation.inputs import data_for
from nmcore.plugins import registry
from nmcore.plugins.states import marked
from nmcore_onnx import backend
from stepwise import FEATURES, UNITS, layer, written_out


def write(path, samples):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(samples.astype("<i2").tobytes())


@pytest.mark.parametrize("make", [layer, written_out])
def test_states_are_carried_along_each_file(tmp_path, make):
    random = np.random.default_rng(0)
    lengths = {"a": 40, "b": 3}
    for name, windows in lengths.items():
        write(tmp_path / f"{name}.wav", random.integers(-30000, 30000, windows * FEATURES))
    model = make()
    graph = backend.open(model).with_states()
    session = marked(registry.runtime().session(model.SerializeToString()), graph)
    sounds = Sounds(tmp_path)
    begins = sounds.begins(session.inputs, 43)
    assert np.flatnonzero(begins).tolist() == [0, 40]
    shown = calibration_set_for(graph, session, Inputs(sounds, samples=43), seed=0)
    axis = session.inputs[1].shape.index(UNITS) - 1 if make is layer else 0
    x, states = (
        np.concatenate([feeds[name] for feeds in shown.batches], along)
        for name, along in (("x", 0), ("state", axis))
    )
    assert len(x) == 43
    left = None
    for number, begin in enumerate(begins):
        state = np.take(states, [number], axis)
        assert state.any() != begin
        if not begin:
            np.testing.assert_array_equal(state, left)
        left = session.run({"x": x[[number]], "state": state})[1]


def test_models_are_compared_with_the_states_along_each_file(tmp_path):
    random = np.random.default_rng(0)
    write(tmp_path / "a.wav", random.integers(-30000, 30000, 8 * FEATURES))
    model = layer()
    graph = backend.open(model)
    session = marked(registry.runtime().session(model.SerializeToString()), graph)
    data = data_for(session, tmp_path, hints=hints_of(graph))
    assert len(data) == 8
    left = np.zeros([size or 1 for size in session.inputs[1].shape], np.float32)
    for x, state in zip(data.arrays["x"], data.arrays["state"], strict=True):
        np.testing.assert_array_equal(state.reshape(left.shape), left)
        left = session.run({"x": x[np.newaxis], "state": left})[1]
    assert left.any()


def test_stretches_are_spread_over_the_files(tmp_path):
    for number in range(4):
        write(tmp_path / f"{number}.wav", np.arange(1, 100 * FEATURES + 1))
    graph = backend.open(layer()).with_states()
    session = marked(registry.runtime().session(layer().SerializeToString()), graph)
    begins = Sounds(tmp_path).begins(session.inputs, 96)
    assert len(begins) == 96
    assert np.flatnonzero(begins).tolist()[0] == 0
    assert 3 <= sum(begins) <= 4
