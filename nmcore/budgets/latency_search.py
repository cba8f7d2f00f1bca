"""Widths that a runtime is fast at, found by timing candidates.

Time does not follow the multiply-accumulates: kernels work on blocks of channels, so that an odd
width may take longer than a larger even one, and what surrounds the arithmetic takes its time at
any width. Nor is it known beforehand, so it is measured, on models that are only cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from nmcore.budgets.allocation import Move
from nmcore.errors import BudgetError
from nmcore.evaluation.timer import Counts, Timer

# onnxruntime packs convolutions whose number of channels is a multiple of 4; others are far slower.
# AVX2 and AVX-512 work on 8 and 16 channels at once.
PACKED = 4
ROUNDINGS = (1, PACKED, 8, 16)
# A coarser rounding has to be faster by this much than a finer one, which costs less accuracy.
WORTHWHILE = 0.05
# What was found is timed so many times over, and searched anew so often where that contradicts.
CONFIRMATIONS, CORRECTIONS = 3, 4


@dataclass(frozen=True, eq=False)
class Path:
    """Ever narrower widths of a model, one move after the other.

    Attributes
    ----------
    multiple : int
        What kept channels are a multiple of.
    start : mapping of group name to int
        The widths before the first move.
    moves : sequence of Move
        In order.
    cost, left : float
        The cost of the original, and of what is left of it before the first move.
    """

    multiple: int
    start: Counts
    moves: Sequence[Move]
    cost: float
    left: float

    def __len__(self) -> int:
        return len(self.moves)

    def counts(self, step: int) -> dict[str, int]:
        """The widths after so many moves."""
        return {**self.start, **{move.name: move.kept for move in self.moves[:step]}}

    def share(self, step: int) -> float:
        """The share of the cost that is left after so many moves."""
        return (self.left - sum(move.saved for move in self.moves[:step])) / self.cost

    def error(self, step: int) -> float:
        """The error that so many moves add, by the curves that they were chosen by."""
        return sum(move.added for move in self.moves[:step])


@dataclass(frozen=True, eq=False)
class Found:
    """The widest widths that meet a target.

    Attributes
    ----------
    path, step : Path, int
        Which widths.
    time, wider, least : float
        What they take, and what the widths one step before and the narrowest ones take, as shares
        of the original's time.
    """

    path: Path
    step: int
    time: float
    wider: float
    least: float


def fastest(candidates: Mapping[int, Counts], timer: Timer) -> tuple[int, float]:
    """The rounding whose widths run fastest; of those that are about as fast, the finest.

    Parameters
    ----------
    candidates : mapping of rounding to widths
        What each rounding makes of a budget.
    timer : Timer
        Times them.

    Returns
    -------
    The rounding, and the time that it takes as a share of the original's.
    """
    times = dict(zip(candidates, _steady(list(candidates.values()), timer), strict=True))
    enough = min(times.values()) * (1 + WORTHWHILE)
    best = min(multiple for multiple, time in times.items() if time <= enough)
    return best, times[best]


def widest_within(
    paths: Sequence[Path],
    share: float,
    timer: Timer,
    progress: Callable[[str, Iterable[Any]], Iterable[Any]],
) -> Found:
    """The step of any path that takes at most ``share`` of the original's time at the least error.

    Paths are searched by bisection, as though time fell along them. It does so but for noise and,
    where a rounding does not suit the runtime, for odd widths; what is returned was timed.

    Parameters
    ----------
    paths : sequence of Path
        One for each rounding.
    share : float
        Above 0 and below 1.
    timer : Timer
        Times candidates.
    progress : callable
        Wraps the iteration over rounds of timing.

    Raises
    ------
    BudgetError
        Not even the ends of the paths are fast enough.
    """
    ends = _steady([path.counts(len(path)) for path in paths], timer)
    able = [path for path, end in zip(paths, ends, strict=True) if end <= share]
    if not able:
        raise BudgetError(
            f"a latency of {share:g} of the original's cannot be met: with as few channels as "
            f"possible in every group that may be cut, {min(ends):.2g} of it remains "
            f"({timer.setting})"
        )
    path, step = _bisected(able, [(0, len(path)) for path in able], share, timer, progress)
    return _confirmed(path, step, share, timer, progress, min(ends))


def _steady(candidates: Sequence[Counts], timer: Timer) -> list[float]:
    """The times of candidates, as the medians of several timings."""
    times = [timer(candidates) for _ in range(CONFIRMATIONS)]
    return [median(each) for each in zip(*times, strict=True)]


def _bisected(
    paths: Sequence[Path],
    bounds: Sequence[tuple[int, int]],
    share: float,
    timer: Timer,
    progress: Callable[[str, Iterable[Any]], Iterable[Any]],
) -> tuple[Path, int]:
    """The path, and its step, that meets the target at the least error; the step before does not.

    Each path is searched between bounds of which the first is taken to be too slow, the second
    not, for as long as it may still turn out to be the best.
    """
    slow, fast = map(list, zip(*bounds, strict=True))
    every = range(len(paths))
    rounds = max(high - low for low, high in bounds).bit_length()
    for _ in progress("timing", range(rounds)):
        least = min(paths[k].error(fast[k]) for k in every)
        open_ = [k for k in every if fast[k] - slow[k] > 1 and paths[k].error(slow[k]) <= least]
        middle = {k: (slow[k] + fast[k]) // 2 for k in open_}
        times = timer([paths[k].counts(step) for k, step in middle.items()]) if middle else []
        for (k, step), time in zip(middle.items(), times, strict=True):
            (fast if time <= share else slow)[k] = step
    best = min(every, key=lambda k: paths[k].error(fast[k]))
    return paths[best], fast[best]


def _confirmed(
    path: Path,
    step: int,
    share: float,
    timer: Timer,
    progress: Callable[[str, Iterable[Any]], Iterable[Any]],
    least: float,
) -> Found:
    """What was found, once the step meets the target and the step before does not.

    A single wrong time sends a bisection astray; then it is repeated on the side that is left.
    """
    best: Found | None = None
    for attempt in range(CORRECTIONS + 1):
        time, wider = _steady([path.counts(step), path.counts(max(step - 1, 0))], timer)
        found = Found(path, step, time, wider, least)
        if time <= share:
            best, bounds = found, (0, step - 1)
        else:
            bounds = step, len(path) if best is None else best.step
        done = time <= share < wider or bounds[1] - bounds[0] < 1
        if done or attempt == CORRECTIONS:
            break
        _, step = _bisected([path], [bounds], share, timer, progress)
    return best or found
