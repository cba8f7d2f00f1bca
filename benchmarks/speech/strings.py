"""Text: recognisers, which give strings, and detectors, which give the places of text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import sounds
from numpy.typing import NDArray
from running import Session, batches, only

Numbers = NDArray[np.float32]


# Strings: recognisers with a class for "nothing" (CTC), which are read off greedily.
def read_off(classes: NDArray[Any], empty: int) -> list[tuple[int, ...]]:
    """Classes without repetitions and without the empty one."""
    found = []
    for row in classes:
        changed = np.flatnonzero(np.diff(row, prepend=-1))
        found.append(tuple(int(each) for each in row[changed] if each != empty))
    return found


def same_strings(original: Sequence[Any], found: Sequence[Any], _: Any) -> float:
    """The share of strings that are equal, right or wrong."""
    return float(np.mean([one == other for one, other in zip(original, found, strict=True)]))


def as_right(original: Sequence[Any], found: Sequence[Any], words: Mapping[str, Any]) -> float:
    """How many strings are read right, as a share of how many the original reads right."""
    meant = letters(original, words["text"])
    right = [
        sum(
            [meant.get(each) for each in row] == [*text]
            for row, text in zip(rows, words["text"], strict=True)
        )
        for rows in (original, found)
    ]
    return right[1] / right[0]


def letters(rows: Sequence[Sequence[int]], texts: Sequence[str]) -> dict[int, str]:
    """Which letter each class stands for: the one that stands there most often, by the original."""
    votes: dict[int, Counter[str]] = {}
    for row, text in zip(rows, texts, strict=True):
        if len(row) == len(text):
            for each, letter in zip(row, text, strict=True):
                votes.setdefault(each, Counter())[letter] += 1
    return {each: found.most_common(1)[0][0] for each, found in votes.items()}


def plate_pixels(words: NDArray[np.uint8]) -> Numbers:
    """As the recogniser of number plates wants them."""
    return ((words / 255.0 - 0.5) / 0.5).transpose(0, 3, 1, 2).astype(np.float32)


def grey_pixels(words: NDArray[np.uint8]) -> Numbers:
    """As ddddocr wants them."""
    return ((words.mean(-1) / 255.0 - 0.5) / 0.5)[:, None].astype(np.float32)


def plate_strings(sessions: Sequence[Session], words: Mapping[str, Any]) -> Any:
    """What the recogniser of number plates reads."""
    scores = batches(sessions[0], plate_pixels(words["wide"]))
    return read_off(scores.argmax(-1), 0)


def grey_strings(sessions: Sequence[Session], words: Mapping[str, Any]) -> Any:
    """What ddddocr reads, picture by picture."""
    (session,) = sessions
    scores = [
        session.run(None, {only(session): row[None]})[0] for row in grey_pixels(words["tall"])
    ]
    return read_off(np.stack([each.argmax(-1).ravel() for each in scores]), 0)


# Places of text: how likely each pixel is of a line of text (DB: Liao et al., AAAI 2020).
def page_pixels(pages: NDArray[np.uint8]) -> Numbers:
    """As PP-OCR's detector wants them: by ImageNet's mean and deviation."""
    mean, deviation = np.array([(0.485, 0.456, 0.406), (0.229, 0.224, 0.225)], np.float32)
    normal: Numbers = (pages.astype(np.float32) / 255 - mean) / deviation
    return normal.transpose(0, 3, 1, 2)


def text_masks(sessions: Sequence[Session], words: Mapping[str, Any]) -> Numbers:
    """1 where the detector sees text, 0 elsewhere."""
    return (batches(sessions[0], page_pixels(words["pages"])) > 0.3).astype(np.float32)


def overlap(original: Numbers, found: Numbers, _: Any) -> float:
    """Intersection over union of the pixels that are text."""
    both, either = np.minimum(original, found).sum(), np.maximum(original, found).sum()
    return float(both / either) if either else 1.0


def words_of(count: int, seed: int) -> dict[str, Any]:
    """Rendered strings in the shapes that recognisers want."""
    strings = sounds.texts(count, seed)
    return {
        "text": strings,
        "wide": sounds.pictures(strings, seed, height=32, width=160),
        "tall": sounds.pictures(strings, seed, height=64, width=224),
        "pages": sounds.pages(count, seed),
    }
