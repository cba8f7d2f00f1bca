"""Wake words: log-mel spectra, a network that embeds 0.76 s of them, and one for each phrase.

The models and how they are chained are openWakeWord's (https://github.com/dscripka/openWakeWord).
Their spectra come from a third model of fixed weights, which is run as it is.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import sounds
from numpy.typing import NDArray
from running import Session, only

Array = NDArray[np.float32]
# Spectra of 10 ms that one embedding reads, how far the next is, and the embeddings of a decision.
SPECTRA, STEP, EMBEDDINGS = 76, 8, 16
# Voices of espeak-ng: other speakers and another accent judge.
SHOWN = [f"en-us+{speaker}" for speaker in ("m1", "m2", "m3", "f1", "f2", "f3")]
JUDGED = [f"en-gb+{speaker}" for speaker in ("m4", "m6", "m7", "f4", "f5")]


@cache
def spoken(phrase: str, voices: tuple[str, ...]) -> list[Array]:
    """A phrase by espeak-ng, each voice at three speeds and three pitches.

    Raises
    ------
    FileNotFoundError
        If espeak-ng is not installed.
    """
    found = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "phrase.wav"
        for voice in voices:
            for speed in (130, 155, 180):
                for pitch in (30, 50, 70):
                    command = ["espeak-ng", "-v", voice, "-s", str(speed), "-p", str(pitch)]
                    subprocess.run([*command, "-w", str(file), phrase], check=True)
                    found.append(sounds.read(file))
    return found


def with_phrase(recordings: Sequence[Array], phrase: str, voices: Sequence[str]) -> list[Array]:
    """Recordings to fill clips with, of which every second is the phrase."""
    phrases = spoken(phrase, tuple(voices))
    return [
        each for k, other in enumerate(recordings) for each in (other, phrases[k % len(phrases)])
    ]


def spectra(session: Session, clips: Array) -> Array:
    """Log-mel spectra as the embedding wants them, shape (clips, spectra, 32)."""
    rows = [session.run(None, {only(session): clip[None] * 32767})[0] for clip in clips]
    return np.stack([row.reshape(-1, 32) / 10 + 2 for row in rows])


def windows(found: Array) -> Array:
    """What each embedding of each clip reads, shape (clips, embeddings, 76, 32, 1)."""
    places = np.arange(0, found.shape[1] - SPECTRA + 1, STEP)[:, None] + np.arange(SPECTRA)
    return found[:, places, :, None]


def embeddings(session: Session, read: Array) -> Array:
    """Embeddings of each clip, shape (clips, embeddings, 96)."""
    return np.stack(
        [session.run(None, {only(session): rows})[0].reshape(len(rows), -1) for rows in read]
    )


def decided(found: Array) -> Array:
    """What each decision of each clip reads, shape (clips, decisions, 16, 96)."""
    places = np.arange(found.shape[1] - EMBEDDINGS + 1)[:, None] + np.arange(EMBEDDINGS)
    return found[:, places]


def scores(session: Session, read: Array) -> Array:
    """How sure the network is of its phrase, shape (clips, decisions)."""
    rows = read.reshape(-1, 1, *read.shape[2:])
    found = [session.run(None, {only(session): row})[0].ravel()[0] for row in rows]
    return np.array(found, np.float32).reshape(read.shape[:2])
