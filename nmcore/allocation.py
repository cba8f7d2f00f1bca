"""How many channels each group may lose, so that a budget is met at the least error."""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmcore.errors import ArgumentError
from nmcore.group import Cost, Group, Term

if TYPE_CHECKING:
    from nmcore.plan import Task
    from nmcore.plugins import Graph


@dataclass(frozen=True)
class Budget:
    """What may be left of a model.

    Attributes
    ----------
    macs, params : float or None
        The share of the multiply-accumulates or of the parameters to keep at most, above 0 and up
        to 1. Give one of them.
    """

    macs: float | None = None
    params: float | None = None

    def __post_init__(self) -> None:
        for name, share in (("macs", self.macs), ("params", self.params)):
            if share is not None and not 0 < share <= 1:
                raise ArgumentError(f"{name} is {share}; it must be above 0 and at most 1")

    @classmethod
    def of(cls, macs: float | None, params: float | None, ratio: float | None) -> Budget | None:
        """The budget that a user gave, or None.

        Raises
        ------
        ArgumentError
            More than one of them is given, or a share is out of range.
        """
        given = [
            name
            for name, x in (("macs", macs), ("params", params), ("ratio", ratio))
            if x is not None
        ]
        if len(given) > 1:
            raise ArgumentError(
                f"{' and '.join(given)} were given; only one says how much to remove"
            )
        return None if macs is None and params is None else cls(macs, params)

    @property
    def kind(self) -> str:
        """Which of the two it is."""
        return "params" if self.macs is None else "macs"

    @property
    def share(self) -> float:
        """The share to keep."""
        share = self.params if self.macs is None else self.macs
        assert share is not None
        return share


class Meter:
    """The cost of a model for any widths of its groups, kept up to date as they shrink."""

    def __init__(self, terms: Sequence[Term], widths: Mapping[str, int], kind: str) -> None:
        self._sizes = [term.macs if kind == "macs" else term.params for term in terms]
        self._groups = [term.groups for term in terms]
        self._of: dict[str, list[int]] = defaultdict(list)
        for number, term in enumerate(terms):
            for name in term.groups:
                self._of[name].append(number)
        self._widths = dict(widths)
        self.kept = dict(widths)

    def total(self) -> float:
        """The cost of all terms."""
        return sum(self._term(number) for number in range(len(self._sizes)))

    def saving(self, name: str) -> float:
        """What one channel less in a group saves."""
        return sum(self._term(number) for number in self._of[name]) / self.kept[name]

    def _term(self, number: int) -> float:
        shares = (self.kept[name] / self._widths[name] for name in self._groups[number])
        return self._sizes[number] * math.prod(shares)


def allocate(
    curves: Mapping[str, NDArray[np.float64]],
    meter: Meter,
    *,
    fixed: float,
    target: float,
    multiple: int = 1,
) -> dict[str, int]:
    """Remove channels until the cost is at most ``target``.

    The next channels always come from the group where they add the least error for what they save.

    Parameters
    ----------
    curves : mapping of group name to array, shape (N - 1,)
        The error after removing one, two, ... channels, comparable across groups.
    meter : Meter
        The cost; its widths are changed.
    fixed : float
        The cost that no group changes.
    target : float
        The cost to get below.
    multiple : int
        Groups that lose channels keep a multiple of this number.

    Returns
    -------
    dict of group name to kept channels

    Raises
    ------
    ArgumentError
        The target cannot be reached even with as few channels as may be in each group.
    """
    errors = {name: np.concatenate([curve[::-1], [0.0]]) for name, curve in curves.items()}
    now = start = fixed + meter.total()
    first = (_move(errors[name], meter, name, multiple) for name in errors)
    queue = [move for move in first if move is not None]
    heapq.heapify(queue)
    while now > target:
        if not queue:
            raise ArgumentError(
                f"the budget of {target:,.0f} cannot be met: with as few channels as possible in "
                f"every group that may be cut, {now:,.0f} of {start:,.0f} remain"
            )
        queued = heapq.heappop(queue)
        name = queued.name
        move = _move(errors[name], meter, name, multiple)
        assert move is not None
        if move.price > queued.price:  # what it saves has shrunk since it was queued
            heapq.heappush(queue, move)
            continue
        now -= meter.saving(name) * (meter.kept[name] - move.kept)
        meter.kept[name] = move.kept
        following = _move(errors[name], meter, name, multiple)
        if following is not None:
            heapq.heappush(queue, following)
    return dict(meter.kept)


class Move(NamedTuple):
    """A step that a group can take next: the error it adds for each unit of cost it saves."""

    price: float
    name: str
    kept: int


def _move(error: NDArray[np.float64], meter: Meter, name: str, multiple: int) -> Move | None:
    """The next step of a group whose error with k channels is ``error[k - 1]``, if any."""
    now = meter.kept[name]
    kept = (now - 1) // multiple * multiple
    if kept < 1:
        return None
    saving = meter.saving(name) * (now - kept)
    added = float(error[kept - 1] - error[now - 1])
    return Move(added / saving if saving > 0 else math.inf, name, kept)


def meet(
    graph: Graph, task: Task, curves: Mapping[str, NDArray[np.float64]], *, added: int = 0
) -> dict[str, int]:
    """The channels that each group of a graph keeps under the task's budget, or as counted.

    Parameters
    ----------
    curves : mapping of group name to array, shape (N - 1,)
        The error after removing one, two, ... channels of the groups that may be cut.
    added : int
        Parameters that the method will add.
    """
    counts = dict(task.counts)
    budget = task.budget
    if budget is None:
        return counts
    widths = {group.name: group.width for group in graph.groups}
    meter = Meter(graph.terms(), widths, budget.kind)
    fixed = fixed_cost(graph.cost(), meter, budget.kind)
    total = fixed + meter.total()
    if budget.kind == "params":
        fixed += added
    meter.kept.update(counts)
    return allocate(curves, meter, fixed=fixed, target=budget.share * total, multiple=task.multiple)


def proportional(groups: Sequence[Group]) -> dict[str, NDArray[np.float64]]:
    """Error curves for which every group loses about the same share of its channels.

    They stand in where nothing was measured: convex, and the same function of the share removed.
    """
    shares = {g.name: np.arange(1, g.width) / g.width for g in groups if g.width > 1}
    return {name: np.square(share) for name, share in shares.items()}


def fixed_cost(cost: Cost, meter: Meter, kind: str) -> float:
    """The part of a model's cost that no group changes.

    Raises
    ------
    ArgumentError
        The multiply-accumulates of the model are not known.
    """
    total = cost.macs if kind == "macs" else cost.params
    if total is None:
        first = f" at {cost.uncounted[0]}" if cost.uncounted else ""
        raise ArgumentError(
            f"the model's multiply-accumulates are unknown, as sizes{first} are; "
            "give a budget of parameters instead"
        )
    return total - meter.total()
