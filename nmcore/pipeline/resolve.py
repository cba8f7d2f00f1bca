"""How much is wanted of a model: from the options to channels per group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from nmcore.budgets.allocation import Budget, Spent, counted
from nmcore.budgets.allotment import check_reachable, fastest_of
from nmcore.budgets.latency_search import ROUNDINGS
from nmcore.errors import BudgetError
from nmcore.evaluation.stopwatch import Stopwatch
from nmcore.group import Cost, ScorePair
from nmcore.options.amounts import AMOUNTS, COUNTED
from nmcore.options.methods import RECONSTRUCTION
from nmcore.options.options import CompressOptions
from nmcore.pipeline.job import Job
from nmcore.plan import replay
from nmcore.plan.plan import Plan
from nmcore.plan.selection import Selection
from nmcore.plan.task import Task
from nmcore.plugins import capabilities
from nmcore.plugins.protocols import Graph
from nmcore.plugins.states import all_states
from nmcore.report.phrases import cost_notes, states_note, streams_note, why_nothing


def amounts(options: CompressOptions) -> dict[str, float | None]:
    """What says how much to remove, besides a largest drop."""
    return {name: getattr(options, name) for name in AMOUNTS if name != "max_drop"}


def task_of(job: Job, decided: Plan | None) -> tuple[Task, Sequence[str]]:
    """What is wanted of a model: as many channels as the options say, or those of a plan.

    The second are notes on how many that are.
    """
    graph, options = job.original.graph, job.options
    if decided is not None:
        return replay.task_for(decided, graph, options.of_method, job.progress), ()
    multiples = _multiples(options)
    budget = Budget.of(**amounts(options))
    inside = _inside_heads(graph, options) if budget is not None else ()
    if budget is not None and budget.share < 1 and not graph.groups and not inside:
        why = why_nothing(graph.groups, graph.declined)
        raise BudgetError(
            f"{budget.kind} of {budget.share:g} cannot be met, as no channel can be removed: {why}"
        )
    if budget is not None and budget.kind in COUNTED:
        whole = counted(job.original.cost, budget.kind)  # refused before anything is measured
        if options.vocabulary is not None:
            # What is left of the original's cost once rows of a table are gone.
            now = counted(graph.cost(), budget.kind)
            budget = replace(budget, share=min(1.0, budget.share * whole / now))
    ratio = options.ratio
    if ratio is None:
        ratio = 0.0 if options.keep or budget or options.vocabulary is not None else 0.5
    selections = {
        multiple: Selection(ratio, options.keep, options.only, options.exclude, multiple)
        for multiple in multiples
    }
    parts = [*graph.groups, *inside]
    counts = {m: each.counts(parts, graph.declined) for m, each in selections.items()}
    free = selections[multiples[0]].free(parts)
    task = Task(counts[multiples[0]], free, budget, options.of_method, job.progress, multiples)
    if budget is not None and budget.kind in COUNTED and budget.share < 1:
        check_reachable(graph, budget, task.choices, free, counted(job.original.cost, budget.kind))
    timed = options.round_to == "auto" or (budget is not None and budget.kind == "latency")
    if not timed or not task.removes(graph.groups):
        return task, ()
    timer = _stopwatch(job)
    if budget is not None:
        return replace(task, timer=timer), ()
    allotment = fastest_of(counts, timer)
    return replace(task, timer=timer, counts=allotment.counts), allotment.notes


def _inside_heads(graph: Graph, options: CompressOptions) -> Sequence[ScorePair]:
    """The query and key channels that a budget may remove: none by methods that measure nothing."""
    measured = options.method in ("auto", RECONSTRUCTION)
    return capabilities.score_pairs(graph) if measured else ()


def _multiples(options: CompressOptions) -> tuple[int, ...]:
    """The multiples of channels that may be kept."""
    round_to = options.round_to
    if round_to == "auto" or (round_to is None and options.latency is not None):
        return ROUNDINGS
    if round_to is not None:
        return (int(round_to),)
    counts = any(getattr(options, name) is not None for name in COUNTED)
    return ROUNDINGS if counts else (1,)


def _stopwatch(job: Job) -> Stopwatch:
    """What times the model, on inputs of the data's shape."""
    data, options = job.data, job.options
    return Stopwatch(
        job.original.graph,
        job.original.session(options.threads),
        data,
        options.providers,
        options.threads,
        options.seed,
    )


def scope(job: Job, task: Task) -> Iterator[str]:
    """Say which groups were meant, and what their cost was counted at."""
    groups, options = job.original.graph.groups, job.options
    chosen = Selection(keep=options.keep, only=options.only, exclude=options.exclude)
    yield from chosen.matches(groups)
    if options.states:
        yield from states_note(all_states(job.original.graph))
    if task.budget is None and not task.planned:
        yield from streams_note(g for g in groups if task.counts[g.name] < g.width)
    yield from cost_notes(job.original.cost)


def spent(
    budget: Budget | None,
    options: CompressOptions,
    before: Cost,
    after: Cost,
    latency: float | None,
) -> Spent | None:
    """What became of a budget."""
    if budget is None:
        return None
    if budget.kind == "latency":
        reached = latency
    else:
        now, whole = (getattr(cost, budget.kind) for cost in (after, before))
        reached = now / whole if whole else None
    return None if reached is None else Spent(budget.kind, getattr(options, budget.kind), reached)
