"""How long a loaded model takes, measured so that models can be compared."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmcore import plugins
from nmcore.data import runnable_inputs

WARMUP = 5
RUNS = 50
# A slow model is not run 50 times: after this long, a median of fewer runs is good enough.
SECONDS = 10.0
FEWEST_RUNS = 5


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


def measure(
    models: Sequence[Callable[[], object]],
    *,
    runs: int = RUNS,
    warmup: int = WARMUP,
    seconds: float = SECONDS,
) -> list[Latency]:
    """Time several models in turn: one run of each, then again, so that noise hits all alike.

    Parameters
    ----------
    models : sequence of callable
        Each runs its model once.
    runs, warmup : int
        Timed runs a model, and those before that are not timed.
    seconds : float
        Stop earlier when so much time a model is spent, but not before a few runs.

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
        for _ in range(warmup):
            model()
    times: list[list[float]] = [[] for _ in models]
    for turn in _turns(len(models), runs, seconds):
        start = time.perf_counter()
        models[turn]()
        times[turn].append(time.perf_counter() - start)
    return [_summary(np.array(one)) for one in times]


def _turns(models: int, runs: int, seconds: float) -> Iterator[int]:
    deadline = time.perf_counter() + seconds * models
    for done in range(runs):
        if done >= FEWEST_RUNS and time.perf_counter() > deadline:
            return
        # Backwards every other time: no model always follows the same one, whose weights then
        # always fill the cache.
        yield from range(models) if done % 2 == 0 else reversed(range(models))


def _summary(seconds: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Latency:
    low, median, high = np.percentile(seconds * 1000, [10, 50, 90])
    return Latency(float(median), float(low), float(high), len(seconds))


def time_sessions(
    sessions: Sequence[plugins.Session], *, runs: int = RUNS, seed: int = 0
) -> list[Latency]:
    """Time loaded models on random inputs, the same for all that want the same.

    Raises
    ------
    ModelError
        A model runs on no random input that was tried.
    """
    feeds: list[Mapping[str, NDArray[Any]]] = []
    for position, session in enumerate(sessions):
        like = [other.inputs for other in sessions[:position]]
        known = session.inputs in like
        feeds.append(
            feeds[like.index(session.inputs)] if known else runnable_inputs(session, seed=seed)
        )
    calls = [
        functools.partial(session.run, feed) for session, feed in zip(sessions, feeds, strict=True)
    ]
    return measure(calls, runs=runs)
