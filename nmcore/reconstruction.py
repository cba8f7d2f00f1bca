"""Many to one, from second moments: choose channels by error and refit what reads them.

Groups are walked in topological order, each on the network compressed so far. The weights that read
a group are fitted by least squares to what the *original* network gives at that place, so later
groups make up for what earlier ones lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nmcore import plugins
from nmcore.allocation import meet
from nmcore.elimination import Problem, eliminate, problem
from nmcore.group import Consumer, Group, IntArray
from nmcore.merging import chosen, merge_group
from nmcore.moments import Moments, accumulate, average, linear, measured, stream_variance
from nmcore.plan import GroupPlan, Outcome, Task, untouched
from nmcore.probes import Probes
from nmcore.recipe import RECONSTRUCTION
from nmcore.refit import features, mixed, refit

Float64Array = NDArray[np.float64]

# Strength of the pull towards the folded weights, relative to a feature's mean variance.
REFIT_RIDGE = 1e-2
SELECTION_RIDGE = 1e-3
# What a feature adds to that pull for each row that it has.
SCARCITY = 0.2

# Rows that each set of moments is summed over at most; more change little and cost time.
MAX_ROWS = 40_000
# A consumer with more features than this needs gigabytes and minutes.
MAX_FEATURES = 6_000
# Numbers in the unfolded input of a consumer that one run makes; it takes a few times as many.
_RUN_NUMBERS = 2**25
# Numbers in the moments of one probe, so that its outputs take a bounded amount of memory.
_PROBE_NUMBERS = 2**26


@dataclass(frozen=True, eq=False)
class Curve:
    """The error of a group as channels go, on the network as it was.

    Attributes
    ----------
    order : int array, shape (N - 1,)
        The channels in the order of their removal.
    error : array, shape (N - 1,)
        The error after each removal, relative to the variance of what the consumers feed.
    """

    order: IntArray
    error: Float64Array


@dataclass(eq=False)
class Reconstruction:
    """The walk over a model's groups.

    Attributes
    ----------
    graph : Measurable
        What is compressed.
    runtime : RuntimeBackend
        What runs the probes.
    probes : Probes
        What the network is shown.
    providers : sequence of str
        Where probes run.
    """

    graph: plugins.Measurable
    runtime: plugins.RuntimeBackend
    probes: Probes
    providers: Sequence[str] = ("auto",)

    def prepare(self) -> None:
        """Give batch norms the statistics of made inputs, which have others than real ones."""
        model = None if self.probes.real else self.graph.norm_probe()
        if model is not None:
            self.graph.set_norms(average(self._session(model), self.probes.batches))

    def new_biases(self, group: Group) -> int:
        """How many numbers refitting adds to consumers that have no bias yet."""
        return sum(len(c.weight) for c in self.graph.consumers(group) if c.bias is None)

    def fits(self, group: Group) -> bool:
        """Whether the group's moments are of a manageable size."""
        return all(_feature_count(c) <= MAX_FEATURES for c in self.graph.consumers(group))

    def curves(self, groups: Iterable[Group]) -> dict[str, Curve]:
        """The error curve of every group on the uncompressed network."""
        result: dict[str, Curve] = {}
        for chunk in self._chunks(groups):
            sums = iter(self._sums(chunk, targets=False))
            for group in chunk:
                problems = [self._curve_problem(c, sums) for c in self.graph.consumers(group)]
                result[group.name] = Curve(*eliminate(problems, 1))
        return result

    def reconstruct(self, group: Group, count: int, kept: IntArray | None = None) -> Outcome:
        """Keep ``count`` channels of a group and refit its consumers.

        Without ``kept`` those stay that leave the least error.
        """
        consumers = self.graph.consumers(group)
        sums = iter(self._sums([group], targets=True))
        found = [measured(sums) for _ in consumers]
        reason = "chosen as asked; the next layer refitted"
        if kept is None:
            reason = "error: the next layer refitted after each removal"
            problems = [_problem(c, m) for c, m in zip(consumers, found, strict=True)]
            order, _ = eliminate(problems, count)
            kept = np.delete(np.arange(group.width), order)
        solved = [_solve(c, m, kept) for c, m in zip(consumers, found, strict=True)]
        self.graph.write(group, kept, [w for w, _ in solved], [b for _, b in solved])
        plan = GroupPlan(group.name, group.width, tuple(map(int, kept)), RECONSTRUCTION, reason)
        return Outcome(plan, group.width - count)

    def _curve_problem(self, consumer: Consumer, sums: Iterator[Float64Array]) -> Problem:
        """The elimination for one consumer of the original, in units of what it feeds."""
        moments = linear(sums, _matrix(consumer), _bias(consumer))
        own = moments.target_variance * _scale(consumer) ** 2
        unit = float(own.sum())
        if consumer.feeds_sum:
            unit = stream_variance(sums, moments.rows)
        return _problem(consumer, moments, unit=unit or 1.0)

    def _chunks(self, groups: Iterable[Group]) -> Iterator[list[Group]]:
        """Groups in runs whose moments fit into memory together."""
        chunk: list[Group] = []
        size = 0
        for group in groups:
            needed = sum(_feature_count(c) ** 2 for c in self.graph.consumers(group))
            if chunk and size + needed > _PROBE_NUMBERS:
                yield chunk
                chunk, size = [], 0
            chunk.append(group)
            size += needed
        if chunk:
            yield chunk

    def _sums(self, groups: Sequence[Group], *, targets: bool) -> list[Float64Array]:
        model = self.graph.moment_probe(
            groups, targets=targets, rows=MAX_ROWS, samples=self.probes.count
        )
        heaviest = max(map(self.graph.unfolded_numbers, groups))
        batches = self.probes.in_batches_of(max(1, _RUN_NUMBERS // max(1, heaviest)))
        return accumulate(self._session(model), batches)

    def _session(self, model: bytes) -> plugins.Session:
        return self.runtime.session(model, providers=self.providers)


def reconstruct_all(
    graph: plugins.Measurable, task: Task, probes: Probes, providers: Sequence[str]
) -> list[Outcome]:
    """Compress every group of a graph as the task says, on what the probes show."""
    walk = Reconstruction(graph, plugins.runtime(), probes, providers)
    walk.prepare()
    fitting = {group.name for group in graph.groups if walk.fits(group)}
    counts = task.counts
    if task.budget is not None:
        free = [group for group in graph.groups if group.name in task.free & fitting]
        curves = walk.curves(task.progress("measuring", free))
        errors = {name: curve.error for name, curve in curves.items()}
        counts = meet(graph, task, errors, added=sum(map(walk.new_biases, free)))
    outcomes = []
    for group in task.progress("refitting", graph.groups):
        count = counts[group.name]
        if count == group.width:
            outcomes.append(untouched(group))
        elif group.name in fitting:
            outcomes.append(
                walk.reconstruct(group, count, chosen(graph, group, count, task.options))
            )
        else:
            why = f"more than {MAX_FEATURES} features"
            outcomes.append(merge_group(graph, group, count, task.options, why))
    return outcomes


def _ridge(base: float, moments: Moments) -> float:
    """Few rows say little about many features; the pull grows with their ratio."""
    return base + SCARCITY * len(moments.mean) / moments.rows


def _problem(consumer: Consumer, moments: Moments, unit: float = 1.0) -> Problem:
    """Least squares in the units behind a batch norm, where one follows."""
    scale = _scale(consumer)
    taps = consumer.weight.shape[2]
    return problem(
        moments.covariance,
        moments.cross * scale,
        _matrix(consumer) * scale,
        taps,
        ridge=_ridge(SELECTION_RIDGE, moments),
        unit=unit,
    )


def _solve(
    consumer: Consumer, moments: Moments, kept: IntArray
) -> tuple[Float64Array, Float64Array]:
    """The consumer's new weight (O, P, T), and what to add to its bias (O,)."""
    taps = consumer.weight.shape[2]
    start = mixed(moments, _matrix(consumer), kept, taps, ridge=_ridge(SELECTION_RIDGE, moments))
    weights, bias = refit(moments, start, features(kept, taps), ridge=_ridge(REFIT_RIDGE, moments))
    return weights.T.reshape(-1, len(kept), taps), bias - _bias(consumer)


def _matrix(consumer: Consumer) -> Float64Array:
    """A consumer's weight as (features, outputs)."""
    outputs = consumer.weight.shape[0]
    return consumer.weight.reshape(outputs, -1).T.astype(np.float64)


def _bias(consumer: Consumer) -> Float64Array:
    outputs = consumer.weight.shape[0]
    return np.zeros(outputs) if consumer.bias is None else consumer.bias.astype(np.float64)


def _scale(consumer: Consumer) -> Float64Array:
    outputs = consumer.weight.shape[0]
    return np.ones(outputs) if consumer.scale is None else consumer.scale.astype(np.float64)


def _feature_count(consumer: Consumer) -> int:
    _, width, taps = consumer.weight.shape
    return int(width * taps)
