"""What is wanted of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace

import numpy as np

from nmcore.budgets.allocation import Budget
from nmcore.budgets.allotment import Choices
from nmcore.evaluation.timer import Timer
from nmcore.group import Group, IntArray
from nmcore.options.methods import RECONSTRUCTION
from nmcore.options.options import MethodOptions
from nmcore.plan.plan import UNTOUCHED, GroupPlan
from nmcore.utils.progress import Progress, silent


@dataclass(frozen=True, eq=False)
class Task:
    """What is wanted of a model.

    Attributes
    ----------
    counts : mapping of group name to int
        Channels to keep, where no budget decides.
    free : frozenset of str
        The groups that a budget may cut.
    budget : Budget or None
        What may be left of the whole model.
    options : MethodOptions
        How channels are chosen and made up for.
    progress : callable
        Wraps the iteration over groups.
    multiples : tuple of int
        Groups that a budget cuts keep a multiple of one of these numbers of channels: of the one
        that suits the runtime, as a timer tells, else of the first with which it can be met.
    timer : Timer or None
        Tells how long the model takes at other widths, where that matters.
    planned : mapping of group name to GroupPlan
        Which channels groups keep, where a plan says so; ``counts`` says how many.
    executor : concurrent.futures.Executor or None
        Solves groups that do not depend on one another; None solves one after the other here.
    proves : bool
        Whether the result is to be proven, for which every Z is held until the end.
    fits_blocks : bool
        Whether residual blocks may be fitted together, which takes as long as all else.
    """

    counts: Mapping[str, int]
    free: frozenset[str]
    budget: Budget | None
    options: MethodOptions
    progress: Progress = silent
    multiples: tuple[int, ...] = (1,)
    timer: Timer | None = None
    planned: Mapping[str, GroupPlan] = field(default_factory=dict)
    executor: Executor | None = None
    proves: bool = False
    fits_blocks: bool = True

    @property
    def choices(self) -> Choices:
        """What a budget may choose among."""
        return Choices(self.counts, self.multiples, self.timer, self.progress)

    def kept(self, group: Group) -> IntArray | None:
        """The channels that a plan keeps of a group; None where they are to be chosen."""
        plan = self.planned.get(group.name)
        return None if plan is None else np.array(plan.kept, np.intp)

    def options_for(self, group: Group) -> MethodOptions:
        """The options, with the method that a plan states for a group."""
        plan = self.planned.get(group.name)
        if plan is None or plan.method in ("", UNTOUCHED):
            return self.options
        return replace(self.options, method=plan.method)

    def refits(self, group: Group) -> bool:
        """Whether what reads a group may be refitted, as far as a plan says."""
        return self.options_for(group).method in ("auto", RECONSTRUCTION)

    def removes(self, groups: Sequence[Group]) -> bool:
        """Whether any channel of any group may go."""
        return any(
            self.budget is not None or self.counts.get(group.name, group.width) < group.width
            for group in groups
        )
