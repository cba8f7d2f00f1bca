"""Class balance: synthetic inputs that the network assigns to all of its classes alike.

Most synthetic inputs look like the same few classes to a network, and what tells the others apart
would hardly be measured. No labels are involved: a class is what the network answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmcore.calibration.calibration_set import CalibrationSet
from nmcore.data.batches import Feeds, length_of
from nmcore.group import IntArray
from nmcore.plugins.protocols import Session


def balanced(calibration: CalibrationSet, session: Session, count: int) -> CalibrationSet:
    """Choose ``count`` inputs with as even a share of predicted classes as there is.

    Parameters
    ----------
    calibration : CalibrationSet
        The candidates.
    session : Session
        The network.
    count : int
        How many to choose; where batches have a fixed length, as many as fill them.

    Returns
    -------
    CalibrationSet
        The first candidates where the network's first output is not one row of numbers for each
        input, or where inputs come one at a time.
    """
    if calibration.apart:
        count = min(count, calibration.count)
        source = f"{count} synthetic inputs"
        return replace(calibration, batches=calibration.batches[:count], count=count, source=source)
    step = max(map(length_of, calibration.batches))
    if not calibration.any_length:
        count = max(count // step, 1) * step
    if calibration.count <= count:
        return calibration
    answers = [session.run(feeds)[0] for feeds in calibration.batches]
    chosen = np.arange(count)
    if all(map(_are_scores, answers, map(length_of, calibration.batches))):
        chosen = evenly(np.concatenate([answer.argmax(axis=1) for answer in answers]), count)
    source = f"{count} synthetic inputs"
    return replace(
        calibration, batches=_pick(calibration.batches, chosen, step), count=count, source=source
    )


def evenly(classes: IntArray, count: int) -> IntArray:
    """The first ``count`` places if classes take turns, in ascending order.

    >>> evenly(np.array([7, 7, 7, 7, 3, 5]), 4)
    array([0, 1, 4, 5])
    """
    order = np.argsort(classes, kind="stable")
    ranked = classes[order]
    # The how manieth of its class each one is.
    turn = np.arange(len(ranked)) - np.searchsorted(ranked, ranked)
    chosen: IntArray = np.sort(order[np.argsort(turn, kind="stable")[:count]])
    return chosen


def _are_scores(answer: NDArray[Any], length: int) -> bool:
    """Whether there is one row of numbers for each input."""
    return (
        answer.ndim == 2
        and answer.dtype.kind in "fiu"
        and len(answer) == length
        and answer.shape[1] > 1
    )


def _pick(batches: Sequence[Feeds], chosen: IntArray, step: int) -> list[Feeds]:
    """The chosen inputs in batches of ``step``; numbers without a batch stay."""
    arrays = {
        name: np.concatenate([feeds[name] for feeds in batches])[chosen] if array.size else array
        for name, array in batches[0].items()
        if array.ndim
    }
    numbers = {name: array for name, array in batches[0].items() if not array.ndim}
    return [
        numbers | {name: array[start : start + step] for name, array in arrays.items()}
        for start in range(0, len(chosen), step)
    ]
