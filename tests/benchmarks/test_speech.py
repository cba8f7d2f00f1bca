"""The benchmark of speech and text models: its clips, its figures, and one recipe end to end."""

from __future__ import annotations

import importlib.util
import json
import sys
import wave
from pathlib import Path

import numpy as np
import onnx
import pytest

from chain import Chain

FOLDER = Path(__file__).parents[2] / "benchmarks" / "speech"


@pytest.fixture
def speech(monkeypatch):
    """The modules of the benchmark, by name."""
    monkeypatch.syspath_prepend(str(FOLDER))
    found = {}
    for name in ("sounds", "running", "wake", "strings", "recipes", "run"):
        spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
        found[name] = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, found[name])
        spec.loader.exec_module(found[name])
    return found


def tone(path, rate, hertz, seconds=1.0):
    samples = np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 20000).astype("<i2").tobytes())


def test_made_speech_is_seeded_and_no_noisier_than_it_says(speech):
    sounds = speech["sounds"]
    one, again, other = (sounds.clips(6, seed) for seed in (0, 0, 1))
    assert one.clean.shape == one.noisy.shape == (6, 48_000)
    assert np.array_equal(one.noisy, again.noisy)
    assert not np.array_equal(one.noisy, other.noisy)
    ratio = np.square(one.clean).sum(1) / np.square(one.noisy - one.clean).sum(1)
    assert (10 * np.log10(ratio) > -3).all()
    assert (10 * np.log10(ratio) < 18).all()


def test_what_failed_is_told_without_the_folder_of_the_run(speech, tmp_path):
    error = ValueError(f"Load model from {tmp_path / 'int8_0.onnx'} failed:\nno such operator")
    told = speech["run"].in_a_line(error, tmp_path)
    assert told == "ValueError: Load model from int8_0.onnx failed: no such operator"


def test_recordings_are_resampled_and_each_folder_is_one_half(tmp_path, speech):
    files = (("shown/b", 8000, 300), ("judged/a", 48_000, 300), ("judged/c", 16_000, 700))
    for name, rate, hertz in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        tone(tmp_path / f"{name}.wav", rate, hertz)
    first, second = speech["sounds"].recordings_of(tmp_path)
    assert [len(sound) for sound in (*first, *second)] == [16_000] * 3
    assert len(first) == 1
    with pytest.raises(SystemExit, match="'shown' and 'judged'"):
        speech["sounds"].recordings_of(tmp_path / "shown")
    peaks = [int(np.abs(np.fft.rfft(sound)).argmax()) for sound in (*first, *second)]
    assert peaks == [300, 300, 700]


def test_words_differ_and_are_on_the_pictures(speech):
    sounds = speech["sounds"]
    words = sounds.texts(20, 0)
    assert len(set(words)) == 20
    pictures = sounds.pictures(words, 0, height=32, width=160)
    assert pictures.shape == (20, 32, 160, 3)
    assert all(np.ptp(picture.mean(-1)) > 60 for picture in pictures)


def test_the_ratio_of_signal_to_distortion_knows_no_scale(speech):
    recipes, sounds = speech["recipes"], speech["sounds"]
    random = np.random.default_rng(0)
    clean = random.standard_normal((3, 4000)).astype(np.float32)
    noise = random.standard_normal((3, 4000)).astype(np.float32)
    noise -= clean * (noise * clean).sum(1, keepdims=True) / np.square(clean).sum(1, keepdims=True)
    noise *= np.sqrt(np.square(clean).sum(1) / np.square(noise).sum(1))[:, None]
    heard = 7 * (clean + 0.1 * noise)
    assert recipes._si_sdr(heard, clean) == pytest.approx([20.0] * 3, abs=1e-3)
    clips = sounds.Clips(clean, clean + noise)
    assert recipes._as_clean(clean + 0.1 * noise, clean + 0.1 * noise, clips) == 1
    assert recipes._as_clean(clean + 0.1 * noise, clean + noise, clips) == pytest.approx(0)


def test_strings_are_read_off_greedily(speech):
    classes = np.array([[0, 3, 3, 0, 3, 5], [7, 7, 0, 0, 0, 0]])
    assert speech["strings"].read_off(classes, 0) == [(3, 3, 5), (7,)]


def test_strings_count_that_are_read_right(speech):
    strings = speech["strings"]
    words = {"text": ["AB", "BA", "AA"]}
    original = [(1, 2), (2, 1), (1,)]
    assert strings.as_right(original, original, words) == 1
    assert strings.as_right(original, [(1, 2), (2, 2), (1,)], words) == 1 / 2
    assert strings.as_right(original, [(1, 2), (2, 1), (1, 1)], words) == 3 / 2


def test_only_what_sessions_take_is_timed(speech):
    class Session:
        width = 3

        def run(self, names, feeds):
            return [sum(k * k for k in range(200_000))]

    timed = speech["run"].Timed(Session())
    assert timed.seconds == 0
    assert timed.run(None, {}) == Session().run(None, {})
    once = timed.seconds
    assert once > 0
    sum(k * k for k in range(200_000))
    assert timed.seconds == once
    assert timed.width == 3


def test_frames_overlap_to_what_they_were_cut_from(speech):
    recipes = speech["recipes"]
    sound = np.random.default_rng(0).standard_normal((2, 3200)).astype(np.float32)
    frames = recipes._frames(sound, recipes._SIZE, recipes._STEP, recipes._WINDOW)
    found = recipes._overlapped(frames * recipes._WINDOW, recipes._STEP, 3200)
    assert found[:, 320:-320] == pytest.approx(sound[:, 320:-320], abs=1e-5)


def test_pages_hold_lines_and_masks_are_compared(speech):
    pages = speech["sounds"].pages(3, 0, side=96)
    assert pages.shape == (3, 96, 96, 3)
    assert all(len(np.unique(page.reshape(-1, 3), axis=0)) > 100 for page in pages)
    assert np.array_equal(pages, speech["sounds"].pages(3, 0, side=96))
    one, other = np.zeros((2, 1, 4, 4), np.float32)
    one[0, :2], other[0, 1:3] = 1, 1
    assert speech["strings"].overlap(one, other, None) == pytest.approx(1 / 3)


def test_what_wake_words_read_at_each_decision(speech):
    wake = speech["wake"]
    spectra = np.arange(100 * 2, dtype=np.float32).reshape(1, 100, 2)
    read = wake.windows(spectra)
    assert read.shape == (1, 4, 76, 2, 1)
    assert np.array_equal(read[0, 3, :, :, 0], spectra[0, 24:])
    embeddings = np.arange(18, dtype=np.float32).reshape(1, 18, 1)
    decided = wake.decided(embeddings)
    assert decided.shape == (1, 3, 16, 1)
    assert np.array_equal(decided[0, 2, :, 0], embeddings[0, 2:, 0])


def test_wake_words_are_shown_at_all_places_of_their_clips(speech, monkeypatch):
    class Session:
        def get_inputs(self):
            return [type("Input", (), {"name": "x"})]

    recipes, wake = speech["recipes"], speech["wake"]
    read = np.arange(6, dtype=np.float32).reshape(3, 2, 1, 1, 1)
    monkeypatch.setattr(wake, "spectra", lambda *_: read)
    monkeypatch.setattr(wake, "windows", lambda found: found)
    clips = speech["sounds"].Clips(read, read)
    shown = recipes._wake_inputs([Session()] * 3, clips)
    assert [each["x"].ravel().tolist() for each in shown] == [[0, 3, 4]]


def test_every_second_recording_is_the_phrase(speech, monkeypatch):
    wake = speech["wake"]
    monkeypatch.setattr(wake, "spoken", lambda phrase, voices: [phrase, *voices])
    found = wake.with_phrase(["a", "b", "c", "d"], "hey", ["x", "y"])
    assert found == ["a", "hey", "b", "x", "c", "y", "d", "hey"]


def test_a_recipe_is_run_and_told(tmp_path, monkeypatch, capsys, speech):
    """A small net of the shapes of NSNet2 is compressed, quantised, judged and timed."""
    run, recipes = speech["run"], speech["recipes"]
    chain = Chain(("n", "frames", 161))
    chain.width = 161
    chain.matmul(48).node("Relu").matmul(161).node("Sigmoid")
    onnx.save(chain.build(), tmp_path / "nsnet2-20ms-baseline.onnx")
    monkeypatch.setattr(run, "CALIBRATION", 64)
    monkeypatch.setattr(run, "JUDGED", 4)
    monkeypatch.setattr(run, "TURNS", 1)
    monkeypatch.setattr(speech["sounds"], "SECONDS", 0.3)
    words = [str(tmp_path), "--only", "NSNet2", "PLCMOS", "--json", str(tmp_path / "r.json")]
    monkeypatch.setattr(sys, "argv", ["run.py", *words])
    run.main()
    record = json.loads((tmp_path / "r.json").read_text())["NSNet2"]
    assert record["macs"][0] <= 0.6
    assert set(record["kept"]) == {"nmcore", "int8"}
    assert recipes.RECIPES["NSNet2"].figure in capsys.readouterr().out
