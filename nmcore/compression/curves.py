"""Error curves: what the consumers of each group lose as its channels go."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from nmcore.arrays.elimination import Curve, Problem, eliminate
from nmcore.calibration.calibration_set import CalibrationSet
from nmcore.compression import carrier
from nmcore.compression.carrier import Carrier
from nmcore.compression.consumer_fit import selection_problem, variance
from nmcore.compression.moments import Moments, Sums
from nmcore.compression.output_error import Trial, late_heavier, scales, trial
from nmcore.compression.shrinkage import Shrinkage
from nmcore.compression.trial_runs import Tried
from nmcore.group import Consumer, Group, Reading
from nmcore.plugins import protocols
from nmcore.utils.chunks import in_chunks
from nmcore.utils.logs import step
from nmcore.utils.progress import Progress, silent

# Curves tell how groups compare, so fewer rows than fits want will do: so many for each feature,
# and so many at least.
ROWS_PER_FEATURE, FEWEST_ROWS = 8, 8_192


@dataclass(eq=False)
class Curves:
    """Measures groups before any channel has gone.

    Attributes
    ----------
    graph : Measurable
        What is compressed.
    calibration : CalibrationSet
        What the network is shown.
    session : callable
        Loads a model.
    """

    graph: protocols.Measurable
    calibration: CalibrationSet
    session: Callable[[bytes], protocols.Session]

    def of(self, groups: Iterable[Group], progress: Progress = silent) -> dict[str, Curve]:
        """The error curve of every group."""
        return {tried.group.name: curve for curve, tried in self._tried(groups, progress)}

    def priced(
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
        share = self.calibration.synthetic_share
        found = late_heavier(found, self.graph.readings(), pairs, synthetic=share)
        return {each.group.name: curve for curve, each in tried}, found

    def seen(
        self, groups: Iterable[Group]
    ) -> Iterator[tuple[Group, Sequence[Consumer], Sequence[Moments]]]:
        """Groups, their consumers, and what each of these reads."""
        for chunk, sums in self._measured(groups, silent):
            for group in chunk:
                consumers = self.graph.consumers(group)
                pairs = zip(consumers, self._readings[group.name], strict=True)
                found = [
                    self._shrinkage(sums.pop().moments_of(c.matrix(), c.offsets()), c, reading)
                    for c, reading in pairs
                ]
                yield group, consumers, found

    def _tried(self, groups: Iterable[Group], progress: Progress) -> Iterator[tuple[Curve, Trial]]:
        """The curve of each group, and a part of it removed."""
        for chunk, sums in self._measured(groups, progress):
            for group in progress("ordering channels", chunk):
                consumers = self.graph.consumers(group)
                seen, problems = [], []
                for consumer, reading in zip(consumers, self._readings[group.name], strict=True):
                    moments, setup = self._problem(consumer, reading, sums.pop())
                    seen.append(moments)
                    problems.append(setup)
                curve = Curve(*eliminate(problems, 1))
                yield curve, trial(group, consumers, seen, curve)

    def _problem(self, consumer: Consumer, reading: Reading, sums: Sums) -> tuple[Moments, Problem]:
        """The moments of one consumer, and its elimination, in units of what it feeds."""
        seen = sums.moments_of(consumer.matrix(), consumer.offsets())
        # The pull is to be that of the fit to come, which has more rows.
        seen = replace(seen, rows=max(seen.rows, self._rows_of_fit(reading)))
        moments = self._shrinkage(seen, consumer, reading)
        unit = variance([consumer], [moments])
        if consumer.feeds_sum:
            own = unit - variance([consumer], [seen])
            unit = sums.stream_variance() + own
        return seen, selection_problem(consumer, moments, unit=unit or 1.0)

    def _measured(
        self, groups: Iterable[Group], progress: Progress
    ) -> Iterator[tuple[list[Group], list[Sums]]]:
        """Groups whose moments fit into memory together, and the sums of their readings.

        The last sums are those of the first reading: taken off one by one, their memory is free
        again. Each run of the network begins with the first reading that it is for.
        """
        chunks = list(self._chunks(groups))
        needed = [[r for group in chunk for r in self._readings[group.name]] for chunk in chunks]
        runs = Carrier(self.graph, self.calibration, self.session, targets=False, rows=self._rows)
        for number, (chunk, readings) in enumerate(zip(chunks, needed, strict=True), start=1):
            later = [reading for each in needed[number:] for reading in each]
            with step(f"measuring what {len(readings)} layers read"):
                cut = self.graph.cut(later) if later else None
                found = runs.sums(readings, cut, progress=progress)
            sums = [each.fitted for each in reversed(found)]
            del found  # nothing else may hold what is taken off
            yield chunk, sums

    def _rows(self, reading: Reading) -> int:
        wanted = ROWS_PER_FEATURE * self.graph.consumer(reading).features
        return min(carrier.MAX_ROWS, max(FEWEST_ROWS, wanted))

    def _rows_of_fit(self, reading: Reading) -> float:
        """How many rows a consumer is fitted to."""
        features = self.graph.consumer(reading).features
        there = self.calibration.count * self.graph.unfolded_numbers(reading) / features
        return min(carrier.MAX_ROWS, there)

    def _chunks(self, groups: Iterable[Group]) -> Iterator[list[Group]]:
        """Groups in runs whose moments fit into memory together."""

        def numbers(group: Group) -> int:
            return sum(consumer.features**2 for consumer in self.graph.consumers(group))

        return in_chunks(groups, numbers, carrier.PROBE_NUMBERS)

    @cached_property
    def _readings(self) -> dict[str, list[Reading]]:
        """The readings of each group, in the order of its consumers."""
        found: dict[str, list[Reading]] = defaultdict(list)
        for reading in self.graph.readings():
            found[reading.group].append(reading)
        return {name: sorted(each, key=lambda r: r.index) for name, each in found.items()}

    @cached_property
    def _shrinkage(self) -> Shrinkage:
        return Shrinkage(self.graph, self.calibration.synthetic_share)
