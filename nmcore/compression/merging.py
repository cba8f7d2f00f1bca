"""One to one, from weights alone: choose channels by a criterion and build Z for each group."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace

import numpy as np

from nmcore.arrays.criteria import select
from nmcore.arrays.scaling import scaling_matrix
from nmcore.arrays.validation import all_finite
from nmcore.budgets.allocation import proportional
from nmcore.budgets.allotment import Allotment, meet
from nmcore.errors import ModelError
from nmcore.group import Consumer, FloatArray, Group, IntArray, Producer, Scaling
from nmcore.options.options import LAM, MethodOptions
from nmcore.options.recipe import Recipe, recipe_for
from nmcore.plan.outcome import Outcome, untouched
from nmcore.plan.plan import GroupPlan
from nmcore.plan.summaries import ScalingSummary
from nmcore.plan.task import Task
from nmcore.plugins import protocols
from nmcore.utils.executors import InTurn, submit
from nmcore.utils.logs import step

# A dense Z of more bytes is summed up as soon as it is absorbed: a model has many groups.
_LARGE = 2**22
# So many groups at most have been handed to an executor and not yet written: their weights and what
# became of them are held in memory.
PENDING = 8


@dataclass(frozen=True, eq=False)
class Merged:
    """What becomes of a group: Z, and how it was found."""

    recipe: Recipe
    scaling: Scaling


def merge_all(graph: protocols.Graph, task: Task) -> tuple[list[Outcome], Allotment]:
    """Compress every group of a graph as the task says; the second is how the budget was spent.

    With an executor several groups are solved at a time. They are read and written in the same
    order as without one, and what a group reads is never touched by one that is still pending.
    """
    free = [group for group in graph.groups if group.name in task.free]
    allotment = meet(graph, task.budget, task.choices, proportional(free))
    counts = allotment.counts
    outcomes = {group.name: untouched(group) for group in graph.groups}
    executor, most = (InTurn(), 1) if task.executor is None else (task.executor, PENDING)
    pending: deque[tuple[Group, Future[Merged]]] = deque()

    def begin(group: Group) -> Future[Merged]:
        return submit(
            executor,
            merged,
            graph.producers(group),
            graph.consumers(group),
            counts[group.name],
            task.options_for(group),
            task.kept(group),
        )

    def write_first() -> None:
        group, future = pending.popleft()
        outcomes[group.name] = _relieved(_write(graph, group, future.result()), task)

    try:
        with step(f"merging in {len(graph.groups)} groups"):
            for group in task.progress("merging", graph.groups):
                if counts[group.name] == group.width:
                    continue
                while len(pending) == most or any(_touches(other, group) for other, _ in pending):
                    write_first()
                pending.append((group, begin(group)))
            while pending:
                write_first()
    finally:
        for _, future in pending:
            future.cancel()
    return list(outcomes.values()), allotment


def _touches(first: Group, group: Group) -> bool:
    """Whether writing ``first`` may change the weights that read ``group``."""
    return not {*first.producers, *first.consumers}.isdisjoint(group.consumers)


def merge_group(
    graph: protocols.Graph,
    group: Group,
    count: int,
    options: MethodOptions,
    why: str = "",
    planned: IntArray | None = None,
) -> Outcome:
    """Keep ``count`` channels of a group and fold the others into its consumers through Z.

    Without ``planned`` the criterion says which.
    """
    if count == group.width:
        return untouched(group)
    parts = graph.producers(group), graph.consumers(group)
    return _write(graph, group, merged(*parts, count, options, planned), why)


def _relieved(outcome: Outcome, task: Task) -> Outcome:
    """The account of a group without a Z that takes much memory and that nobody needs again."""
    scaling = outcome.scaling
    if task.proves or scaling is None or scaling.matrix is None or scaling.matrix.nbytes <= _LARGE:
        return outcome
    return replace(outcome, scaling=None, summary=ScalingSummary.of(scaling))


def merged(
    producers: Sequence[Producer],
    consumers: Sequence[Consumer],
    count: int,
    options: MethodOptions,
    planned: IntArray | None,
) -> Merged:
    """Solve one group: arrays in, arrays out, so that any process can do it."""
    check_finite([*producers, *consumers])
    producer = joined(producers)
    recipe = recipe_for(producer, options, planned=planned is not None)
    kept = planned
    if kept is None:
        kept = _select(producer, consumers, count, recipe.criterion, options.seed)
    scaling = scaling_matrix(
        producer.weight,
        kept,
        recipe.method,
        bias=producer.bias,
        batchnorm=producer.batchnorm,
        threshold=options.threshold,
        lam=LAM if options.lam is None else options.lam,
        bn_form=recipe.bn_form,
        depthwise=producer.depthwise,
    )
    return Merged(recipe, scaling)


def _write(graph: protocols.Graph, group: Group, solved: Merged, why: str = "") -> Outcome:
    """Put what was solved into the graph."""
    scaling, recipe = solved.scaling, solved.recipe
    for index in range(len(graph.consumers(group))):
        graph.update(group, index, scaling)
    graph.remove(group, scaling.kept)
    reason = f"{why}; {recipe.reason}" if why else recipe.reason
    kept = tuple(map(int, scaling.kept))
    plan = GroupPlan(group.name, group.width, kept, recipe.method, reason)
    return Outcome(plan, scaling.merged, scaling)


def check_finite(parts: Iterable[Producer | Consumer]) -> None:
    """Name the node whose weights no method can compute with.

    Raises
    ------
    ModelError
        A weight or a bias holds NaN or infinity.
    """
    for part in parts:
        for array in (part.weight, part.bias):
            if array is not None and not all_finite(array):
                raise ModelError(
                    f"the weights of {part.name!r} hold NaN or infinity; mend or exclude that node"
                )


def chosen(graph: protocols.Graph, group: Group, count: int, task: Task) -> IntArray | None:
    """The channels that a plan or a criterion keeps, where the user gave one; else None."""
    options, planned = task.options, task.kept(group)
    if planned is not None or options.criterion in ("auto", "error"):
        return planned
    producer = joined(graph.producers(group))
    return _select(producer, graph.consumers(group), count, options.criterion, options.seed)


def _select(
    producer: Producer, consumers: Sequence[Consumer], count: int, criterion: str, seed: int
) -> IntArray:
    return select(
        producer.weight,
        count,
        criterion,
        bias=producer.bias if producer.batchnorm is None else None,
        next_weight=columns(consumers),
        seed=seed,
    )


def joined(producers: Sequence[Producer]) -> Producer:
    """The producers of a group as one: their rows side by side, their offsets added up.

    Channels that several weights make together, such as those of a residual stream, are alike where
    all of them are. Batch norms differ from weight to weight, so they are multiplied in.
    """
    if len(producers) == 1:
        return producers[0]
    folded = [producer.folded() for producer in producers]
    rows = np.concatenate([part.weight.reshape(len(part.weight), -1) for part in folded], axis=1)
    biases = [part.bias for part in folded if part.bias is not None]
    if any(part.weight.ndim > 2 for part in folded):
        rows = rows[:, :, None]
    return Producer(producers[0].name, rows, np.sum(biases, axis=0) if biases else None)


def columns(consumers: Sequence[Consumer]) -> FloatArray:
    """All consumers' weights as one (outputs, N): what reads each channel."""
    parts = [np.swapaxes(c.weight, 1, 2).reshape(-1, c.weight.shape[1]) for c in consumers]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
