"""Timing several calls side by side."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

# The threads of OpenBLAS and OpenMP spin on for about a tenth of a second after their last work;
# whoever comes next would have to share the processors with them.
_REST = 0.15
# Short calls are made again until so many seconds have passed: the first finds its threads asleep.
_LEAST = 0.05
# And so often, if that takes no longer than so many seconds: where a machine is busy a few calls
# may each wait for a slice of a processor, which says nothing of the call.
_CALLS, _MOST = 25, 0.5


def take_turns(
    calls: Mapping[str, Callable[[], Any]],
    repeats: int,
    threads: int,
    check: Callable[[str, Any], None],
) -> dict[str, list[float]]:
    """Time all calls in turn, turn after turn.

    Parameters
    ----------
    calls : mapping of str to callable
        What to time, by name.
    repeats : int
        Timed turns, after one that only warms up.
    threads : int
        For BLAS.
    check : callable
        Called with a name and what that call returned, after the first and the last turn; it
        raises where that is wrong.

    Returns
    -------
    dict of str to list of float
        Seconds of each timed turn: one call's, or the median where there was time for several.

    Examples
    --------
    >>> seconds = take_turns({"sum": lambda: sum(range(10))}, 2, 1, lambda name, found: None)
    >>> len(seconds["sum"])
    2
    """
    from nmcore.kernels.threads import blas_threads

    seconds: dict[str, list[float]] = {name: [] for name in calls}
    with blas_threads(threads):
        for turn in range(repeats + 1):
            for name, call in calls.items():
                took, found = _timed(call)
                if turn > 0:
                    seconds[name].append(took)
                if turn in (0, repeats):
                    check(name, found)
    return seconds


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    time.sleep(_REST)
    taken: list[float] = []
    began = time.perf_counter()
    while True:
        start = time.perf_counter()
        found = call()
        now = time.perf_counter()
        taken.append(now - start)
        spent = now - began
        if spent >= _MOST or (spent >= _LEAST and len(taken) >= _CALLS):
            return statistics.median(taken), found
