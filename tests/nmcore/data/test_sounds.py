"""Folders of sound."""

from __future__ import annotations

import wave

import numpy as np
import pytest

from nmcore.data import sounds
from nmcore.data.loading import open_data
from nmcore.data.normalisation import Normalisation
from nmcore.data.sounds import Sounds
from nmcore.errors import DataError
from nmcore.plugins.inputs import InputSpec

FLOAT = np.dtype(np.float32)
SOUND = InputSpec("input", (None, 4), FLOAT)


def write(path, samples, *, rate=16000, width=2, channels=1):
    """Write whole numbers as a .wav."""
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = np.asarray(samples, "<i8")
    if width == 1:
        raw = raw + 128
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(channels)
        sound.setsampwidth(width)
        sound.setframerate(rate)
        sound.writeframes(b"".join(int(n).to_bytes(8, "little", signed=True)[:width] for n in raw))


def test_windows_one_after_the_other(tmp_path):
    write(tmp_path / "a.wav", np.arange(10) * 2**10)
    write(tmp_path / "b.wav", [2**14, -(2**15)])
    data = Sounds(tmp_path).for_model([SOUND], 9)
    expected = [[0, 1, 2, 3], [4, 5, 6, 7], [16, -32, 0, 0]]
    assert np.array_equal(data.arrays["input"] * 2**5, expected)
    assert Sounds(tmp_path).entries([SOUND]) == 3
    assert Sounds(tmp_path).for_model([SOUND], 2).arrays["input"].shape == (2, 4)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_every_width_ends_at_one(tmp_path, width):
    full = 2 ** (8 * width - 1)
    write(tmp_path / "a.wav", [-full, full // 2, 0, -full // 4], width=width)
    data = Sounds(tmp_path).for_model([SOUND], 1)
    assert data.arrays["input"].tolist() == [[-1.0, 0.5, 0.0, -0.25]]


def test_channels_become_their_mean(tmp_path):
    write(tmp_path / "a.wav", [2**14, 0] * 4, channels=2)
    data = Sounds(tmp_path).for_model([InputSpec("x", (None, 1, 4), FLOAT)], 1)
    assert data.arrays["x"].tolist() == [[[0.25] * 4]]


def test_the_sample_rate_and_other_inputs(tmp_path, told):
    write(tmp_path / "a.wav", [2**14] * 8, rate=8000)
    state = InputSpec("state", (2, None, 3), FLOAT, (None, "batch", None))
    rate = InputSpec("sr", (), np.dtype(np.int64))
    spec = InputSpec("input", (None, 4), FLOAT, ("batch", None))
    data = Sounds(tmp_path, Normalisation(0.5)).for_model([spec, state, rate], 9)
    assert data.arrays["input"].tolist() == [[1.0] * 4] * 2
    assert (data.arrays["state"].shape, data.arrays["sr"].tolist()) == ((2, 2, 1, 3), [8000, 8000])
    assert not data.arrays["state"].any()
    assert told == [f"{tmp_path}: windows of 4 samples at 8000 Hz, state is zeros, sr is 8000"]


def test_subfolders_are_classes(tmp_path):
    write(tmp_path / "cat/a.wav", [1] * 8)
    write(tmp_path / "dog/a.wav", [1] * 4)
    data = open_data(tmp_path).for_model([SOUND], 9)
    assert (data.y.tolist(), data.named_classes) == ([0, 0, 1], 2)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            InputSpec("s", (None, None), FLOAT),
            "how long its input s is: .* --input-shape s=1x16000",
        ),
        (InputSpec("s", (None, 1, None), FLOAT), "--input-shape s=1x1x16000"),
        (
            InputSpec("s", (None, None, 80), FLOAT),
            r"the model has s \(n, \?, 80\): state its shap",
        ),
        (InputSpec("s", (None, 4), np.dtype(np.int64)), "of floating-point numbers; the model has"),
    ],
)
def test_models_that_sound_does_not_feed(tmp_path, spec, message):
    write(tmp_path / "a.wav", [1] * 8)
    with pytest.raises(DataError, match=message):
        Sounds(tmp_path).for_model([spec], 1)


def test_files_that_cannot_be_used(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(
        DataError, match=r"a.wav cannot be read as .wav with whole numbers: it ends"
    ):
        Sounds(tmp_path).for_model([SOUND], 1)
    write(tmp_path / "a.wav", [])
    with pytest.raises(DataError, match=r"a.wav holds no sound"):
        Sounds(tmp_path).for_model([SOUND], 1)
    write(tmp_path / "a.wav", [1] * 4)
    write(tmp_path / "b.wav", [1] * 4, rate=8000)
    with pytest.raises(DataError, match=r"a.wav has 16000 Hz and .*b.wav has 8000 Hz; one rate is"):
        Sounds(tmp_path).for_model([SOUND], 1)


def test_a_file_that_ends_too_early_is_refused(tmp_path):
    path = tmp_path / "a.wav"
    write(path, range(1000))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match="ends before the 1000 samples that it announces"):
        sounds._read(path, 0, 1000)
