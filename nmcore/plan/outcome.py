"""What was done to a group."""

from __future__ import annotations

from dataclasses import dataclass

from nmcore.arrays.elimination import Curve
from nmcore.group import Group, Narrowing, Scaling
from nmcore.plan.plan import UNTOUCHED, GroupPlan
from nmcore.plan.summaries import ScalingSummary


@dataclass(frozen=True, eq=False)
class Outcome:
    """What was done to one group.

    Attributes
    ----------
    plan : GroupPlan
        What was decided.
    merged : int
        How many removed channels are made up for by kept ones.
    scaling : Scaling or None
        The Z that was absorbed, where there is one; not where it is dense and of megabytes, unless
        something is to be proven with it.
    summary : ScalingSummary or None
        What a report shows of such a one.
    curve : Curve or None
        The error as channels went, where it was measured.
    narrowing : Narrowing or None
        The maps of the heads, where it is channels inside them that went.
    """

    plan: GroupPlan
    merged: int
    scaling: Scaling | None = None
    curve: Curve | None = None
    summary: ScalingSummary | None = None
    narrowing: Narrowing | None = None

    @property
    def left_out(self) -> int:
        """How many removed channels nothing makes up for."""
        return self.plan.width - len(self.plan.kept) - self.merged


def untouched(group: Group) -> Outcome:
    """The outcome of a group that keeps everything."""
    kept = tuple(range(group.width))
    return Outcome(GroupPlan(group.name, group.width, kept, UNTOUCHED, "all channels kept"), 0)
