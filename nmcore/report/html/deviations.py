"""The histogram of how far single inputs deviate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from nmcore.report.html.axes import HEIGHT, WIDTH, across, frame, round_ticks, upwards
from nmcore.report.html.markup import Html, tag

# About so many bars.
BARS = 20

Bins = Sequence[tuple[float, float, int]]


def deviation_bins(values: Sequence[float]) -> Bins:
    """From where to where each bar goes, and how many values it counts.

    >>> deviation_bins([0.5, 1.5, 1.75, 19.0])[:2]
    [(0.0, 1.0, 1), (1.0, 2.0, 2)]
    """
    step = _round_up(max(values) / BARS) if max(values) > 0 else 1.0
    count = int(max(values) / step) + 1
    edges = [round(n * step, 9) for n in range(count + 1)]
    found = [0] * count
    for value in values:
        found[min(int(value / step), count - 1)] += 1
    return [(low, high, n) for (low, high), n in zip(pairwise(edges), found, strict=True)]


def quantile(values: Sequence[float], share: float) -> float:
    """The least value that such a share of all does not exceed.

    >>> quantile([3.0, 1.0, 2.0, 4.0], 0.5)
    2.0
    """
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def percent_text(value: float) -> str:
    """Write a percentage with as few digits as it needs.

    >>> percent_text(12.3456), percent_text(5.0)
    ('12.35 %', '5 %')
    """
    return f"{float(f'{value:.4g}'):.10g} %"


def deviations(bins: Bins) -> Html:
    """How many inputs deviate by how much."""
    most = max(count for *_, count in bins)
    last = bins[-1][1]
    x, y = across(0, last), upwards(0, most)
    boxes = [
        f"M{x(low) + 0.4:g} {y(0):g}H{x(high) - 0.4:g}V{y(count):g}H{x(low) + 0.4:g}z"
        for low, high, count in bins
        if count
    ]
    return tag(
        "svg",
        frame(
            x,
            y,
            [(last * n / 4, percent_text(last * n / 4)) for n in range(5)],
            [(tick, f"{tick:,}") for tick in round_ticks(most)],
            x_name="deviation of the outputs of an input",
        ),
        tag("path", d="".join(boxes), class_="kept"),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label="Inputs by how far the outputs of both models differ",
        class_="chart",
    )


def _round_up(value: float) -> float:
    """1, 2 or 5 times a power of ten, no less than a value."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * (1 - 1e-9))
