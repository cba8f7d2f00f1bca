"""The pictures of a report as SVG; their colours are the classes of the style sheet."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from nmcore.plan.summaries import (
    BINS,
    CurveSummary,
    SimilaritySummary,
    ZSummary,
)
from nmcore.report.html.axes import (
    BOTTOM,
    HEIGHT,
    TOP,
    WIDTH,
    across,
    frame,
    label,
    round_ticks,
    upwards,
)
from nmcore.report.html.markup import Html, tag
from nmcore.report.report import GroupReport
from nmcore.utils.text import shortened

# The parts of a group's width, from the axis outwards.
PARTS = ("kept", "merged", "left-out")

# More groups than this have no room for gaps between them, and names on hovering would only
# swell the page.
MANY = 80
# Of more groups than this bars are too narrow for names, and so many letters are as long as a bar.
NAMED_BARS, NAME_LETTERS = 20, 28
# Of more error curves than this the legend names the ends alone.
NAMED_CURVES = 6
# Points of all error curves together.
POINTS = 3_000
# Errors below a hundred thousandth of what a layer computes are as good as none.
LEAST_DECADE = -5
# How Z's factors are told apart, as shares of the largest.
LEVELS = (0.1, 0.35, 0.65)
# Above the highest bar there is room for the threshold's name.
HEADROOM = 1.12
# A cell of Z is at most so large.
CELL = 9

# Shares below this are what rounding has left of nothing.
_ROUNDING = 1e-12


def _svg(name: str, *content: str) -> Html:
    """A picture with a name for those who do not see it."""
    return tag(
        "svg",
        *content,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=name,
        class_="chart",
    )


def widths(groups: Sequence[GroupReport]) -> Html:
    """How wide every group was and what became of its channels, in the order of the network."""
    most = max(group.width for group in groups)
    x, y = across(0, len(groups)), upwards(0, most)
    gap = 0.12 if len(groups) <= MANY else 0.0
    shapes: dict[str, list[str]] = {part: [] for part in PARTS}
    for place, group in enumerate(groups):
        base = 0
        for part, size in zip(PARTS, parts_of(group), strict=True):
            if size:
                box = (x(place + gap), y(base), x(place + 1 - gap), y(base + size))
                shapes[part].append(_box(*box))
            base += size
    paths = (tag("path", d="".join(shapes[part]), class_=part) for part in PARTS if shapes[part])
    hints = _hints(groups) if len(groups) <= MANY else ()
    last = [(len(groups) - 0.5, str(len(groups)))] if len(groups) > 1 else []
    return _svg(
        "Channels of every group: kept, merged and left out",
        frame(
            x,
            y,
            [(0.5, "1"), *last],
            [(tick, f"{tick:,}") for tick in round_ticks(most)],
            x_name="group, in the order of the network",
        ),
        *paths,
        *(_names(groups, y(0)) if len(groups) <= NAMED_BARS else ()),
        *hints,
    )


def _names(groups: Sequence[GroupReport], bottom: float) -> Iterator[Html]:
    """The name of each group along its bar."""
    x = across(0, len(groups))
    for place, group in enumerate(groups):
        at, up = round(x(place + 0.5) + 3, 2), round(bottom - 4, 2)
        yield tag(
            "text",
            shortened(group.name, NAME_LETTERS),
            x=at,
            y=up,
            transform=f"rotate(-90 {at:g} {up:g})",
            class_="name",
        )


def parts_of(group: GroupReport) -> tuple[int, int, int]:
    """The channels of a group by what became of them, as in ``PARTS``."""
    return group.kept, group.merged, group.left_out


def _hints(groups: Sequence[GroupReport]) -> Iterator[Html]:
    """Invisible areas that name a group when pointed at."""
    x = across(0, len(groups))
    for place, group in enumerate(groups):
        words = f"{group.name}: {group.kept} of {group.width} kept, {group.merged} merged"
        yield tag(
            "rect",
            tag("title", words),
            x=x(place),
            y=TOP,
            width=round(x(place + 1) - x(place), 2),
            height=HEIGHT - TOP - BOTTOM,
            class_="hint",
        )


def bar(group: GroupReport) -> Html:
    """What became of the channels of one group, as shares of its width."""
    shapes = []
    base = 0.0
    for part, size in zip(PARTS, parts_of(group), strict=True):
        share = 100 * size / group.width
        if size:
            shapes.append(
                tag("rect", x=round(base, 2), y=0, width=round(share, 2), height=10, class_=part)
            )
        base += share
    return tag(
        "svg",
        *shapes,
        viewBox="0 0 100 10",
        preserveAspectRatio="none",
        class_="bar",
        aria_hidden="true",
    )


def share_bar(share: float) -> Html:
    """How much of something is left."""
    return tag(
        "svg",
        tag("rect", x=0, y=0, width=100, height=10, class_="left-out"),
        tag("rect", x=0, y=0, width=round(min(100 * share, 100.0), 2), height=10, class_="kept"),
        viewBox="0 0 100 10",
        preserveAspectRatio="none",
        class_="bar",
        aria_hidden="true",
    )


def swatch(*, class_: str | None = None, fill: str | None = None) -> Html:
    """A spot of colour for a legend."""
    spot = tag("rect", x=0.5, y=0.5, width=9, height=9, rx=1.5, class_=class_, fill=fill)
    return tag("svg", spot, viewBox="0 0 10 10", aria_hidden="true")


def spectrum() -> Html:
    """The colours of many curves, first to last."""
    steps = 24
    spots = (
        tag("rect", x=n, y=0, width=1.05, height=4, fill=colour(n, steps)) for n in range(steps)
    )
    return tag(
        "svg",
        *spots,
        viewBox=f"0 0 {steps} 4",
        preserveAspectRatio="none",
        class_="spectrum",
        aria_hidden="true",
    )


def curves(groups: Sequence[GroupReport]) -> Html | None:
    """The error of every group as its channels go, on a logarithmic scale; None if all is zero."""
    measured = [(group, group.curve) for group in groups if group.curve is not None]
    errors = [error for _, curve in measured for error in curve.error if error > 0]
    if not errors:
        return None
    low = max(math.floor(math.log10(min(errors))), LEAST_DECADE)
    high = max(math.ceil(math.log10(max(errors))), low + 1)
    x, y = across(0, 1), upwards(low, high)
    points = max(8, POINTS // len(measured))
    radius = 3 if len(measured) <= MANY else 2
    lines, dots = [], []
    for place, (group, curve) in enumerate(measured):
        hue = colour(place, len(measured))
        path = " ".join(
            f"{x(removed / group.width):g},{y(_log(error, low)):g}"
            for removed, error in _thinned(curve, points)
        )
        lines.append(tag("polyline", tag("title", group.name), points=path, stroke=hue))
        if curve.chosen is not None:
            at = x((group.width - group.kept) / group.width), y(_log(curve.chosen, low))
            words = f"{group.name}: error {share(curve.chosen)} with {group.kept} of {group.width}"
            dots.append(tag("circle", tag("title", words), cx=at[0], cy=at[1], r=radius, fill=hue))
    ticks = [(decade, share(10.0**decade)) for decade in range(low, high + 1)]
    return _svg(
        "Error against the share of channels removed, a line a group, a dot where it ended up",
        frame(
            x,
            y,
            [(n / 4, f"{25 * n} %") for n in range(5)],
            ticks,
            x_name="channels removed",
        ),
        tag("g", *lines, class_="curves"),
        tag("g", *dots, class_="dots"),
    )


def colour(place: int, count: int) -> str:
    """From blue through purple to orange for the last; visible on white and on black."""
    return f"hsl({(215 + 175 * place / max(count - 1, 1)) % 360:.0f} 65% 55%)"


def share(value: float) -> str:
    """Write a share in percent with as few digits as it needs; what rounding leaves is 0.

    >>> share(0.5), share(0.001234), share(3e-17)
    ('50 %', '0.123 %', '0 %')
    """
    value = value if abs(value) > _ROUNDING else 0.0
    return f"{float(f'{100 * value:.3g}'):.10g} %"


def _log(value: float, low: int) -> float:
    return math.log10(value) if value > 0 else low


def _thinned(curve: CurveSummary, most: int) -> list[tuple[int, float]]:
    """At most so many points, the last among them."""
    points = list(zip(curve.removed, curve.error, strict=True))
    step = max(1, math.ceil(len(points) / most))
    return points[::-1][::step][::-1]


def similarity(summaries: Sequence[SimilaritySummary]) -> Html:
    """How many removed channels were how alike to their kept ones, and the threshold."""
    merged, left_out = histogram(summaries)
    thresholds = sorted({s.threshold for s in summaries if s.threshold is not None})
    occupied = [n for n in range(BINS) if merged[n] + left_out[n]]
    low = math.floor(5 * min([edge(occupied[0]), *thresholds])) / 5
    most = max(a + b for a, b in zip(merged, left_out, strict=True))
    x, y = across(low, 1), upwards(0, HEADROOM * most)
    shapes: dict[str, list[str]] = {"merged": [], "left-out": []}
    for n in occupied:
        left, right = x(edge(n)) + 0.4, x(edge(n + 1)) - 0.4
        if merged[n]:
            shapes["merged"].append(_box(left, y(0), right, y(merged[n])))
        if left_out[n]:
            shapes["left-out"].append(_box(left, y(merged[n]), right, y(merged[n] + left_out[n])))
    ticks = [low + 0.2 * n for n in range(round((1 - low) / 0.2) + 1)]
    every = 2 if len(ticks) > 7 else 1
    return _svg(
        "Removed channels by their similarity to the kept channel they were matched with",
        frame(
            x,
            y,
            [(tick, f"{round(tick, 1):g}") for tick in ticks[::-1][::every][::-1]],
            [(tick, f"{tick:,}") for tick in round_ticks(most)],
            x_name="cosine to the matched kept channel",
        ),
        *(tag("path", d="".join(paths), class_=part) for part, paths in shapes.items() if paths),
        *_marks(thresholds, x.low),
    )


def histogram(summaries: Iterable[SimilaritySummary]) -> tuple[list[int], list[int]]:
    """Merged and left-out channels of several groups, by bin."""
    merged, left_out = [0] * BINS, [0] * BINS
    for summary in summaries:
        merged = [a + b for a, b in zip(merged, summary.merged, strict=True)]
        left_out = [a + b for a, b in zip(left_out, summary.left_out, strict=True)]
    return merged, left_out


def edge(number: int) -> float:
    """The left edge of a bin.

    >>> edge(0), edge(BINS)
    (-1.0, 1.0)
    """
    return round(-1 + 2 * number / BINS, 6)


def _marks(thresholds: Sequence[float], low: float) -> Iterator[Html]:
    x = across(low, 1)
    for number, threshold in enumerate(thresholds):
        at = x(threshold)
        yield tag("line", x1=at, x2=at, y1=TOP - 4, y2=HEIGHT - BOTTOM, class_="threshold")
        right = at > WIDTH * 0.6
        words = f"threshold {threshold:g}"
        y = TOP + 6 + 13 * number
        yield label(at - 5 if right else at + 5, y, words, anchor="end" if right else "start")


def z_picture(z: ZSummary) -> Html:
    """Z: on the left the unit columns of the kept channels, on the right those of the others."""
    rows, columns = len(z.cells), max((len(row) for row in z.cells), default=0)
    gap = 1.0
    width = rows + gap + columns
    units = "".join(_cell(n, n, 1) for n in range(rows))
    shapes: dict[str, list[str]] = {}
    for row, numbers in enumerate(z.cells):
        for column, run, kind in _runs([_level(number, z.largest) for number in numbers]):
            shapes.setdefault(kind, []).append(_cell(rows + gap + column, row, run))
    return tag(
        "svg",
        tag("rect", x=0, y=0, width=rows, height=rows, class_="field"),
        tag("rect", x=rows + gap, y=0, width=columns, height=rows, class_="field"),
        tag("path", d=units, class_="kept"),
        *(tag("path", d="".join(paths), class_=kind) for kind, paths in sorted(shapes.items())),
        viewBox=f"0 0 {width:g} {rows}",
        width=f"{width * CELL:g}",
        role="img",
        aria_label=f"Z: {z.kept} rows, {z.kept} unit columns and {z.removed} others",
        class_="z",
    )


def _level(number: float, largest: float) -> str:
    """The class of a cell: its sign and how strong it is; empty where it is zero."""
    if not number or not largest:
        return ""
    strength = sum(abs(number) / largest > level for level in LEVELS)
    return f"{'negative' if number < 0 else 'merged'} level{strength}"


def _runs(kinds: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """Neighbours that are alike, as start, length and kind; without the empty ones."""
    start = 0
    for place in range(1, len(kinds) + 1):
        if place == len(kinds) or kinds[place] != kinds[start]:
            if kinds[start]:
                yield start, place - start, kinds[start]
            start = place


def _cell(column: float, row: int, run: int) -> str:
    return f"M{column:g} {row}h{run}v1h-{run}z"


def _box(left: float, bottom: float, right: float, top: float) -> str:
    return f"M{left:g} {bottom:g}H{right:g}V{top:g}H{left:g}z"
