"""Many to one, from second moments: choose channels by error and refit what reads them.

Consumers are walked in topological order, each on the network compressed so far. Where all that
read a group stand at one place its channels are chosen there, by the error that they leave in all
of its consumers; those of others, such as residual streams, are chosen before on the original.
Weights are fitted by least squares to what the *original* network gives at that place, so later
ones make up for what earlier ones lost.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nmcore.arrays.elimination import Curve, eliminate
from nmcore.calibration.calibration_set import CalibrationSet
from nmcore.compression.carrier import Carrier
from nmcore.compression.consumer_fit import (
    folded,
    selection_problem,
    solved_refit,
    variance,
)
from nmcore.compression.curves import Curves
from nmcore.compression.moments import Measured, Sums, average
from nmcore.compression.shrinkage import Shrinkage
from nmcore.group import Group, IntArray, Reading, Refit, ScorePair
from nmcore.options.methods import RECONSTRUCTION
from nmcore.plan.outcome import Outcome
from nmcore.plan.plan import GroupPlan
from nmcore.plugins import capabilities, protocols
from nmcore.utils.progress import Progress, silent

# A consumer with more features than this needs gigabytes and minutes.
MAX_FEATURES = 6_000


@dataclass(frozen=True, eq=False)
class Choice:
    """How many channels of a group stay, and which ones, where that is known before the walk.

    Attributes
    ----------
    count : int
        How many stay.
    kept : int array, shape (count,), or None
        Which ones.
    reason : str
        Why these.
    """

    count: int
    kept: IntArray | None = None
    reason: str = "chosen as asked; the next layer refitted"


# A new weight of a consumer, and which consumer it is of: the name of a group and a number.
Solved = tuple[str, int, Refit]


@dataclass(eq=False)
class Reconstruction:
    """The walk over a model's groups.

    Attributes
    ----------
    graph : Measurable
        What is compressed.
    runtime : RuntimeBackend
        What runs the calibration.
    calibration : CalibrationSet
        What the network is shown.
    providers : sequence of str
        Where probes run.
    waiting : sequence of ScorePair
        The heads that are still to become narrower; the walk is not carried past them.
    """

    graph: protocols.Measurable
    runtime: protocols.RuntimeBackend
    calibration: CalibrationSet
    providers: Sequence[str] = ("auto",)
    waiting: Sequence[ScorePair] = ()

    @cached_property
    def _shrinkage(self) -> Shrinkage:
        return Shrinkage(self.graph, self.calibration.synthetic_share)

    def prepare(self) -> None:
        """Leave padding out; give batch norms the statistics of synthetic inputs, which have others
        than real ones.
        """
        if self.calibration.mask is not None and isinstance(self.graph, capabilities.Maskable):
            self.graph.set_mask(self.calibration.mask)
        model = None if self.calibration.real else self.graph.norm_probe()
        if model is not None:
            session, batches = self.session(model), self.calibration.batches
            self.graph.set_norms(average(session, batches, divisible=self.calibration.any_length))

    def new_biases(self, group: Group) -> int:
        """How many numbers refitting adds to consumers that have no bias yet."""
        return sum(len(c.weight) for c in self.graph.consumers(group) if c.bias is None)

    def fits(self, group: Group) -> bool:
        """Whether the group can be measured, and its moments are of a manageable size."""
        return not group.unmeasured and all(
            c.features <= MAX_FEATURES for c in self.graph.consumers(group)
        )

    def why_not(self, group: Group) -> str:
        """Why a group's moments are not formed; empty where they can be."""
        if group.unmeasured:
            return group.unmeasured
        return "" if self.fits(group) else f"more than {MAX_FEATURES} features"

    def steps(self, groups: Sequence[Group]) -> list[list[Reading]]:
        """The readings of some groups in topological order, those that are measured at once in a
        list.
        """
        names = {group.name for group in groups}
        chosen = [r for r in self.graph.readings() if r.group in names]
        steps: list[list[Reading]] = []
        for reading in chosen:
            before = steps[-1][-1] if steps else None
            if before is not None and (before.group, before.source) == (
                reading.group,
                reading.source,
            ):
                steps[-1].append(reading)
            else:
                steps.append([reading])
        return steps

    def decided_before(
        self,
        groups: Sequence[Group],
        choices: Mapping[str, Choice],
        curves: Mapping[str, Curve],
        progress: Progress = silent,
    ) -> tuple[dict[str, Choice], dict[str, Curve]]:
        """The channels of groups that are read at several places, by their error in the original.

        To measure all these places with what the walk has changed would take one more run of both
        networks for each group.

        Parameters
        ----------
        groups : sequence of Group
            Those that the walk is to cut.
        choices, curves : mapping of group name to Choice, to Curve
            What is known of them already.

        Returns
        -------
        choices, curves : dict
            Of those groups alone that were not decided.
        """
        places = Counter(name for step in self.steps(groups) for name in {r.group for r in step})
        several = [g for g in groups if places[g.name] > 1 and choices[g.name].kept is None]
        found = {g.name: curves[g.name] for g in several if g.name in curves}
        missing = [group for group in several if group.name not in found]
        found |= self.curves.of(missing, progress) if missing else {}
        return {
            group.name: Choice(
                choices[group.name].count,
                found[group.name].kept(choices[group.name].count),
                "chosen by error in the original, each layer that reads them refitted",
            )
            for group in several
        }, found

    def choose(
        self,
        step: Sequence[Reading],
        later: Sequence[Reading],
        choices: Mapping[str, Choice],
    ) -> list[Outcome]:
        """Measure the readings of a step; choose the channels of groups that come up for the first
        time, and refit what reads the others.

        Parameters
        ----------
        step, later : sequence of Reading
            Those of this step, and of all that follow.
        choices : mapping of group name to Choice
            The groups that have not been decided yet.
        """
        groups = {group.name: group for group in self.graph.groups}
        of_group: dict[str, list[Reading]] = defaultdict(list)
        for reading in step:
            of_group[reading.group].append(reading)
        fresh = list(dict.fromkeys(r.group for r in step if r.group in choices))
        again = [r for r in step if r.group not in choices]
        needed = [r for name in fresh for r in of_group[name]]
        # Layers of this step are about to change; the original can go on to what follows.
        goes_on = bool(later or self.waiting)
        cuts = (self._cut([*step, *later]), self._cut(later)) if goes_on else ()
        sums = iter(self._runs.sums([*needed, *again], *cuts))
        solved: list[Solved] = []
        outcomes = []
        for name in fresh:
            readings = of_group[name]
            outcomes.append(self._reduce(groups[name], readings, choices[name], sums, solved))
        for reading in again:
            consumer = self.graph.consumer(reading)
            kept = np.arange(consumer.weight.shape[1])
            found = next(sums)
            change = solved_refit(consumer, found.fitted.measured(), kept, found.judges())
            solved.append((reading.group, reading.index, change))
        # Nothing changes before all is solved, and no channel goes before all are updated: both
        # would change what was measured.
        for name, index, change in solved:
            self.graph.update(groups[name], index, change)
        for outcome in outcomes:
            self.graph.remove(groups[outcome.plan.name], np.array(outcome.plan.kept))
        return outcomes

    def _reduce(
        self,
        group: Group,
        readings: Sequence[Reading],
        choice: Choice,
        sums: Iterator[Measured],
        solved: list[Solved],
    ) -> Outcome:
        """Choose the channels of a group and refit the consumers that were measured.

        Without a choice of channels those stay that leave the least error.
        """
        consumers = [self.graph.consumer(reading) for reading in readings]
        measured = [next(sums) for _ in consumers]
        found = [each.fitted.measured() for each in measured]
        reason, kept = choice.reason, choice.kept
        curve = None
        if kept is None:
            reason = "chosen by error, the next layer refitted after each removal"
            shown = [
                self._shrinkage(moments, consumer, reading)
                for moments, consumer, reading in zip(found, consumers, readings, strict=True)
            ]
            problems = [
                selection_problem(c, m, variance([c], [m]) or 1.0)
                for c, m in zip(consumers, shown, strict=True)
            ]
            order, error = eliminate(problems, choice.count)
            curve = Curve(order, error / len(problems), original=False)
            kept = np.delete(np.arange(group.width), order)
        for reading, consumer, moments, each in zip(
            readings, consumers, found, measured, strict=True
        ):
            change = solved_refit(consumer, moments, kept, each.judges())
            solved.append((group.name, reading.index, change))
        # Others are refitted at their own place, and drawn there to what stands in for what goes.
        here = {reading.index for reading in readings}
        for index, consumer in enumerate(self.graph.consumers(group)):
            if index not in here:
                change = folded(consumer, consumers[0], found[0], kept)
                solved.append((group.name, index, change))
        plan = GroupPlan(group.name, group.width, tuple(map(int, kept)), RECONSTRUCTION, reason)
        return Outcome(plan, group.width - len(kept), curve=curve)

    def end(self) -> None:
        """Give up what has been carried."""
        self._runs.clear()

    def _cut(self, ahead: Sequence[Reading]) -> Sequence[protocols.Carried] | None:
        """What is live where the walk goes on: just before the first of some readings."""
        if self.waiting and isinstance(self.graph, capabilities.Narrowable):
            return self.graph.cut(ahead, self.waiting)
        return self.graph.cut(ahead)

    def score_sums(self, pairs: Sequence[ScorePair]) -> list[Sums]:
        """The sums over queries and keys of each pair, as they are where the walk stands."""
        return self._runs.score_sums(pairs)

    @cached_property
    def _runs(self) -> Carrier:
        return Carrier(self.graph, self.calibration, self.session, targets=True)

    @cached_property
    def curves(self) -> Curves:
        """Measures groups before the walk begins."""
        return Curves(self.graph, self.calibration, self.session)

    def session(self, model: bytes) -> protocols.Session:
        """Load a probe."""
        return self.runtime.session(model, providers=self.providers)
