"""Widths that trade one group's channels for another's, which greedy steps cannot.

The errors of the groups add up, and their costs are tied by products: the least error under a
budget is a multiple-choice knapsack problem. Its Lagrangian relaxation (Everett, "Generalized
Lagrange multiplier method", Operations Research 1963) prices cost by a multiplier and lets each
group take the width of the least error plus priced cost, given the widths of the others. It finds
only widths on the lower convex hull of error over cost; trades between two groups find those
between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nmcore.budgets.meter import ROUNDING, Meter, Multiples
from nmcore.group import IntArray

# Multipliers that are tried, and rounds in which groups settle for one of them.
_MULTIPLIERS, _ROUNDS = 24, 6
# A trade that gains a smaller share of a group's error is not worth another round.
_NOTHING = 1e-9


@dataclass(frozen=True, eq=False)
class _Options:
    """What a group may keep.

    Attributes
    ----------
    widths : int array, shape (n,)
        Channels, ascending.
    errors : float array, shape (n,)
        The error with so many.
    """

    widths: IntArray
    errors: NDArray[np.float64]

    def error(self, width: int) -> float:
        """The error with so many channels."""
        return float(self.errors[np.searchsorted(self.widths, width)])

    def added(self, before: int, width: int) -> float:
        """The error that going from one width to another adds."""
        return self.error(width) - self.error(before)


def options(curve: NDArray[np.float64], kept: int, multiple: int) -> _Options:
    """The widths that a group may have: as many channels as now, or fewer that are a multiple.

    >>> found = options(np.array([1.0, 2.0, 5.0, 9.0]), kept=5, multiple=2)
    >>> found.widths, found.errors
    (array([2, 4, 5]), array([5., 1., 0.]))
    """
    error = np.concatenate([curve[::-1], [0.0]])
    widths = np.unique([*range(multiple, kept, multiple), kept])
    return _Options(widths, error[widths - 1])


def exchanged(
    curves: Mapping[str, NDArray[np.float64]],
    meter: Meter,
    most: Mapping[str, int],
    multiples: Multiples,
    *,
    room: float,
) -> None:
    """Change the widths of a meter to others of less error in all, where there are any.

    Parameters
    ----------
    curves : mapping of group name to array, shape (N - 1,)
        The error after removing one, two, ... channels.
    meter : Meter
        Its widths meet the budget, and do so afterwards.
    most : mapping of group name to int
        How many channels each group may keep.
    multiples : mapping of group name to int
        What the number of channels is a multiple of, for groups that lose any.
    room : float
        The cost of all groups together that must not be exceeded.

    Examples
    --------
    Greedy steps empty one group, as its first channels are cheap:

    >>> from nmcore.group import Term
    >>> meter = Meter([Term(12, 0, ("a", "b"))], {"a": 4, "b": 3}, "macs")
    >>> meter.kept.update(a=1)
    >>> curves = {"a": np.array([0.1, 0.4, 3.0]), "b": np.array([0.5, 2.0])}
    >>> exchanged(curves, meter, {"a": 4, "b": 3}, {}, room=5.0)
    >>> meter.kept
    {'a': 2, 'b': 2}
    """
    choices = {
        name: options(curve, most[name], multiples.get(name, 1))
        for name, curve in sorted(curves.items())
        if most[name] > 1
    }
    greedy, least = dict(meter.kept), _total(choices, meter)
    within, cheap, dear = greedy, 0.0, _dearest(choices, meter)
    for number in range(_MULTIPLIERS):
        price = np.sqrt(dear * cheap) if cheap else dear / 10**number
        _settle(choices, meter, price)
        if meter.total() > room * (1 + ROUNDING):
            cheap = price
        else:
            within, dear = dict(meter.kept), price
    meter.kept.update(within)
    _fill(choices, meter, room)
    if _total(choices, meter) >= least:
        meter.kept.update(greedy)
    _trade(choices, meter, room)


def _total(choices: Mapping[str, _Options], meter: Meter) -> float:
    return sum(each.error(meter.kept[name]) for name, each in choices.items())


def _dearest(choices: Mapping[str, _Options], meter: Meter) -> float:
    """A multiplier at which cost outweighs every error."""
    total = sum(float(each.errors.max()) for each in choices.values())
    saved = [
        cost
        for name, each in choices.items()
        if len(each.widths) > 1
        and (cost := float(np.diff(meter.costs(name, each.widths)).min())) > 0
    ]
    return max(total, 1.0) / min(saved, default=1.0)


def _settle(choices: Mapping[str, _Options], meter: Meter, price: float) -> None:
    """Let each group take its best width, until none changes."""
    for _ in range(_ROUNDS):
        before = dict(meter.kept)
        for name, each in choices.items():
            priced = each.errors + price * meter.costs(name, each.widths)
            # The widest of those that are as good.
            meter.kept[name] = int(each.widths[np.flatnonzero(priced <= priced.min())[-1]])
        if meter.kept == before:
            return


def _fill(choices: Mapping[str, _Options], meter: Meter, room: float) -> None:
    """Widen groups while there is room, first where it takes the most error for its cost."""
    while True:
        left = room * (1 + ROUNDING) - meter.total()
        best, found = 0.0, None
        for name, each in choices.items():
            wider = each.widths > meter.kept[name]
            cost = meter.costs(name, each.widths[wider]) - meter.costs(
                name, np.array([meter.kept[name]])
            )
            fits = cost <= left
            if not fits.any():
                continue
            saved = each.error(meter.kept[name]) - each.errors[wider][fits]
            gain = saved / np.maximum(cost[fits], room * ROUNDING)
            if gain.max() > best:
                best, found = (
                    float(gain.max()),
                    (name, int(each.widths[wider][fits][gain.argmax()])),
                )
        if found is None:
            return
        meter.kept[found[0]] = found[1]


def _trade(choices: Mapping[str, _Options], meter: Meter, room: float) -> None:
    """Widen one group and narrow another for as long as that lowers the error of all."""
    for _ in range(_ROUNDS):
        traded = [_traded(choices, meter, room, name) for name in choices]
        if not any(traded):
            return
        _fill(choices, meter, room)


def _traded(choices: Mapping[str, _Options], meter: Meter, room: float, name: str) -> bool:
    """Make the best trade that widens a group, and say whether there is any."""
    each, before = choices[name], meter.kept[name]
    now = int(np.searchsorted(each.widths, before))
    best, found = _NOTHING * float(each.errors[now]), {name: before}
    for step in _doubling(now, len(each.widths) - 1):
        gain = float(each.errors[now] - each.errors[step])
        meter.kept[name] = int(each.widths[step])
        missing = meter.total() - room * (1 + ROUNDING)
        for other in choices:
            if other == name:
                continue
            width = _narrower(choices[other], meter, other, missing, gain - best)
            if width is not None:
                best = gain - choices[other].added(meter.kept[other], width)
                found = {name: meter.kept[name], other: width}
    meter.kept[name] = before
    meter.kept.update(found)
    return len(found) > 1


def _doubling(first: int, last: int) -> Sequence[int]:
    """One, two, four, ... after the first, up to the last."""
    return [first + 2**each for each in range((last - first).bit_length())]


def _narrower(each: _Options, meter: Meter, name: str, missing: float, most: float) -> int | None:
    """The width of a group that saves what is missing and adds less error than so much, if any."""
    now = meter.kept[name]
    place = int(np.searchsorted(each.widths, now))
    # Costs are looked up last, as they take the time.
    if not place or each.errors[place - 1] - each.errors[place] >= most:
        return None
    costs = meter.costs(name, each.widths[: place + 1])
    enough = np.flatnonzero(costs[-1] - costs[:-1] >= missing)
    if not len(enough) or each.errors[enough[-1]] - each.errors[place] >= most:
        return None
    return int(each.widths[enough[-1]])
