"""The channels that each group keeps under a budget, at the least error."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmcore.budgets.allocation import (
    Budget,
    allocate,
    fixed_cost,
    removals,
)
from nmcore.budgets.latency_search import (
    PACKED,
    Found,
    Path,
    fastest,
    widest_within,
)
from nmcore.budgets.meter import ROUNDING, Meter
from nmcore.errors import BudgetError
from nmcore.evaluation.timer import Timer
from nmcore.plugins import capabilities
from nmcore.plugins.protocols import Graph
from nmcore.utils.progress import Progress, silent

Curves = Mapping[str, NDArray[np.float64]]

# A coarser rounding may add this share to what the best one comes to, as error times work in whole
# blocks, and leave this share more of the budget unused.
SPARE, UNUSED = 0.1, 0.03


@dataclass(frozen=True)
class Allotment:
    """How many channels each group keeps, and what was found out on the way.

    Attributes
    ----------
    counts : mapping of group name to int
        Channels to keep.
    notes : tuple of str
        What the user should know, a line each.
    latency : float or None
        The share of the original's time that was reached, where that was the budget.
    """

    counts: Mapping[str, int]
    notes: tuple[str, ...] = ()
    latency: float | None = None


@dataclass(frozen=True, eq=False)
class Choices:
    """What a budget may choose among.

    Attributes
    ----------
    counts : mapping of group name to int
        The channels that groups keep where no budget cuts them.
    multiples : tuple of int
        Groups that a budget cuts keep a multiple of one of these numbers of channels: of the one
        that suits the runtime, as ``timer`` tells, else of the one that :func:`meet` chooses.
    timer : Timer or None
        Tells how long the model takes at other widths, where that matters.
    progress : callable
        Wraps the iteration over rounds of timing.
    """

    counts: Mapping[str, int]
    multiples: tuple[int, ...] = (1,)
    timer: Timer | None = None
    progress: Progress = silent


class Allocated(NamedTuple):
    """Widths by group, the share of the budget that they use, and that with all widths rounded up
    to whole blocks of the coarsest rounding.
    """

    counts: Mapping[str, int]
    used: float
    in_blocks: float


def meet(
    graph: Graph, budget: Budget | None, choices: Choices, curves: Curves, *, added: int = 0
) -> Allotment:
    """The channels that each group of a graph keeps under a budget, or as counted without one.

    Parameters
    ----------
    curves : mapping of group name to array, shape (N - 1,)
        The error after removing one, two, ... channels of the groups that may be cut.
    added : int
        Parameters that the method will add.

    Raises
    ------
    BudgetError
        The budget cannot be met.
    """
    if budget is None:
        return Allotment(dict(choices.counts))
    if budget.kind == "latency":
        return _within_latency(graph, choices, budget.share, curves)
    candidates: dict[int, Allocated] = {}
    for multiple in sorted(choices.multiples, reverse=True):
        if candidates and multiple < PACKED and choices.timer is None:
            break
        try:
            candidates[multiple] = _allocated(graph, choices, budget, curves, added, multiple)
        except BudgetError:
            if multiple == min(choices.multiples):  # Nothing reaches further.
                raise
    if choices.timer is not None:
        return fastest_of({m: each.counts for m, each in candidates.items()}, choices.timer)
    found = coarsest_of(candidates, curves)
    if max(candidates) >= min(PACKED, max(choices.multiples)):
        return found
    why = f"{_rounded(max(candidates))}: the budget cannot be met with multiples of {PACKED}"
    return replace(found, notes=(why, *found.notes))


def coarsest_of(candidates: Mapping[int, Allocated], curves: Curves) -> Allotment:
    """The coarsest rounding that does about as well as the best, and leaves little of the budget.

    Kernels of convolutions and poolings work on whole blocks of channels, so that an odd width
    takes the time of the next multiple, or more where it needs another kernel. So errors are
    compared times the work in whole blocks: what takes a third more time has to err a quarter less.

    Parameters
    ----------
    candidates : mapping of rounding to Allocated
        What each rounding makes of a budget.
    curves : mapping of group name to array, shape (N - 1,)
        The error after removing one, two, ... channels.

    Examples
    --------
    >>> curves = {"a": np.arange(1.0, 32.0)}
    >>> fine = Allocated({"a": 20}, used=1.0, in_blocks=1.1)
    >>> coarse = Allocated({"a": 16}, used=0.99, in_blocks=0.99)
    >>> coarsest_of({16: coarse, 4: fine}, curves).notes
    ('widths in multiples of 4: those of 16 would leave 33 % more error, as predicted',)
    >>> coarsest_of({16: coarse, 4: fine._replace(in_blocks=1.5)}, curves).counts
    {'a': 16}
    >>> coarsest_of({16: coarse._replace(used=0.9)}, curves).notes
    ('10 % of the budget is left: no wider multiple that lowers the predicted error fits',)
    >>> coarsest_of({16: coarse._replace(used=0.8), 4: fine}, curves).notes
    ('widths in multiples of 4: those of 16 would leave 20 % of the budget unused',)
    """
    errors = {multiple: _error(each.counts, curves) for multiple, each in candidates.items()}
    most = max(each.used for each in candidates.values()) - UNUSED
    using = {multiple: each for multiple, each in candidates.items() if each.used >= most}
    costs = {multiple: errors[multiple] * each.in_blocks for multiple, each in using.items()}
    multiple = max(each for each in using if costs[each] <= (1 + SPARE) * min(costs.values()))
    coarser = min((each for each in errors if each > multiple), default=None)
    notes = []
    if coarser is not None and coarser not in using:
        unused = 100 * (1 - candidates[coarser].used)
        notes = [f"those of {coarser} would leave {unused:.0f} % of the budget unused"]
    elif coarser is not None and errors[multiple] > 0:
        more = 100 * (errors[coarser] / errors[multiple] - 1)
        filled = 100 * (candidates[coarser].in_blocks / candidates[multiple].in_blocks - 1)
        notes = [
            f"those of {coarser} would leave {more:.0f} % more error, as predicted"
            if more > 0
            else f"those of {coarser} would take {filled:.0f} % more work in whole blocks"
        ]
    told = [f"{_rounded(multiple)}: {note}" for note in notes]
    left = 1 - candidates[multiple].used
    if left > UNUSED:
        why = "no wider multiple that lowers the predicted error fits"
        told.append(f"{100 * left:.0f} % of the budget is left: {why}")
    return Allotment(candidates[multiple].counts, tuple(told))


def _error(counts: Mapping[str, int], curves: Curves) -> float:
    """What the curves say of some widths."""
    cut = {name: len(curve) + 1 - counts[name] for name, curve in curves.items()}
    return sum(float(curves[name][gone - 1]) for name, gone in cut.items() if gone > 0)


def check_reachable(
    graph: Graph, budget: Budget, choices: Choices, free: Container[str], whole: float
) -> None:
    """Refuse a budget that is counted and below what the narrowest widths cost.

    Parameters
    ----------
    free : container of str
        The groups that may be cut.
    whole : float
        The cost that shares are of.

    Raises
    ------
    BudgetError
        It cannot be met, whatever the error.
    """
    meter = _meter(graph, budget.kind)
    fixed = fixed_cost(graph.cost(), meter, budget.kind)
    target = budget.share * (fixed + meter.total())
    meter.kept.update(choices.counts)
    for group in capabilities.cuttable(graph):
        least = group.multiple(min(choices.multiples))
        if group.name in free:
            meter.kept[group.name] = min(meter.kept[group.name], least)
    least_cost = fixed + meter.total()
    if least_cost > target * (1 + ROUNDING):
        least_share = math.ceil(1000 * least_cost / whole) / 1000
        raise BudgetError(
            f"{budget.kind} of {target / whole:g} cannot be met: with as few channels as possible "
            f"in every group that may be cut, the least is {least_share:g}"
        )


def fastest_of(candidates: Mapping[int, Mapping[str, int]], timer: Timer) -> Allotment:
    """The rounding that the runtime likes among candidates that serve equally well otherwise."""
    multiple, time = fastest(candidates, timer)
    others = [str(each) for each in candidates if each != multiple]
    note = (
        f"{_rounded(multiple)}: {time:.2f} of the original's time, the fastest, or as good, of "
        f"multiples of {', '.join(map(str, sorted(candidates)))} ({timer.setting})"
    )
    return Allotment(candidates[multiple], (note,) if others else ())


def _allocated(
    graph: Graph, choices: Choices, budget: Budget, curves: Curves, added: int, multiple: int
) -> Allocated:
    meter = _meter(graph, budget.kind)
    fixed = fixed_cost(graph.cost(), meter, budget.kind)
    total = fixed + meter.total()
    if budget.kind == "params":
        fixed += added
    meter.kept.update(choices.counts)
    multiples = _multiples(graph, multiple, finer=_is_free(choices))
    target = budget.share * total
    counts = allocate(curves, meter, multiples, fixed=fixed, target=target)
    used = fixed + meter.total()
    _fill_blocks(meter, _multiples(graph, max(choices.multiples), finer=_is_free(choices)))
    return Allocated(counts, used / target, (fixed + meter.total()) / target)


def _fill_blocks(meter: Meter, blocks: Mapping[str, int]) -> None:
    """Round all widths up to whole blocks, as far as groups have so many channels."""
    for name, block in blocks.items():
        whole = -(-meter.kept[name] // block) * block
        meter.kept[name] = min(whole, meter.widths[name])


def _within_latency(graph: Graph, choices: Choices, share: float, curves: Curves) -> Allotment:
    """Channels go as under a budget of the work, for as long as it takes to be fast enough."""
    assert choices.timer is not None
    if share == 1:
        nothing = "a latency of 1 asks for nothing: nothing was timed"
        return Allotment(choices.counts, (nothing,), latency=1.0)
    kind = "params" if graph.cost().macs is None else "macs"
    paths = [_path(graph, choices, curves, kind, multiple) for multiple in choices.multiples]
    found = widest_within(paths, share, choices.timer, choices.progress)
    notes = tuple(_told(found, share, choices, kind))
    return Allotment(found.path.counts(found.step), notes, found.time)


def _path(graph: Graph, choices: Choices, curves: Curves, kind: str, multiple: int) -> Path:
    """The way down from the original, as far as it goes."""
    meter = _meter(graph, kind)
    fixed = fixed_cost(graph.cost(), meter, kind)
    whole = fixed + meter.total()
    meter.kept.update(choices.counts)
    left = fixed + meter.total()
    multiples = _multiples(graph, multiple, finer=False)
    moves = list(removals(curves, meter, multiples))
    return Path(multiple, choices.counts, moves, whole, left)


def _told(found: Found, share: float, choices: Choices, kind: str) -> Sequence[str]:
    """What a search for a latency came to."""
    assert choices.timer is not None
    if found.time <= share < found.wider:
        reached = (
            f"at most {share:g} asked for: met to within one step of one group, without which it "
            f"is {found.wider:.3g}"
        )
    elif found.time <= share:
        reached = f"at most {share:g} asked for"
    else:
        reached = f"where {share:g} was asked for: the times vary too much to come closer"
    timed = f"timed {choices.timer.setting}; the narrowest widths take {found.least:.3g}"
    left = 100 * found.path.share(found.step)
    work = "MACs" if kind == "macs" else "parameters"
    widths = f"{left:.0f} % of the {work} kept, {_rounded(found.path.multiple)}"
    if len(choices.multiples) > 1:
        widths += ", which leave the least error at this speed"
    return f"latency {found.time:.3g} of the original's, {reached}; {timed}", widths


def _rounded(multiple: int) -> str:
    return "widths of any number" if multiple == 1 else f"widths in multiples of {multiple}"


def _meter(graph: Graph, kind: str) -> Meter:
    return Meter(graph.terms(), capabilities.widths(graph), kind)


def _is_free(choices: Choices) -> bool:
    """Whether several roundings may be chosen from, and by their errors alone."""
    return choices.timer is None and len(choices.multiples) > 1


def _multiples(graph: Graph, multiple: int, *, finer: bool) -> dict[str, int]:
    """How many channels of each group and score pair come to a multiple of so many rows.

    Where that is wanted, units of recurrent layers come to a multiple of PACKED at most: they are
    rows of one product for all gates, whose time goes by the work and not by whole blocks.
    """
    return {
        each.name: each.multiple(min(multiple, PACKED) if finer and each.gates > 1 else multiple)
        for each in capabilities.cuttable(graph)
    }
