"""What each group would lose if more of its channels went, as far as its error curve goes."""

from __future__ import annotations

from collections.abc import Sequence

from nmcore.report.html.charts import share
from nmcore.report.html.components import folded, section, table
from nmcore.report.html.markup import Html, tag, text
from nmcore.report.report import GroupReport

# Shares of a group's channels that would go beside those that went.
STEPS = (0.05, 0.1)
# The cheapest groups are named, and so many rows stand on the page unfolded.
_CHEAPEST, _SHOWN = 3, 8


def further(groups: Sequence[GroupReport]) -> Html | None:
    """The section of the page; None where no curve goes beyond what was chosen."""
    known = [
        (group, costs)
        for group in groups
        if (costs := [error_after(group, step) for step in STEPS])[0] is not None
    ]
    if not known:
        return None
    known.sort(key=lambda item: _growth(item[0], item[1][0]))
    cheapest = ", ".join(group.name for group, _ in known[:_CHEAPEST])
    rows = [(text(group.name), _share(_now(group)), *map(_share, costs)) for group, costs in known]
    headers = ("group", "now", *(f"+{100 * step:.0f} %" for step in STEPS))
    grid = table(headers, rows)
    return section(
        "What more would cost",
        tag(
            "p",
            "The error of a group if a further share of its channels went, by its curve, which was "
            "measured on the original network; those in which the next step costs least come "
            f"first: {cheapest}.",
        ),
        grid if len(rows) <= _SHOWN else folded(f"All {len(rows)} groups", grid),
    )


def error_after(group: GroupReport, step: float) -> float | None:
    """The error with a further share of the channels gone; None beyond the curve.

    >>> from nmcore.plan.summaries import CurveSummary
    >>> curve = CurveSummary((1, 2, 3), (0.0, 0.1, 0.4), 0.0, True)
    >>> error_after(GroupReport("a", 20, 19, 0, 1, "moments", "", curve), 0.05)
    0.1
    """
    curve = group.curve
    if curve is None or not curve.original:
        return None
    wanted = group.width - group.kept + max(1, round(step * group.width))
    reached = [e for n, e in zip(curve.removed, curve.error, strict=True) if n >= wanted]
    return reached[0] if reached else None


def _now(group: GroupReport) -> float | None:
    if group.kept == group.width:
        return 0.0
    return None if group.curve is None else group.curve.chosen


def _growth(group: GroupReport, error: float | None) -> float:
    return (error or 0.0) - (_now(group) or 0.0)


def _share(value: float | None) -> str:
    return "\N{EN DASH}" if value is None else share(value)
