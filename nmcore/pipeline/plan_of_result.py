"""The plan that repeats a compression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from nmcore.options import checks
from nmcore.options.methods import RECONSTRUCTION
from nmcore.pipeline.job import Job
from nmcore.plan import replay
from nmcore.plan.outcome import Outcome
from nmcore.plan.plan import UNTOUCHED, GroupPlan, Plan, Source
from nmcore.plugins import capabilities
from nmcore.plugins.protocols import Graph
from nmcore.utils.versions import installed_versions


def plan_of_result(
    graph: Graph, outcomes: Sequence[Outcome], job: Job, data: Source | None
) -> Plan:
    """The plan that gives the same result again.

    What chose the channels has done so: ``auto`` has become a method, and data that nothing but
    the choice rests on is not needed again.
    """
    given = job.options
    methods = {outcome.plan.method for outcome in outcomes} - {UNTOUCHED}
    measured = RECONSTRUCTION in methods
    options = {name: checks.plain(getattr(given, name)) for name in replay.STATED}
    if measured and given.max_drop is not None:
        # Part of the data was kept apart to judge on.
        options["max_drop"] = given.max_drop
    if measured or given.method in ("auto", RECONSTRUCTION):
        options["method"] = RECONSTRUCTION if measured else "merge"
    backward = graph.backward if isinstance(graph, capabilities.Bidirectional) else {}
    return Plan(
        groups=tuple(_with_pairs(outcome.plan, backward) for outcome in outcomes),
        options=options if methods or given.vocabulary is not None else {},
        model=job.original.source(),
        data=data if measured else None,
        call=job.portable_call,
        versions=installed_versions(),
    )


def _with_pairs(group: GroupPlan, backward: Mapping[str, Sequence[int]]) -> GroupPlan:
    """A group with the pairs of units that its channels are."""
    return replace(group, backward=tuple(backward.get(group.name, ())))
