"""How many channels each group may lose, so that a budget is met at the least error."""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmcore.budgets.exchange import exchanged
from nmcore.budgets.meter import ANY, ROUNDING, Meter, Multiples
from nmcore.errors import ArgumentError, BudgetError
from nmcore.group import Cost, Group
from nmcore.options.amounts import BUDGETS
from nmcore.utils.text import wanted_sizes


@dataclass(frozen=True)
class Budget:
    """What may be left of a model.

    Attributes
    ----------
    kind : str
        Of what, of :data:`nmcore.options.amounts.BUDGETS`.
    share : float
        The share to keep at most, above 0 and up to 1.
    """

    kind: str
    share: float

    @classmethod
    def of(cls, **given: float | None) -> Budget | None:
        """The budget among the options that say how much to remove, or None.

        Raises
        ------
        ArgumentError
            More than one of them is given.

        Examples
        --------
        >>> Budget.of(macs=0.5, ratio=None)
        Budget(kind='macs', share=0.5)
        """
        stated = {name: value for name, value in given.items() if value is not None}
        if len(stated) > 1:
            names = " and ".join(name.replace("_", "-") for name in stated)
            raise ArgumentError(f"{names} were given; only one says how much to remove")
        budgets = [cls(name, share) for name, share in stated.items() if name in BUDGETS]
        return budgets[0] if budgets else None


@dataclass(frozen=True)
class Spent:
    """What became of a budget.

    Attributes
    ----------
    kind : str
        Of what: that of a :class:`Budget`, or ``max-drop``.
    asked, reached : float
        The share to keep at most, and that of the result; for ``max-drop`` percentage points.
    """

    kind: str
    asked: float
    reached: float

    @property
    def met(self) -> bool:
        """Whether the result stays within it."""
        return self.reached <= self.asked * (1 + ROUNDING)

    def to_dict(self) -> dict[str, Any]:
        """Return it with :attr:`met`, for JSON."""
        return asdict(self) | {"met": self.met}


def removals(
    curves: Mapping[str, NDArray[np.float64]], meter: Meter, multiples: Multiples = ANY
) -> Iterator[Move]:
    """Remove channels for as long as there are any, and yield each move once it is made.

    The next channels always come from the group where they add the least error for what they save.

    Parameters
    ----------
    curves : mapping of group name to array, shape (N - 1,)
        The error after removing one, two, ... channels, comparable across groups.
    meter : Meter
        The cost; its widths follow the moves.
    multiples : mapping of group name to int
        Groups that lose channels keep a multiple of their number, or any where it names none.
    """
    errors = {name: np.concatenate([curve[::-1], [0.0]]) for name, curve in curves.items()}
    first = (_move(errors[name], meter, name, multiples) for name in errors)
    queue = [move for move in first if move is not None]
    heapq.heapify(queue)
    while queue:
        queued = heapq.heappop(queue)
        move = _move(errors[queued.name], meter, queued.name, multiples)
        assert move is not None
        if move.price > queued.price:  # what it saves has shrunk since it was queued
            heapq.heappush(queue, move)
            continue
        meter.kept[move.name] = move.kept
        yield move
        following = _move(errors[move.name], meter, move.name, multiples)
        if following is not None:
            heapq.heappush(queue, following)


def allocate(
    curves: Mapping[str, NDArray[np.float64]],
    meter: Meter,
    multiples: Multiples = ANY,
    *,
    fixed: float,
    target: float,
) -> dict[str, int]:
    """Remove channels, as :func:`removals` does, until the cost is at most ``target``.

    The last step may save more than it has to, so what there is room for then comes back. Widths
    of less error in all that cost no more take their place where :func:`exchanged` finds any.

    Parameters
    ----------
    fixed : float
        The cost that no group changes.
    target : float
        The cost to get below.

    Returns
    -------
    dict of group name to kept channels

    Raises
    ------
    BudgetError
        The target cannot be reached even with as few channels as may be in each group.
    """
    most = dict(meter.kept)
    now = start = fixed + meter.total()
    moves = removals(curves, meter, multiples)
    made: dict[str, list[Move]] = defaultdict(list)
    while now > target:
        move = next(moves, None)
        if move is None:
            raise unreachable(target, now, start)
        now -= move.saved
        made[move.name].append(move)
        if now <= target:  # thousands of differences do not add up to the last digit
            now = fixed + meter.total()
    _give_back(made, meter, target - now)
    if any(made.values()):
        exchanged(curves, meter, most, multiples, room=target - fixed)
    return dict(meter.kept)


def unreachable(target: float, least: float, start: float) -> BudgetError:
    """What is said of a budget below what the narrowest widths cost."""
    return BudgetError(
        f"the budget of {target:,.0f} cannot be met: with as few channels as possible in "
        f"every group that may be cut, {least:,.0f} of {start:,.0f} remain"
    )


def _give_back(made: Mapping[str, list[Move]], meter: Meter, room: float) -> None:
    """Undo moves, the last one of a group first, for as long as there is room for any.

    Those come back first that added the most error for what they cost now.
    """
    open_groups = {name for name, moves in made.items() if moves}
    while open_groups:
        fitting = []
        for name in sorted(open_groups):
            move = made[name][-1]
            cost = -meter.saving(name, move.before)
            if cost > room:  # Room only shrinks, and costs grow with what comes back elsewhere.
                open_groups.remove(name)
            else:
                fitting.append((move.added / cost if cost > 0 else math.inf, name, cost))
        if not fitting:
            return
        _, name, cost = max(fitting)
        meter.kept[name] = made[name].pop().before
        room -= cost
        if not made[name]:
            open_groups.remove(name)


class Move(NamedTuple):
    """A step that a group can take next: the error it adds for each unit of cost it saves.

    ``before`` and ``kept`` are how many channels the group has before and afterwards, ``added`` the
    error and ``saved`` the cost by which the whole changes.
    """

    price: float
    name: str
    before: int
    kept: int
    added: float
    saved: float


def _move(error: NDArray[np.float64], meter: Meter, name: str, multiples: Multiples) -> Move | None:
    """The next step of a group whose error with k channels is ``error[k - 1]``, if any."""
    now, multiple = meter.kept[name], multiples.get(name, 1)
    kept = (now - 1) // multiple * multiple
    if kept < 1:
        return None
    saving = meter.saving(name, kept)
    added = float(error[kept - 1] - error[now - 1])
    return Move(added / saving if saving > 0 else math.inf, name, now, kept, added, saving)


def proportional(groups: Sequence[Group]) -> dict[str, NDArray[np.float64]]:
    """Error curves for which every group loses about the same share of its channels.

    They stand in where nothing was measured: convex, and the same function of the share removed.
    """
    shares = {g.name: np.arange(1, g.width) / g.width for g in groups if g.width > 1}
    return {name: np.square(share) for name, share in shares.items()}


def typical(
    groups: Sequence[Group], measured: Sequence[NDArray[np.float64]]
) -> dict[str, NDArray[np.float64]]:
    """Error curves of groups that are not measured: the mean of those that are, by share removed.

    >>> group = Group("inside", 3, ["inside"], ["next"])
    >>> typical([group], [np.array([1.0, 2.0]), np.array([3.0, 6.0])])["inside"].tolist()
    [2.0, 4.0]
    """
    found = proportional(groups)
    curves = [np.concatenate([[0.0], curve]) for curve in measured if len(curve)]
    for group in groups if curves else ():
        shares = np.arange(1, group.width) / group.width
        known = [np.interp(shares, np.arange(len(c)) / len(c), c) for c in curves]
        found[group.name] = np.mean(known, axis=0)
    return found


def counted(cost: Cost, kind: str) -> int:
    """What a model costs of some kind.

    Raises
    ------
    ArgumentError
        Its multiply-accumulates are not known.
    """
    total: int | None = getattr(cost, kind)
    if total is None:
        first = f" at {cost.uncounted[0]}" if cost.uncounted else ""
        ask = wanted_sizes(cost.assumed)
        raise ArgumentError(
            f"the model's multiply-accumulates are unknown, as sizes{first} are: "
            f"{f'{ask}, or' if ask else 'give'} a budget of parameters instead"
        )
    return total


def fixed_cost(cost: Cost, meter: Meter, kind: str) -> float:
    """The part of a model's cost that no group changes; see :func:`counted`."""
    return counted(cost, kind) - meter.total()
