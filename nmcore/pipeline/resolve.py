"""How much is wanted of a model: from the arguments of a call to channels per group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from nmcore.budgets.allocation import Budget, counted
from nmcore.budgets.allotment import fastest_of
from nmcore.budgets.latency_search import PACKED, ROUNDINGS
from nmcore.data.dataset import Dataset
from nmcore.data.loading import opened
from nmcore.errors import BudgetError
from nmcore.evaluation.stopwatch import Stopwatch
from nmcore.group import Cost
from nmcore.options.recipe import Options
from nmcore.plan import replay
from nmcore.plan.plan import Plan
from nmcore.plan.selection import Selection
from nmcore.plan.task import Task
from nmcore.plugins import protocols
from nmcore.report.phrases import cost_notes, streams_note, why_nothing

# What says how much to remove, besides a largest drop.
AMOUNTS = ("ratio", "macs", "params", "latency")


def task_of(
    graph: protocols.Graph, given: Mapping[str, Any], options: Options, decided: Plan | None
) -> tuple[Task, Sequence[str]]:
    """What is wanted of a model: as many channels as the options say, or those of a plan.

    The second are notes on how many that are.
    """
    progress = given["progress"]
    if decided is not None:
        return replay.task_for(decided, graph, options, progress), ()
    ratio, keep = given["ratio"], given["keep"]
    multiples = _multiples(given)
    budget = Budget.of(**{name: given[name] for name in AMOUNTS})
    if budget is not None and budget.share < 1 and not graph.groups:
        why = why_nothing(graph.groups, graph.declined)
        raise BudgetError(
            f"{budget.kind} of {budget.share:g} cannot be met, as no channel can be removed: {why}"
        )
    if budget is not None and budget.kind == "macs":
        counted(graph.cost(), budget.kind)  # refused before anything is measured
    if ratio is None:
        ratio = 0.0 if keep or budget else 0.5
    selections = {
        multiple: Selection(ratio, keep, given["only"], given["exclude"], multiple)
        for multiple in multiples
    }
    counts = {m: each.counts(graph.groups, graph.declined) for m, each in selections.items()}
    free = selections[multiples[0]].free(graph.groups)
    task = Task(counts[multiples[0]], free, budget, options, progress, multiples)
    timed = multiples == ROUNDINGS or (budget is not None and budget.kind == "latency")
    if not timed or not task.removes(graph.groups):
        return task, ()
    timer = _stopwatch(given)
    task = replace(task, timer=timer)
    if budget is not None:
        return task, ()
    allotment = fastest_of(counts, timer)
    return replace(task, counts=allotment.counts), allotment.notes


def _multiples(given: Mapping[str, Any]) -> tuple[int, ...]:
    """The multiples of channels that may be kept."""
    round_to = given["round_to"]
    if round_to == "auto" or (round_to is None and given["latency"] is not None):
        return ROUNDINGS
    if round_to is not None:
        return (int(round_to),)
    return (1,) if given["macs"] is None and given["params"] is None else (PACKED, 1)


def _stopwatch(given: Mapping[str, Any]) -> Stopwatch:
    """What times the model, on inputs of the data's shape."""
    data = opened(given["data"], given["scale"], given["mean"], given["std"])
    return Stopwatch(
        given["model"],
        data if isinstance(data, Dataset) else None,
        given["providers"],
        given["threads"],
        given["seed"],
    )


def scope(
    graph: protocols.Graph, given: Mapping[str, Any], task: Task, before: Cost
) -> Iterator[str]:
    """Say which groups were meant, and what their cost was counted at."""
    yield from Selection(only=given["only"], exclude=given["exclude"]).matches(graph.groups)
    if task.budget is None and not task.planned:
        yield from streams_note(g for g in graph.groups if task.counts[g.name] < g.width)
    yield from cost_notes(before)
