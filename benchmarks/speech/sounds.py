"""Speech and text to calibrate and to judge on: recordings of a folder, or made ones."""

from __future__ import annotations

import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
RATE = 16_000
SECONDS = 3.0

# The first three formants of ten vowels in hertz (Peterson & Barney, 1952, men).
VOWELS = (
    *((270, 2290, 3010), (390, 1990, 2550), (530, 1840, 2480), (660, 1720, 2410)),
    *((730, 1090, 2440), (570, 840, 2410), (440, 1020, 2240), (300, 870, 2240)),
    *((640, 1190, 2390), (490, 1350, 1690)),
)
LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ0123456789"


@dataclass(frozen=True)
class Clips:
    """Clips of speech at 16 kHz.

    Attributes
    ----------
    clean, noisy : array, shape (clips, samples)
        The speech, and the same with noise 0 to 15 dB below it, at several levels.
    """

    clean: Array
    noisy: Array


def clips(count: int, seed: int, recordings: Sequence[Array] = ()) -> Clips:
    """Clips of recordings one after the other, or of made speech where there are none."""
    random = np.random.default_rng(seed)
    length = int(SECONDS * RATE)
    clean = np.stack([_filled(length, random, recordings) for _ in range(count)])
    noise = np.stack([_noise(length, random) for _ in range(count)])
    below = 10 ** (-random.uniform(0, 15, (count, 1)) / 20)
    level = 10 ** (random.uniform(-10, 5, (count, 1)) / 20)
    noisy = (clean + noise * below) * level
    return Clips((clean * level).astype(np.float32), noisy.astype(np.float32))


def recordings_of(folder: Path) -> tuple[list[Array], list[Array]]:
    """The WAV files of a folder at 16 kHz: those in its folder ``shown``, and in ``judged``."""
    halves = [sorted((folder / half).glob("*.wav")) for half in ("shown", "judged")]
    if not all(halves):
        raise SystemExit(f"{folder}: folders 'shown' and 'judged' of WAV files are needed")
    shown, judged = ([read(file) for file in half] for half in halves)
    return shown, judged


def pages(count: int, seed: int, *, side: int = 320) -> NDArray[np.uint8]:
    """Pictures of several strings in several sizes, shape (count, side, side, 3)."""
    random = np.random.default_rng(seed)
    found = np.empty((count, side, side, 3), np.uint8)
    for page in found:
        page[:] = random.integers(90, 230, 3)
        top = int(random.integers(0, 24))
        while top < side - 20:
            height = int(random.integers(18, 44))
            words = texts(int(random.integers(1, 3)), int(random.integers(2**31)))
            width = side // len(words)
            strips = pictures(words, int(random.integers(2**31)), height=height, width=width - 12)
            for place, strip in enumerate(strips):
                rows = page[top : top + height, place * width + 6 : place * width + width - 6]
                rows[:] = strip[: len(rows)]
            top += height + int(random.integers(4, 40))
    return found


def read(file: Path) -> Array:
    """One channel of a WAV file of 16-bit samples, resampled to 16 kHz."""
    with wave.open(str(file)) as opened:
        if opened.getsampwidth() != 2:
            raise SystemExit(f"{file}: samples of {8 * opened.getsampwidth()} bits; 16 are needed")
        raw = np.frombuffer(opened.readframes(opened.getnframes()), "<i2")
        sound = raw.reshape(-1, opened.getnchannels())[:, 0] / 32768.0
        rate = opened.getframerate()
    length = round(len(sound) * RATE / rate)
    spectrum = np.fft.rfft(sound)[: length // 2 + 1]
    resampled: Array = (np.fft.irfft(spectrum, length) * length / len(sound)).astype(np.float32)
    return resampled


def made(count: int, seed: int) -> list[Array]:
    """Phrases of a made voice."""
    random = np.random.default_rng(seed)
    return [_phrase(random) for _ in range(count)]


def texts(count: int, seed: int) -> list[str]:
    """Strings of four to seven capital letters and digits."""
    random = np.random.default_rng(seed)
    return ["".join(random.choice([*LETTERS], random.integers(4, 8))) for _ in range(count)]


def pictures(words: Sequence[str], seed: int, *, height: int, width: int) -> NDArray[np.uint8]:
    """Each string as a picture, (count, height, width, 3), in several sizes, places and colours."""
    from PIL import Image, ImageDraw, ImageFilter, ImageFont

    random = np.random.default_rng(seed)
    found = []
    for word in words:
        dark, light = random.integers(0, 110, 3), random.integers(150, 256, 3)
        ground, ink = (dark, light) if random.random() < 0.5 else (light, dark)
        image = Image.new("RGB", (width, height), tuple(int(part) for part in ground))
        font = ImageFont.load_default(size=int(height * random.uniform(0.6, 0.85)))
        left, top, right, bottom = font.getbbox(word)
        x = random.uniform(0, max(1.0, width - (right - left))) - left
        y = random.uniform(0, max(1.0, height - (bottom - top))) - top
        draw = ImageDraw.Draw(image)
        draw.text((x, y), word, font=font, fill=tuple(int(part) for part in ink))
        turned = image.rotate(random.uniform(-3, 3), fillcolor=image.getpixel((0, 0)))
        blurred = turned.filter(ImageFilter.GaussianBlur(random.uniform(0, 0.8)))
        noise = random.normal(0, random.uniform(0, 12), (height, width, 3))
        found.append(np.clip(np.asarray(blurred) + noise, 0, 255).astype(np.uint8))
    return np.stack(found)


def _filled(length: int, random: np.random.Generator, recordings: Sequence[Array]) -> Array:
    """So many samples of speech, each recording as loud as the others."""
    parts, filled = [], 0
    while filled < length:
        sound = recordings[random.integers(len(recordings))] if recordings else _phrase(random)
        loudness = float(np.sqrt(np.square(sound).mean()))
        if loudness > 1e-4:
            parts.append(sound * (0.05 / loudness))
            filled += len(sound)
    return np.concatenate(parts)[:length].astype(np.float32)


def _phrase(random: np.random.Generator) -> Array:
    """Some syllables of a made voice, and a pause."""
    voice = random.uniform(85, 230)
    size = random.uniform(0.9, 1.25)
    parts = [
        part
        for _ in range(random.integers(2, 7))
        for part in (_consonant(random), _vowel(random, voice, size))
    ]
    return np.concatenate([*parts, np.zeros(int(random.uniform(0.1, 0.6) * RATE), np.float32)])


def _vowel(random: np.random.Generator, voice: float, size: float) -> Array:
    """Pulses at the pitch of a voice, through resonances at the formants of a vowel."""
    count = int(random.uniform(0.08, 0.25) * RATE)
    pitch = voice * 2 ** np.linspace(*random.uniform(-0.25, 0.25, 2), count)
    phase = np.cumsum(pitch / RATE)
    pulses = np.diff(np.floor(phase), prepend=0.0) + 0.005 * random.standard_normal(count)
    frequency = np.fft.rfftfreq(2 * count, 1 / RATE)
    tract = np.ones(len(frequency), complex)
    for number, formant in enumerate(VOWELS[random.integers(len(VOWELS))]):
        centre, width = formant * size, 50.0 + 30 * number
        tract *= centre**2 / (centre**2 - frequency**2 + 1j * frequency * width)
    tract /= 1 + 1j * frequency / 500
    sound = np.fft.irfft(np.fft.rfft(pulses, 2 * count) * tract)[:count] * np.hanning(count) ** 0.3
    return _as_loud(sound, 1.0)


def _consonant(random: np.random.Generator) -> Array:
    """A burst of noise around a frequency, soft or loud."""
    count = int(random.uniform(0.02, 0.12) * RATE)
    frequency = np.fft.rfftfreq(count, 1 / RATE)
    centre, width = random.uniform(1000, 6500), random.uniform(500, 2500)
    shape = np.exp(-0.5 * ((frequency - centre) / width) ** 2)
    sound = np.fft.irfft(np.fft.rfft(random.standard_normal(count)) * shape, count)
    return _as_loud(sound * np.hanning(count), random.uniform(0.05, 0.5))


def _as_loud(sound: NDArray[np.float64], loudness: float) -> Array:
    root = float(np.sqrt(np.square(sound).mean())) or 1.0
    return (sound * (loudness / root)).astype(np.float32)


def _noise(length: int, random: np.random.Generator) -> Array:
    """White, pink or brown noise, as loud as the speech."""
    spectrum = np.fft.rfft(random.standard_normal(length))
    spectrum /= np.arange(1, len(spectrum) + 1) ** random.choice([0.0, 0.5, 1.0])
    return _as_loud(np.fft.irfft(spectrum, length), 0.05)
