"""Many to one, from second moments: choose channels by error and refit what reads them.

Consumers are walked in topological order, each on the network compressed so far. At the first one
of a group its channels are chosen, by the error that they leave in all of its consumers. Weights
are fitted by least squares to what the *original* network gives at that place, so later ones make
up for what earlier ones lost.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nmcore.arrays.elimination import Curve, Problem, eliminate
from nmcore.calibration.calibration_set import CalibrationSet
from nmcore.compression.consumer_fit import selection_problem, solved_refit, variance
from nmcore.compression.moments import (
    ALONE,
    WITH_SUM,
    WITH_TARGETS,
    Measured,
    Moments,
    Sums,
    add_outputs,
    average,
    collect,
)
from nmcore.compression.output_error import Trial, late_heavier, scales, trial
from nmcore.compression.shrinkage import Shrinkage
from nmcore.compression.stream import Batch, Stream
from nmcore.compression.trial_runs import Tried
from nmcore.data.batches import length_of
from nmcore.errors import ModelError, OutOfMemoryError
from nmcore.group import Consumer, Group, IntArray, Reading, Refit, ScorePair
from nmcore.options.methods import RECONSTRUCTION
from nmcore.plan.outcome import Outcome
from nmcore.plan.plan import GroupPlan
from nmcore.plugins import capabilities, protocols
from nmcore.utils.logs import step
from nmcore.utils.progress import Progress, silent

# Rows that each set of moments is summed over at most; more change little and cost time.
MAX_ROWS = 40_000
# A consumer with more features than this needs gigabytes and minutes.
MAX_FEATURES = 6_000
# Numbers in the unfolded input of a consumer that one run makes; it takes a few times as many.
_RUN_NUMBERS = 2**25
# Numbers in the moments of one probe, so that its outputs take a bounded amount of memory.
PROBE_NUMBERS = 2**26


@dataclass(frozen=True, eq=False)
class Choice:
    """How many channels of a group stay, and which ones, where that was asked for."""

    count: int
    kept: IntArray | None = None


# A new weight of a consumer, and which consumer it is of.
Solved = tuple[Reading, Refit]


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
    def _batches(self) -> list[Batch]:
        """All inputs in batches that the heaviest consumer allows."""
        heaviest = max(map(self.graph.unfolded_numbers, self.graph.readings()), default=1)
        return self._divided(max(1, _RUN_NUMBERS // max(1, heaviest)))

    def _divided(self, most: int) -> list[Batch]:
        return [
            Batch(feeds, unseen)
            for unseen in (False, True)
            for feeds in self.calibration.in_batches_of(most, unseen=unseen)
        ]

    @cached_property
    def _shrinkage(self) -> Shrinkage:
        return Shrinkage(self.graph, self.calibration.real)

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

    def curves(self, groups: Iterable[Group], progress: Progress = silent) -> dict[str, Curve]:
        """The error curve of every group on the uncompressed network."""
        return {tried.group.name: curve for curve, tried in self._tried(groups, progress)}

    def priced_curves(
        self, groups: Sequence[Group], others: Sequence[Tried] = (), progress: Progress = silent
    ) -> tuple[dict[str, Curve], dict[str, float]]:
        """The error curves of groups, and how much errors count at the outputs, those of ``others``
        included; see :func:`nmcore.compression.output_error.scales`.
        """
        tried = list(self._tried(groups, progress))
        trials = [*(each for curve, each in tried if len(curve.order)), *others]
        with step("measuring what errors do to the outputs"):
            found = scales(self.graph, trials, self.calibration, self.session, progress)
        pairs = [each.group.name for each in others]
        found = late_heavier(found, self.graph.readings(), pairs, real=self.calibration.real)
        return {each.group.name: curve for curve, each in tried}, found

    def _tried(self, groups: Iterable[Group], progress: Progress) -> Iterator[tuple[Curve, Trial]]:
        """The curve of each group, and a part of it removed."""
        readings = self._readings()
        for chunk in self._chunks(groups):
            needed = [r for g in chunk for r in readings[g.name]]
            sums = self._sums(needed, progress)
            sums.reverse()
            for group in progress("ordering channels", chunk):
                consumers = self.graph.consumers(group)
                seen, problems = [], []
                for consumer, reading in zip(consumers, readings[group.name], strict=True):
                    # Taken off, so that their memory is free again.
                    moments, setup = self._curve_problem(consumer, reading, sums.pop())
                    seen.append(moments)
                    problems.append(setup)
                curve = Curve(*eliminate(problems, 1))
                yield curve, trial(group, consumers, seen, curve)

    def seen(
        self, groups: Iterable[Group]
    ) -> Iterator[tuple[Group, Sequence[Consumer], Sequence[Moments]]]:
        """Groups, their consumers, and what each of these reads in the uncompressed network."""
        readings = self._readings()
        for chunk in self._chunks(groups):
            sums = iter(self._sums([r for group in chunk for r in readings[group.name]]))
            for group in chunk:
                consumers = self.graph.consumers(group)
                pairs = zip(consumers, readings[group.name], strict=True)
                found = [
                    self._shrinkage(next(sums).moments_of(c.matrix(), c.offsets()), c, reading)
                    for c, reading in pairs
                ]
                yield group, consumers, found

    def _readings(self) -> dict[str, list[Reading]]:
        """The readings of each group, in the order of its consumers."""
        found: dict[str, list[Reading]] = defaultdict(list)
        for reading in self.graph.readings():
            found[reading.group].append(reading)
        return {name: sorted(each, key=lambda r: r.index) for name, each in found.items()}

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
        of_group = self._readings()
        fresh = list(dict.fromkeys(r.group for r in step if r.group in choices))
        again = [r for r in step if r.group not in choices]
        needed = [r for name in fresh for r in of_group[name]]
        sums = iter(self._carried_sums([*needed, *again], [*step, *later]))
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
            solved.append((reading, change))
        # Nothing changes before all is solved, and no channel goes before all are updated: both
        # would change what was measured.
        for reading, change in solved:
            self.graph.update(groups[reading.group], reading.index, change)
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
        """Choose the channels of a group and refit its consumers.

        Without a choice of channels those stay that leave the least error.
        """
        consumers = self.graph.consumers(group)
        measured = [next(sums) for _ in consumers]
        found = [each.fitted.measured() for each in measured]
        reason, kept = "chosen as asked; the next layer refitted", choice.kept
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
            solved.append((reading, solved_refit(consumer, moments, kept, each.judges())))
        plan = GroupPlan(group.name, group.width, tuple(map(int, kept)), RECONSTRUCTION, reason)
        return Outcome(plan, group.width - len(kept), curve=curve)

    def _curve_problem(
        self, consumer: Consumer, reading: Reading, sums: Sums
    ) -> tuple[Moments, Problem]:
        """The moments of one consumer of the original, and its elimination, in units of what it
        feeds.
        """
        seen = sums.moments_of(consumer.matrix(), consumer.offsets())
        moments = self._shrinkage(seen, consumer, reading)
        unit = variance([consumer], [moments])
        if consumer.feeds_sum:
            own = unit - variance([consumer], [seen])
            unit = sums.stream_variance() + own
        return seen, selection_problem(consumer, moments, unit=unit or 1.0)

    def _chunks(self, groups: Iterable[Group]) -> Iterator[list[Group]]:
        """Groups in runs whose moments fit into memory together."""
        chunk: list[Group] = []
        size = 0
        for group in groups:
            needed = sum(c.features**2 for c in self.graph.consumers(group))
            if chunk and size + needed > PROBE_NUMBERS:
                yield chunk
                chunk, size = [], 0
            chunk.append(group)
            size += needed
        if chunk:
            yield chunk

    def _sums(self, readings: Sequence[Reading], progress: Progress = silent) -> list[Sums]:
        """The sums of several readings without targets, in as many probes as memory wants."""
        parts = self._in_parts(readings)
        return [each for part in parts for each in self._probe(part, progress)]

    def _in_parts(self, readings: Sequence[Reading]) -> Iterator[list[Reading]]:
        """Readings whose moments fit into memory together."""
        part: list[Reading] = []
        size = 0
        for reading in readings:
            needed = self.graph.consumer(reading).features ** 2
            if part and size + needed > PROBE_NUMBERS:
                yield part
                part, size = [], 0
            part.append(reading)
            size += needed
        yield part

    def _carried_sums(
        self, readings: Sequence[Reading], ahead: Sequence[Reading]
    ) -> list[Measured]:
        """The sums of several readings with targets, beginning where the last step stood.

        Parameters
        ----------
        ahead : sequence of Reading
            What is still to be refitted; the walk goes on to just before the first of them.
        """
        parts = list(self._in_parts(readings))
        while True:
            cut = self._cut(ahead) or ()
            try:
                return [
                    each
                    for number, part in enumerate(parts)
                    for each in self._carry(part, cut if number == len(parts) - 1 else ())
                ]
            except OutOfMemoryError:
                # Carried values belong to the batches that they were computed in.
                self._stream.clear()
                longest = max(length_of(batch.feeds) for batch in self._batches)
                if longest == 1 or not self.calibration.any_length:
                    raise
                self._batches = self._divided((longest + 1) // 2)

    def _cut(self, ahead: Sequence[Reading]) -> Sequence[protocols.Carried] | None:
        """What is live where the walk goes on."""
        if self.waiting and isinstance(self.graph, capabilities.Narrowable):
            return self.graph.cut(ahead, self.waiting)
        return self.graph.cut(ahead)

    def score_sums(self, pairs: Sequence[ScorePair]) -> list[Sums]:
        """The sums over queries and keys of each pair, as they are where the walk stands."""
        assert isinstance(self.graph, capabilities.Narrowable)
        model = self.graph.score_probe(
            pairs, rows=MAX_ROWS, samples=self.calibration.count, start=self._stream.start
        )
        session = self.session(model)
        needed = {spec.name for spec in session.inputs}
        found = [Sums() for _ in pairs for _ in range(2)]
        for number, (feeds, unseen) in enumerate(self._batches):
            if not unseen:
                given = {**feeds, **self._stream.feeds(number)}
                outputs = session.run({name: given[name] for name in given if name in needed})
                add_outputs(found, outputs, [ALONE] * len(found))
        if not all(each.is_finite for each in found):
            names = ", ".join(repr(pair.name) for pair in pairs)
            raise ModelError(f"queries or keys of {names} hold NaN or infinity on these inputs")
        return found

    def _carry(
        self, readings: Sequence[Reading], cut: Sequence[protocols.Carried]
    ) -> list[Measured]:
        """The sums of some readings; without a cut the stream stays where it is."""
        stop = self._stream.missing(cut)
        model = self.graph.moment_probe(
            readings,
            targets=True,
            rows=MAX_ROWS,
            samples=self.calibration.count,
            start=self._stream.start,
            stop=stop,
        )
        session, arriving = self.session(model), self._stream.expect(stop, cut)
        sizes = [WITH_TARGETS] * len(readings)
        found = [Measured(Sums(), Sums()) for _ in readings]
        for number, (feeds, unseen) in enumerate(self._batches):
            divisible = self.calibration.any_length and length_of(feeds) > 1
            outputs = session.run({**feeds, **self._stream.feeds(number)}, divisible=divisible)
            totals = [each.held if unseen else each.fitted for each in found]
            add_outputs(totals, outputs[: sum(sizes)], sizes)
            arriving.add(outputs[sum(sizes) :])
        if cut:
            arriving.done()
        self._check([part for both in found for part in both], readings)
        return found

    @cached_property
    def _stream(self) -> Stream:
        return Stream()

    def _probe(self, readings: Sequence[Reading], progress: Progress) -> list[Sums]:
        model = self.graph.moment_probe(
            readings, targets=False, rows=MAX_ROWS, samples=self.calibration.count
        )
        heaviest = max(map(self.graph.unfolded_numbers, readings))
        batches = self.calibration.in_batches_of(max(1, _RUN_NUMBERS // max(1, heaviest)))
        feeding = [self.graph.consumer(reading).feeds_sum for reading in readings]
        with step(f"measuring what {len(readings)} layers read"):
            found = collect(
                self.session(model),
                progress("measuring", batches),
                [WITH_SUM if feeds else ALONE for feeds in feeding],
                divisible=self.calibration.any_length,
            )
        self._check(found, readings)
        return found

    def _check(self, sums: Sequence[Sums], readings: Sequence[Reading]) -> None:
        """Raise an error where sums hold NaN or infinity."""
        if not all(each.is_finite for each in sums):
            nodes = ", ".join(repr(self.graph.consumer(reading).name) for reading in readings)
            raise ModelError(
                f"what reaches {nodes} holds NaN or infinity on these inputs; "
                "are the model's weights damaged?"
            )

    def session(self, model: bytes) -> protocols.Session:
        """Load a probe."""
        return self.runtime.session(model, providers=self.providers)
