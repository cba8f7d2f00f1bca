"""When a result is useless, or next to it: what the user must not miss."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from nmcore.wording import by_reason, percent, printable

if TYPE_CHECKING:
    from nmcore.evaluate import Fidelity
    from nmcore.report import Report

# A group of which nothing but the mean is left has a relative error of 1.
LOST_ERROR = 1.0
# Below this agreement, in percent, or above this deviation a model is another one.
LOST_AGREEMENT, LOST_DEVIATION = 50.0, 100.0
REMEDIES = (
    "Try a smaller --ratio, a budget in its place (--macs), real inputs (--data), "
    "or other groups (--only, --exclude; nmcore inspect --sensitivity)"
)


def warnings(report: Report) -> Iterator[str]:
    """Yield what makes a result useless, or next to it."""
    if not report.removed:
        yield f"nothing was removed: {printable(_why_nothing(report))}"
    evidence = [*_worst_groups(report), *_unlike(report.fidelity)]
    if evidence:
        yield f"accuracy is probably gone: {'; '.join(evidence)}. {REMEDIES}"


def _worst_groups(report: Report) -> Iterator[str]:
    chosen = [(g.curve.chosen, g.name) for g in report.groups if g.curve and g.curve.chosen]
    lost = [(error, name) for error, name in chosen if error > LOST_ERROR]
    if lost:
        error, name = max(lost)
        yield (
            f"the relative error is above 1 in {len(lost)} of {len(report.groups)} groups, "
            f"the largest {error:.2f} in {printable(name)}"
        )


def _unlike(found: Fidelity | None) -> Iterator[str]:
    if found is None:
        return
    if found.top1_before is not None and found.top1_after is not None:
        if found.top1_after < found.top1_before / 2:
            yield f"top-1 is {percent(found.top1_after)} % on {found.inputs}"
    elif found.agreement is not None:
        if found.agreement < LOST_AGREEMENT:
            yield f"{percent(found.agreement)} % keep their top class on {found.inputs}"
    elif found.deviation is not None and found.deviation > LOST_DEVIATION:
        yield f"the outputs deviate by {percent(found.deviation)} % on {found.inputs}"


def _why_nothing(report: Report) -> str:
    if report.groups:
        return "the options keep all channels of every group"
    if not report.declined:
        return "the model has no weights whose channels could be traced"
    reason, places = by_reason(report.declined)[0]
    return f"{reason} ({len(places)} of {len(report.declined)} nodes)"
