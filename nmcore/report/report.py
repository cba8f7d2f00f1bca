"""What a compression did, as data: the costs before and after, and the account per group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

from nmcore.budgets.allocation import Spent
from nmcore.evaluation.fidelity import Fidelity
from nmcore.evaluation.latency import Latency
from nmcore.evaluation.seed_spread import Spread
from nmcore.group import Cost, Declined
from nmcore.plan.outcome import Outcome
from nmcore.plan.summaries import (
    PICTURES,
    CurveSummary,
    ScalingSummary,
    SimilaritySummary,
    ZSummary,
)
from nmcore.plugins.states import StateChange
from nmcore.report.layers import LayerReport
from nmcore.report.requantised import Requantised
from nmcore.report.steps import Step
from nmcore.report.vocabulary import Vocabulary
from nmcore.utils.versions import installed_versions


@dataclass(frozen=True)
class Measures:
    """What one model weighs and how long it takes.

    Attributes
    ----------
    nodes, params : int
        Operators, and numbers in the weights.
    macs : int or None
        Multiply-accumulates of one sample; None where a needed size is unknown.
    bytes : int
        The size of the file.
    latency_ms, latency_low_ms, latency_high_ms : float or None
        Median, 10th and 90th percentile of warm runs; None where the model runs on no random
        input.
    """

    nodes: int
    params: int
    macs: int | None
    bytes: int
    latency_ms: float | None = None
    latency_low_ms: float | None = None
    latency_high_ms: float | None = None

    @property
    def latency_range(self) -> tuple[float, float] | None:
        """The 10th and the 90th percentile, where they are known."""
        if self.latency_low_ms is None or self.latency_high_ms is None:
            return None
        return self.latency_low_ms, self.latency_high_ms

    @classmethod
    def of(cls, cost: Cost, size: int, latency: Latency | None) -> Measures:
        """Join what the graph, the file system and the clock say."""
        times = (latency.median_ms, latency.low_ms, latency.high_ms) if latency else ()
        return cls(cost.nodes, cost.params, cost.macs, size, *times)


@dataclass(frozen=True)
class GroupReport:
    """What was done to one group; the numbers count channels.

    Attributes
    ----------
    name : str
        The group's name.
    width, kept : int
        Channels before and after.
    merged, left_out : int
        Removed channels that are rebuilt from kept ones, and those that are not.
    method, reason : str
        How, and why so.
    curve : CurveSummary or None
        The error as channels go, where it was measured.
    similarity : SimilaritySummary or None
        How alike removed and kept channels are, where the method compares them.
    z : ZSummary or None
        A picture of Z, where there is one, for the groups in which most was merged.
    """

    name: str
    width: int
    kept: int
    merged: int
    left_out: int
    method: str
    reason: str
    curve: CurveSummary | None = None
    similarity: SimilaritySummary | None = None
    z: ZSummary | None = None

    @classmethod
    def of(cls, outcome: Outcome, *, picture: bool) -> GroupReport:
        """Take the account of one group; ``picture`` says whether Z belongs to it."""
        plan, scaling, curve = outcome.plan, outcome.scaling, outcome.curve
        shown = ScalingSummary.of(scaling) if scaling else outcome.summary
        return cls(
            name=plan.name,
            width=plan.width,
            kept=len(plan.kept),
            merged=outcome.merged,
            left_out=outcome.left_out,
            method=plan.method,
            reason=plan.reason,
            curve=CurveSummary.of(curve, plan.width, len(plan.kept)) if curve else None,
            similarity=shown.similarity if shown else None,
            z=shown.z if shown and picture else None,
        )


@dataclass(frozen=True)
class Report:
    """The account of one compression; see :meth:`to_dict` for its form as JSON.

    Attributes
    ----------
    before, after : Measures
        The two models.
    groups : sequence of GroupReport
        In topological order.
    declined : sequence of Declined
        What was left alone.
    notes : sequence of str
        What was chosen on the user's behalf, and why.
    command : str
        What to say to get the same again.
    seed, provider, threads, verified, versions
        How it was made, and what measured it.
    model : str or None
        The name of the original's file.
    fidelity : Fidelity or None
        How the results of the two models compare, where there was data to see it on.
    shortfall : sequence of str
        Why the model did not get as much faster as it got smaller, where it did not.
    budget : Spent or None
        What became of the budget, where one was given.
    spread : Spread or None
        How results with other seeds differ, where several were tried.
    unmeasured : sequence of str
        What could not be measured of the two models, and why.
    warnings : sequence of str
        What makes the result useless, or next to it, and what is not known, a line each.
    level : {"ok", "warning", "error"}
        Error where the outputs plainly lost what they were for, as far as the inputs at hand tell;
        warning where there is another.
    vocabulary : Vocabulary or None
        What became of the embedding table, where that was asked for.
    date : str
        When it was made: year, month and day.
    states : sequence of StateChange
        Inputs and outputs that are states of the model, and have other shapes than before.
    steps : sequence of Step
        The model after each step, where its weights were converted after the compression.
    layers : sequence of LayerReport
        Both models layer by layer, where a report was asked for.
    requantised : Requantised or None
        What quantising the weights again costs, where those of the original are quantised.
    """

    before: Measures
    after: Measures
    groups: Sequence[GroupReport]
    declined: Sequence[Declined]
    notes: Sequence[str]
    command: str
    seed: int
    provider: str | None
    threads: int | None
    verified: bool
    versions: Mapping[str, str] = field(default_factory=installed_versions)
    model: str | None = None
    fidelity: Fidelity | None = None
    shortfall: Sequence[str] = ()
    budget: Spent | None = None
    spread: Spread | None = None
    unmeasured: Sequence[str] = ()
    warnings: Sequence[str] = ()
    level: str = "ok"
    vocabulary: Vocabulary | None = None
    date: str = field(default_factory=lambda: date.today().isoformat())
    states: Sequence[StateChange] = ()
    steps: Sequence[Step] = ()
    layers: Sequence[LayerReport] = ()
    requantised: Requantised | None = None

    @property
    def removed(self) -> int:
        """How many channels are gone."""
        return sum(group.width - group.kept for group in self.groups)

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists, strings and numbers."""
        budget = self.budget.to_dict() if self.budget else None
        found = asdict(self) | {"budget": budget}
        for example in found["fidelity"]["examples"] if self.fidelity else ():
            del example["picture"]  # the page shows it
        return found


def group_reports(outcomes: Sequence[Outcome]) -> tuple[GroupReport, ...]:
    """Return the account of every group, in topological order.

    Z is pictured for the groups in which most was merged, at most ``PICTURES``.
    """
    mixing = [o for o in outcomes if (o.scaling or o.summary) and o.merged]
    most = sorted(mixing, key=lambda o: -o.merged)[:PICTURES]
    pictured = {o.plan.name for o in most}
    return tuple(GroupReport.of(o, picture=o.plan.name in pictured) for o in outcomes)
