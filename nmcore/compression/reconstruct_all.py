"""A whole model from second moments: budgets, the walk, heads, and layers fitted together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from nmcore.arrays.elimination import Curve
from nmcore.budgets.allocation import typical
from nmcore.budgets.allotment import Allotment, meet
from nmcore.calibration.calibration_set import CalibrationSet
from nmcore.compression.directions import paired_by_rank
from nmcore.compression.heads import HeadNarrowing
from nmcore.compression.joint.block_refit import BlockRefit
from nmcore.compression.joint.pair_refit import PairRefit
from nmcore.compression.merging import chosen, merge_group
from nmcore.compression.reconstruction import Choice, Reconstruction
from nmcore.group import Group
from nmcore.plan.outcome import Outcome, untouched
from nmcore.plan.task import Task
from nmcore.plugins import protocols, registry
from nmcore.utils.logs import step


class Reconstructed(NamedTuple):
    """What became of a graph.

    Attributes
    ----------
    graph : Measurable
        The graph, or another of the same model.
    outcomes : list of Outcome
        Of each group, and of what became narrower inside heads.
    allotment : Allotment
        How the budget was spent.
    blocks : str
        What came of fitting residual blocks together; nothing where there are none.
    """

    graph: protocols.Measurable
    outcomes: list[Outcome]
    allotment: Allotment
    blocks: str


def reconstruct_all(
    graph: protocols.Measurable, task: Task, calibration: CalibrationSet, providers: Sequence[str]
) -> Reconstructed:
    """Compress every group of a graph as the task says, on what the calibration set shows."""
    graph = paired_by_rank(graph, task, calibration, providers)
    walk = Reconstruction(graph, registry.runtime(), calibration, providers)
    original = graph.clone()
    walk.prepare()
    heads = HeadNarrowing(walk)
    fitting = {group.name for group in graph.groups if walk.fits(group) and task.refits(group)}
    allowed = [group for group in graph.groups if group.name in task.free]
    free = [group for group in allowed if group.name in fitting]
    unmeasured = [group for group in allowed if group.unmeasured]
    allotment, curves = _allotted(walk, heads, task, free, unmeasured)
    counts = allotment.counts
    changing = [group for group in graph.groups if counts[group.name] < group.width]
    refitted = [group for group in changing if group.name in fitting]
    outcomes = {g.name: untouched(g) for g in graph.groups if g not in changing}
    undecided = {
        group.name: Choice(counts[group.name], chosen(graph, group, counts[group.name], task))
        for group in refitted
    }
    # Before anything changes: these are chosen on the original.
    before, measured = walk.decided_before(refitted, undecided, curves, task.progress)
    undecided |= before
    curves |= measured
    for group in changing:
        if group.name not in fitting:
            why = walk.why_not(group) if task.refits(group) else ""
            options, kept = task.options_for(group), task.kept(group)
            outcomes[group.name] = merge_group(
                graph, group, counts[group.name], options, why, planned=kept
            )
    heads.expect(counts)
    steps = walk.steps(refitted)
    with step(f"refitting in {len(steps)} steps"):
        for number, readings in enumerate(task.progress("refitting", steps), start=1):
            later = [reading for each in steps[number:] for reading in each]
            outcomes |= heads.narrow_before([*readings, *later])
            for outcome in walk.choose(readings, later, undecided):
                outcomes[outcome.plan.name] = outcome
                del undecided[outcome.plan.name]
        outcomes |= heads.narrow_before([])
        walk.end()
    with step("refitting pairs of layers"):
        PairRefit(graph, walk.session, calibration)(refitted, task.progress)
    told = ""
    if task.fits_blocks:
        with step("refitting blocks"):
            names = {group.name for group in refitted}
            scaled = {group.name for group in changing} - names
            refit_blocks = BlockRefit(graph, original, walk.session, calibration)
            told = refit_blocks(names, scaled, task.progress)
    return Reconstructed(graph, _with_curves(graph.groups, outcomes, curves), allotment, told)


def _allotted(
    walk: Reconstruction,
    heads: HeadNarrowing,
    task: Task,
    free: Sequence[Group],
    unmeasured: Sequence[Group],
) -> tuple[Allotment, dict[str, Curve]]:
    """How many channels stay, and the error curves that this rests on, where a budget asks.

    Groups that are not measured lose what the others lose on average.
    """
    if task.budget is None:
        return Allotment(task.counts), {}
    with step(f"measuring the error curves of {len(free)} groups"):
        inside = heads.curves([pair for pair in heads.pairs if pair.name in task.free])
        curves, prices = walk.curves.priced(free, heads.trials(inside), task.progress)
    curves |= inside
    errors = {name: prices.get(name, 1.0) * curve.error for name, curve in curves.items()}
    added = sum(map(walk.new_biases, free))
    errors |= typical(unmeasured, [errors[group.name] for group in free if group.name in errors])
    return meet(walk.graph, task.budget, task.choices, errors, added=added), curves


def _with_curves(
    groups: Sequence[Group], outcomes: dict[str, Outcome], curves: dict[str, Curve]
) -> list[Outcome]:
    """The outcomes in order: of groups, then of what became narrower inside heads.

    What a budget was spread by says more than the walk's own curves, which end where it stopped.
    """
    consumers = {group.name: len(group.consumers) for group in groups}
    shown = {name: curve.averaged(consumers.get(name, 1)) for name, curve in curves.items()}
    names = [*consumers, *(name for name in outcomes if name not in consumers)]
    return [replace(outcomes[n], curve=shown.get(n, outcomes[n].curve)) for n in names]
