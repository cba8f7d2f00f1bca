"""How long a loaded model takes, measured so that models can be compared."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from nmcore.calibration.random_inputs import random_inputs_for
from nmcore.errors import ModelError
from nmcore.plugins import protocols

Timing = TypeVar("Timing")

WARMUP = 2
# Models take turns of so many timed runs, behind one that fetches the weights into the cache.
TURN = 5
# So many runs of a model, or as many as fit into the time; a slow model gets by with a few.
RUNS = 50
SECONDS = 0.3
MOST_SECONDS = 0.5
FEWEST_RUNS = TURN
# The best of at least so many turns differ by at most this share, once nothing else is in the way;
# after so many seconds of each model they are taken for that anyway.
FEWEST_TURNS, ALIKE = 6, 0.02
PATIENCE = 2.0


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one run, inputs and outputs copied to and from the device included.

    Attributes
    ----------
    median_ms, low_ms, high_ms : float
        The median, and the 10th and 90th percentile, of the timed runs.
    runs : int
        How many runs were timed.
    """

    median_ms: float
    low_ms: float
    high_ms: float
    runs: int


def measure(models: Sequence[Callable[[], object]], runs: int | None = None) -> list[Latency]:
    """Time several models in turn: a few runs of each, then again, so that noise hits all alike.

    Parameters
    ----------
    models : sequence of callable
        Each runs its model once.
    runs : int, optional
        Timed runs of each model, after a few that are not timed. Without it there are fewer of
        slow models and more of fast ones.

    Returns
    -------
    list of Latency
        In the order of ``models``.

    Examples
    --------
    >>> fast, slow = measure([lambda: None, lambda: time.sleep(0.002)], runs=5)
    >>> fast.median_ms < slow.median_ms, slow.runs
    (True, 5)
    """
    for model in models:
        for _ in range(WARMUP):
            model()
    times: list[list[float]] = [[] for _ in models]
    for turn, count in _turns(len(models), runs):
        models[turn]()
        times[turn] += [_seconds(models[turn]) for _ in range(count)]
    return [_summary(np.array(one)) for one in times]


def relative(models: Sequence[Callable[[], object]]) -> list[float]:
    """How long models take when nothing else is in their way, as shares of the first one's time.

    Other programs only ever make a run longer, and not all runs alike. So each turn of a few runs
    counts with its quickest one, a model with the lower quartile over its turns, and models keep
    running until their best turns are alike. Where two models were timed beside 30 busy programs,
    their medians differed by a factor of 0.13 to 0.88 from trial to trial, and these figures by
    one of 0.57 to 0.63; where runs are too short to be interrupted, both agree.

    Parameters
    ----------
    models : sequence of callable
        Each runs its model once.

    Returns
    -------
    list of float
        One for each model but the first.

    Examples
    --------
    >>> slow, fast = (lambda: time.sleep(0.004)), (lambda: time.sleep(0.001))
    >>> relative([slow, fast])[0] < 0.9
    True
    """
    # No warm-up: first runs are none of the quickest.
    turns: list[list[float]] = [[] for _ in models]
    start, spent, due = time.perf_counter(), 0.0, FEWEST_TURNS
    while spent < PATIENCE * len(models):
        # In short turns, as a processor may change its pace for all of them.
        for one, model in zip(turns, models, strict=True):
            model()
            one.append(min(_seconds(model) for _ in range(TURN)))
        spent = time.perf_counter() - start
        if len(turns[0]) >= due and spent >= SECONDS / 2 * len(models):
            if _alike(turns):
                break
            # Looking takes longer than a turn of a fast model.
            due = 2 * len(turns[0])
    first, *others = (float(np.percentile(one, 25)) for one in turns)
    return [other / first for other in others]


def on_one_device(
    sessions: Sequence[protocols.Session], time_them: Callable[[], list[Timing]]
) -> list[Timing]:
    """Time sessions, all on the same device.

    Where a device fails on the way, its session goes on with the CPU: then what was measured holds
    for neither, and all is timed again.

    Parameters
    ----------
    sessions : sequence of Session
        What is timed.
    time_them : callable
        Times all of them.

    Raises
    ------
    ModelError
        Some run on one device and some on another, so that their times say nothing of them.
    """
    before: list[str] = []
    times: list[Timing] = []
    while before != (now := [session.provider for session in sessions]):
        if len(set(now)) > 1:
            raise ModelError(
                f"the models run on different devices ({', '.join(now)}), so that their times "
                "cannot be compared; choose the CPU for all of them (--providers cpu)"
            )
        before, times = now, time_them()
    return times


def _alike(turns: Sequence[Sequence[float]]) -> bool:
    """Whether the best turns of every model are about as quick as each other."""
    best, good = np.percentile(turns, [10, 25], axis=1)
    return bool(np.all(good <= (1 + ALIKE) * best))


def _turns(models: int, runs: int | None) -> Iterator[tuple[int, int]]:
    start = time.perf_counter()
    done = 0
    while not _enough(done, (time.perf_counter() - start) / models, runs):
        count = TURN if runs is None else min(TURN, runs - done)
        # Backwards every other time, so that no model always follows the same one.
        order = range(models) if done // TURN % 2 == 0 else reversed(range(models))
        yield from ((model, count) for model in order)
        done += count


def _seconds(model: Callable[[], object]) -> float:
    start = time.perf_counter()
    model()
    return time.perf_counter() - start


def _enough(done: int, seconds: float, runs: int | None) -> bool:
    if runs is not None:
        return done >= runs
    if done >= RUNS:
        return seconds >= SECONDS
    return done >= FEWEST_RUNS and seconds >= MOST_SECONDS


def _summary(seconds: NDArray[np.float64]) -> Latency:
    low, median, high = np.percentile(seconds * 1000, [10, 50, 90])
    return Latency(float(median), float(low), float(high), len(seconds))


def time_sessions(
    sessions: Sequence[protocols.Session], *, runs: int | None = None, seed: int = 0
) -> list[Latency]:
    """Time loaded models on random inputs, the same for all that want the same.

    Raises
    ------
    ModelError
        A model runs on no random input that was tried, or models run on different devices.
    """
    feeds: list[Mapping[str, NDArray[Any]]] = []
    for position, session in enumerate(sessions):
        like = [other.inputs for other in sessions[:position]]
        known = session.inputs in like
        feeds.append(
            feeds[like.index(session.inputs)] if known else random_inputs_for(session, seed=seed)
        )
    calls = [
        functools.partial(session.run, feed) for session, feed in zip(sessions, feeds, strict=True)
    ]
    return on_one_device(sessions, lambda: measure(calls, runs))
