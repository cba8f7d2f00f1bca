"""Sound from a folder, in windows of the length that a model wants."""

from __future__ import annotations

import math
import wave
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmcore.data.dataset import Dataset
from nmcore.data.folder import Folder
from nmcore.data.layout import channel_axis
from nmcore.errors import DataError
from nmcore.group import Array
from nmcore.plugins.inputs import InputSpec
from nmcore.plugins.open_sizes import assumed_shapes
from nmcore.utils.logs import mention
from nmcore.utils.spread import spread
from nmcore.utils.text import shape_text

# So many windows follow each other where a model has states: they are those of silence at first.
STRETCH = 32


@dataclass(frozen=True, eq=False)
class Sounds(Folder):
    """Files of sound, .wav with whole numbers (PCM): windows, one after the other, of the length
    that a model's input (n, samples) or (n, 1, samples) has.

    Several channels become their mean. Samples lie from -1 to 1 before ``normalisation``. What is
    left at the end of a file is not used; a file shorter than one window is padded with silence. Of
    a model with other inputs, whole numbers are the sample rate, and the rest, such as the state of
    a recurrent network, is zero. For a model with states the windows are stretches of up to
    ``STRETCH`` that follow each other.
    """

    kind = "sounds"
    suffixes = (".wav",)

    def files(self, samples: int | None = None) -> list[Path]:
        """All files: how many windows are used says nothing of how many files they are in."""
        return super().files()

    def entries(self, inputs: Sequence[InputSpec]) -> int:
        """How many windows there are."""
        length = _window(_waveform(inputs))
        return sum(_windows(path, length) for path in self.files())

    def _loaded(self, inputs: Sequence[InputSpec], count: int) -> Dataset:
        spec = _waveform(inputs)
        length = _window(spec)
        files = self.files()
        chosen = self._chosen(inputs, count)
        rate = _rate(files)
        x = np.stack([_read(path, k * length, length) for path, k in chosen])
        x = x.reshape(len(x), *(1 for _ in spec.shape[2:]), length)
        others = [each for each in inputs if each is not spec]
        arrays = {each.name: _filled(each, inputs, rate, len(x)) for each in others}
        _tell(self.name, rate, length, others)
        y, named = self.classes([path for path, _ in chosen])
        steps = self.normalisation
        if steps is not None and others:  # which Dataset has for one array alone
            x, steps = steps(x, channel_axis(x.shape, steps.channels), x.dtype), None
        return Dataset(self.name, {spec.name: x, **arrays}, y, steps, named_classes=named)

    def _chosen(self, inputs: Sequence[InputSpec], count: int) -> list[tuple[Path, int]]:
        """The file of each window, and the place that it has there."""
        length = _window(_waveform(inputs))
        counts = {path: _windows(path, length) for path in self.files()}
        if any(spec.state for spec in inputs):
            parts = [
                [(path, k) for k in range(start, min(start + STRETCH, most))]
                for path, most in counts.items()
                for start in range(0, most, STRETCH)
            ]
            enough = -(-count * len(parts) // max(sum(map(len, parts)), 1))
            picked = spread(len(parts), max(1, enough))
            return [window for k in picked for window in parts[k]][:count]
        windows = [(path, k) for path, most in counts.items() for k in range(most)]
        return [windows[k] for k in spread(len(windows), min(count, len(windows)))]

    def begins(self, inputs: Sequence[InputSpec], count: int) -> list[bool]:
        """Which of the windows that :meth:`for_model` gives do not follow the one before."""
        chosen = self._chosen(inputs, count)
        before = [None, *chosen]
        return [
            last is None or last != (path, k - 1)
            for last, (path, k) in zip(before, chosen, strict=False)
        ]


def _waveform(inputs: Sequence[InputSpec]) -> InputSpec:
    """The input that takes sound."""
    for spec in inputs:
        *before, _ = spec.shape or (0,)
        is_one = before[:1] in ([None], [1]) and before[1:] in ([], [1])
        if is_one and spec.dtype.kind == "f":
            return spec
    names = ", ".join(f"{spec.name} {shape_text(spec.shape)}" for spec in inputs)
    raise DataError(
        "sound feeds an input (n, samples) or (n, 1, samples) of floating-point numbers; the model "
        f"has {names or 'none'}: state its shape (--input-shape) where it leaves sizes open"
    )


def _window(spec: InputSpec) -> int:
    length = spec.shape[-1]
    if length is None:
        shape = "x".join(["1"] * (len(spec.shape) - 1))
        raise DataError(
            f"the model leaves open how long its input {spec.name} is: state it, as in "
            f"--input-shape {spec.name}={shape}x16000"
        )
    return length


def _filled(spec: InputSpec, inputs: Sequence[InputSpec], rate: int, count: int) -> Array:
    """An input besides the sound, a whole one for each window."""
    shapes = dict(zip((each.name for each in inputs), assumed_shapes(inputs), strict=True))
    shape = shapes[spec.name]
    if spec.dtype.kind in "iu" and math.prod(shape) == 1:
        return np.full((count, *shape), rate, spec.dtype)
    if spec.dtype.kind == "f":
        return np.zeros((count, *shape), spec.dtype)
    raise DataError(
        f"the model's input {spec.name!r} is no sound, sample rate or state: give an .npz"
    )


def _tell(name: str, rate: int, length: int, others: Sequence[InputSpec]) -> None:
    """Say what the model has to be made for, and what stands in for other inputs."""
    filled = [f"{spec.name} is {_filling(spec, rate)}" for spec in others]
    mention(", ".join([f"{name}: windows of {length} samples at {rate} Hz", *filled]))


def _filling(spec: InputSpec, rate: int) -> str:
    if spec.state:
        return "what the windows before have left"
    return str(rate) if spec.dtype.kind in "iu" else "zeros"


def _rate(files: Sequence[Path]) -> int:
    rates: dict[int, Path] = {}
    for path in files:
        with _opened(path) as sound:
            rates.setdefault(sound.getframerate(), path)
    if len(rates) > 1:
        (one, first), (other, second), *_ = rates.items()
        raise DataError(f"{first} has {one} Hz and {second} has {other} Hz; one rate is needed")
    return next(iter(rates))


def _windows(path: Path, length: int) -> int:
    """How many windows a file holds; one where it is shorter."""
    with _opened(path) as sound:
        return max(1, sound.getnframes() // length)


def _read(path: Path, start: int, length: int) -> NDArray[np.float32]:
    """One window, from -1 to 1, shape (length,)."""
    with _opened(path) as sound:
        sound.setpos(start)
        width, channels = sound.getsampwidth(), sound.getnchannels()
        announced = min(length, sound.getnframes() - start)
        raw = np.frombuffer(sound.readframes(length), np.uint8)
    if len(raw) < announced * width * channels:
        raise DataError(f"{path} ends before the {announced} samples that it announces")
    numbers = _numbers(raw, width)
    mono = numbers.reshape(-1, channels).mean(axis=1)
    return np.pad(mono, (0, length - len(mono))).astype(np.float32)


def _numbers(raw: NDArray[np.uint8], width: int) -> NDArray[Any]:
    """Samples of so many bytes each, from -1 to 1."""
    if width == 1:  # the only ones without a sign
        return (raw.astype(np.float64) - 128) / 128
    # Put below the highest bytes of 32 bits, whatever the width.
    wide = np.zeros((len(raw) // width, 4), np.uint8)
    wide[:, 4 - width :] = raw.reshape(-1, width)
    return wide.view("<i4").ravel() / 2.0**31


@contextmanager
def _opened(path: Path) -> Iterator[wave.Wave_read]:
    try:
        with wave.open(str(path), "rb") as sound:
            if not sound.getnframes() or not sound.getframerate():
                raise DataError(f"{path} holds no sound")
            if sound.getsampwidth() > 4:
                bits = 8 * sound.getsampwidth()
                raise DataError(f"{path} has samples of {bits} bits; 32 at most are read")
            yield sound
    except (wave.Error, EOFError, OSError) as error:
        why = str(error) or "it ends too early"
        raise DataError(f"{path} cannot be read as .wav with whole numbers: {why}") from None
