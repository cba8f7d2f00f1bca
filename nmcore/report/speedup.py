"""Why a model did not get as much faster as it got smaller, as far as figures at hand tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nmcore.budgets.meter import Meter
from nmcore.plan.outcome import Outcome
from nmcore.plugins import capabilities
from nmcore.plugins.protocols import Graph
from nmcore.report.phrases import UNCERTAIN, latency_change, noisy
from nmcore.report.report import Measures

# A speed-up is worth explaining where it reaches less of what the work saved would allow.
FAIR = 0.8
# Kernels work on so many channels at once.
BLOCKS = (8, 16)
# Microseconds that a runtime needs about to start a node, whatever it computes.
START = 10.0
# Below so many uses of each weight, fetching weights takes longer than computing with them.
USES = 8.0
# A share of the remaining work that is worth naming.
NOTABLE = 0.3


def shortfall(
    graph: Graph,
    outcomes: Sequence[Outcome],
    before: Measures,
    after: Measures,
    *,
    rounded: bool,
) -> Iterator[str]:
    """Yield what keeps the result from being faster, and what to try; nothing where it is fast.

    Parameters
    ----------
    graph : Graph
        The compressed model.
    outcomes : sequence of Outcome
        What became of each group.
    before, after : Measures
        The two models; without steady latencies there is nothing to explain.
    rounded : bool
        Whether the widths are those that the runtime was found to like.
    """
    if not before.macs or after.macs is None or not _steady(before) or not _steady(after):
        return
    assert before.latency_ms is not None
    assert after.latency_ms is not None
    time, work = after.latency_ms / before.latency_ms, after.macs / before.macs
    if work == 1 or work / time >= FAIR:
        return
    reasons = [*_odd(graph, outcomes, rounded), *_bound(graph, before, after)]
    certain = latency_change(before, after) != UNCERTAIN
    gain = f"{time:.2f} of the time" if certain else "no certain gain of time"
    yield f"{gain} with {work:.2f} of the MACs: {reasons[0] if reasons else _OTHERWISE}"
    yield from (f"also, {reason}" for reason in reasons[1:])


_OTHERWISE = (
    "the rest is work that does not shrink with the MACs, such as element-wise operators, "
    "depthwise convolutions and moving data"
)


def _steady(model: Measures) -> bool:
    return bool(model.latency_ms) and not noisy(model.latency_low_ms, model.latency_high_ms)


def _odd(graph: Graph, outcomes: Sequence[Outcome], rounded: bool) -> Iterator[str]:
    """Widths that kernels do not like."""
    if rounded:
        return
    blocks = {g.name: g.block for g in capabilities.cuttable(graph)}
    plans = [o.plan for o in outcomes if len(o.plan.kept) < o.plan.width]
    widths = [len(plan.kept) * blocks[plan.name] for plan in plans]
    for block in BLOCKS:
        odd = sum(width % block > 0 for width in widths)
        if odd:
            yield (
                f"{odd} of {len(widths)} cut groups keep no multiple of {block} channels, which "
                "runtimes are slow at; try --round-to auto"
            )
            return


def _bound(graph: Graph, before: Measures, after: Measures) -> Iterator[str]:
    """What else takes the time."""
    assert after.latency_ms is not None
    assert after.macs
    start = 1000 * after.latency_ms / max(after.nodes, 1)
    if start < START:
        yield (
            f"a node takes {start:.1f} microseconds on average, about what the runtime needs to "
            "start one whatever its width; larger batches make better use of it"
        )
    meter = Meter(graph.terms(), capabilities.widths(graph), "macs")
    fixed = ((before.macs or 0) - meter.total()) / after.macs
    if fixed >= NOTABLE:
        yield (
            f"{100 * fixed:.0f} % of the MACs that remain are in layers that are left alone, "
            "listed with their reasons"
        )
    uses = after.macs / max(after.params, 1)
    if uses < USES:
        yield (
            f"each weight is used {uses:.1f} times a run, so fetching weights takes the time; "
            "a budget of --params saves more of it"
        )
