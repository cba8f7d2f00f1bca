"""From a model to a smaller one: groups, kept channels, Z, absorb, write, check.

This module decides the order of the steps and nothing else; each step lives in its own module.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nmcore import plugins
from nmcore.absorb import absorb
from nmcore.criteria import select
from nmcore.group import Consumer, Cost, Declined, FloatArray, Group, Producer, Scaling
from nmcore.plan import GroupPlan, Plan, Selection
from nmcore.recipe import Options, recipe_for
from nmcore.scaling import scaling_matrix
from nmcore.verification import verify as prove

log = logging.getLogger(__name__)

Progress = Callable[[str, Iterable[Group]], Iterable[Group]]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What was done to one group."""

    plan: GroupPlan
    scaling: Scaling | None

    @property
    def merged(self) -> int:
        """How many removed channels are rebuilt from kept ones."""
        return self.scaling.merged if self.scaling is not None else 0

    @property
    def left_out(self) -> int:
        """How many removed channels are not rebuilt at all."""
        return self.plan.width - len(self.plan.kept) - self.merged


@dataclass(frozen=True, eq=False)
class Result:
    """A compressed model and the account of how it came about.

    Attributes
    ----------
    model : object
        The compressed model, in the backend's own format.
    plan : Plan
        The decision for every group.
    outcomes : sequence of Outcome
        What was done, group by group, in topological order.
    declined : sequence of Declined
        What was left alone, and why.
    before, after : Cost
        Size and work of the two models.
    """

    graph: plugins.Graph = field(repr=False)
    plan: Plan
    outcomes: Sequence[Outcome] = field(repr=False)
    declined: Sequence[Declined] = field(repr=False)
    before: Cost
    after: Cost

    @property
    def model(self) -> Any:
        """The compressed model, in the backend's own format."""
        return self.graph.result()

    def save(self, path: str | Path) -> None:
        """Write the compressed model; a crash leaves the old file at ``path`` or none."""
        self.graph.save(Path(path))


def compress(
    model: Any,
    *,
    ratio: float | None = None,
    method: str = "auto",
    criterion: str = "auto",
    threshold: float | None = None,
    lam: float = 0.85,
    bn_form: str = "auto",
    keep: Mapping[str, int] | None = None,
    exclude: Sequence[str] = (),
    only: Sequence[str] = (),
    verify: bool = False,
    providers: Sequence[str] = ("auto",),
    seed: int = 0,
    progress: Progress | None = None,
) -> Result:
    """Remove channels from a model and fold what they did into the next layers.

    Parameters
    ----------
    model : path or object
        A model file, or an object that an installed backend understands. It is never changed.
    ratio : float, in [0, 1), optional
        The share of channels removed in every group. Without it, half of them; or none where
        ``keep`` says which groups to touch.
    method, criterion, threshold, lam, bn_form, seed
        See :class:`Options`.
    keep : mapping of pattern to count, optional
        How many channels the groups keep whose names match; the last match counts.
    exclude, only : sequence of pattern
        Nodes whose channels must not, or alone may, be removed.
    verify : bool
        Prove in the runtime that the result equals the original with its removed channels
        rebuilt through Z.
    providers : sequence of {"auto", "cuda", "cpu"}
        Where the proof runs.
    progress : callable, optional
        Wraps the iteration over groups, as in ``progress("merging", groups)``.

    Returns
    -------
    Result

    Raises
    ------
    nmcore.errors.NmcoreError
        The model or an option cannot be used.
    nmcore.errors.VerificationError
        The result is not what it should be: a bug in nmcore.
    """
    if ratio is None:
        ratio = 0.0 if keep else 0.5
    options = Options(method, criterion, threshold, lam, bn_form, seed)
    selection = Selection(ratio, keep, only, exclude)
    graph = plugins.open_graph(model)
    before = graph.cost()
    counts = selection.counts(graph.groups, graph.declined)
    step = progress or (lambda _text, groups: groups)
    outcomes = [
        _compress_group(graph, group, counts[group.name], options)
        for group in step("merging", graph.groups)
    ]
    graph.check()
    result = Result(
        graph,
        Plan(tuple(outcome.plan for outcome in outcomes)),
        outcomes,
        graph.declined,
        before,
        graph.cost(),
    )
    if verify:
        scalings = {o.plan.name: o.scaling for o in outcomes if o.scaling is not None}
        prove(graph, scalings, providers=providers, seed=seed)
    return result


def _compress_group(graph: plugins.Graph, group: Group, count: int, options: Options) -> Outcome:
    if count == group.width:
        plan = GroupPlan(group.name, group.width, tuple(range(count)), "none", "all channels kept")
        return Outcome(plan, None)
    producer = joined(graph.producers(group))
    consumers = graph.consumers(group)
    recipe = recipe_for(producer, options)
    kept = select(
        producer.weight,
        count,
        recipe.criterion,
        bias=producer.bias if producer.batchnorm is None else None,
        next_weight=columns(consumers),
        seed=options.seed,
    )
    scaling = scaling_matrix(
        producer.weight,
        kept,
        recipe.method,
        bias=producer.bias,
        batchnorm=producer.batchnorm,
        threshold=options.threshold,
        lam=options.lam,
        bn_form=recipe.bn_form,
        depthwise=producer.depthwise,
    )
    apply(graph, group, scaling, consumers)
    plan = GroupPlan(group.name, group.width, tuple(map(int, kept)), recipe.method, recipe.reason)
    return Outcome(plan, scaling)


def apply(
    graph: plugins.Graph, group: Group, scaling: Scaling, consumers: Sequence[Consumer]
) -> None:
    """Fold ``scaling`` into the consumers of a group and drop its removed channels."""
    folded = [absorb(consumer.weight, scaling) for consumer in consumers]
    graph.write(group, scaling.kept, [w for w, _ in folded], [b for _, b in folded])


def joined(producers: Sequence[Producer]) -> Producer:
    """The producers of a group as one: their rows side by side."""
    (producer,) = producers
    return producer


def columns(consumers: Sequence[Consumer]) -> FloatArray:
    """All consumers' weights as one (outputs, N): what reads each channel."""
    parts = [np.swapaxes(c.weight, 1, 2).reshape(-1, c.weight.shape[1]) for c in consumers]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
