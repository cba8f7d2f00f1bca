"""The channels that each group keeps under a budget, at the least error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nmcore.allocation import Budget, Meter, allocate, fixed_cost, removals
from nmcore.errors import BudgetError
from nmcore.plan import Task
from nmcore.plugins import Graph
from nmcore.speed import Found, Path, fastest, widest_within

Curves = Mapping[str, NDArray[np.float64]]


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


def meet(graph: Graph, task: Task, curves: Curves, *, added: int = 0) -> Allotment:
    """The channels that each group of a graph keeps under the task's budget, or as counted.

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
    if task.budget is None:
        return Allotment(dict(task.counts))
    if task.budget.kind == "latency":
        return _within_latency(graph, task, task.budget.share, curves)
    candidates = {}
    for multiple in task.multiples:
        try:
            counts = _allocated(graph, task, task.budget, curves, added, multiple)
        except BudgetError:
            if multiple == min(task.multiples):  # Nothing reaches further.
                raise
            continue
        if task.timer is None:
            wanted = task.multiples[0]
            why = f"{_rounded(multiple)}: the budget cannot be met with multiples of {wanted}"
            return Allotment(counts, () if multiple == wanted else (why,))
        candidates[multiple] = counts
    return fastest_of(candidates, task)


def fastest_of(candidates: Mapping[int, Mapping[str, int]], task: Task) -> Allotment:
    """The rounding that the runtime likes among candidates that serve equally well otherwise."""
    assert task.timer is not None
    multiple, time = fastest(candidates, task.timer)
    others = [str(each) for each in candidates if each != multiple]
    note = (
        f"{_rounded(multiple)}: {time:.2f} of the original's time, the fastest, or as good, of "
        f"multiples of {', '.join(map(str, candidates))} ({task.timer.setting})"
    )
    return Allotment(candidates[multiple], (note,) if others else ())


def _allocated(
    graph: Graph, task: Task, budget: Budget, curves: Curves, added: int, multiple: int
) -> dict[str, int]:
    meter = _meter(graph, budget.kind)
    fixed = fixed_cost(graph.cost(), meter, budget.kind)
    total = fixed + meter.total()
    if budget.kind == "params":
        fixed += added
    meter.kept.update(task.counts)
    multiples = {group.name: group.multiple(multiple) for group in graph.groups}
    return allocate(curves, meter, multiples, fixed=fixed, target=budget.share * total)


def _within_latency(graph: Graph, task: Task, share: float, curves: Curves) -> Allotment:
    """Channels go as under a budget of the work, for as long as it takes to be fast enough."""
    assert task.timer is not None
    if share == 1:
        nothing = "a latency of 1 asks for nothing: nothing was timed"
        return Allotment(task.counts, (nothing,), latency=1.0)
    kind = "params" if graph.cost().macs is None else "macs"
    paths = [_path(graph, task, curves, kind, multiple) for multiple in task.multiples]
    found = widest_within(paths, share, task.timer, task.progress)
    notes = tuple(_told(found, share, task, kind))
    return Allotment(found.path.counts(found.step), notes, found.time)


def _path(graph: Graph, task: Task, curves: Curves, kind: str, multiple: int) -> Path:
    """The way down from the original, as far as it goes."""
    meter = _meter(graph, kind)
    fixed = fixed_cost(graph.cost(), meter, kind)
    whole = fixed + meter.total()
    meter.kept.update(task.counts)
    left = fixed + meter.total()
    multiples = {group.name: group.multiple(multiple) for group in graph.groups}
    moves = list(removals(curves, meter, multiples))
    return Path(multiple, task.counts, moves, whole, left)


def _told(found: Found, share: float, task: Task, kind: str) -> Sequence[str]:
    """What a search for a latency came to."""
    assert task.timer is not None
    if found.time <= share < found.wider:
        reached = (
            f"at most {share:g} asked for: met to within one step of one group, without which it "
            f"is {found.wider:.3g}"
        )
    elif found.time <= share:
        reached = f"at most {share:g} asked for"
    else:
        reached = f"where {share:g} was asked for: the times vary too much to come closer"
    timed = f"timed {task.timer.setting}; the narrowest widths take {found.least:.3g}"
    left = 100 * found.path.share(found.step)
    work = "MACs" if kind == "macs" else "parameters"
    widths = f"{left:.0f} % of the {work} kept, {_rounded(found.path.multiple)}"
    if len(task.multiples) > 1:
        widths += ", which leave the least error at this speed"
    return f"latency {found.time:.3g} of the original's, {reached}; {timed}", widths


def _rounded(multiple: int) -> str:
    return "widths of any number" if multiple == 1 else f"widths in multiples of {multiple}"


def _meter(graph: Graph, kind: str) -> Meter:
    return Meter(graph.terms(), {group.name: group.width for group in graph.groups}, kind)
