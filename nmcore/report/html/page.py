"""The page as a whole: its sections, in the order in which a reader asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from importlib.resources import files

from nmcore.evaluation.fidelity import Fidelity
from nmcore.plan.summaries import PICTURES, CurveSummary, SimilaritySummary
from nmcore.report.html import charts, deviations
from nmcore.report.html.components import (
    folded,
    legend,
    pair,
    section,
    table,
)
from nmcore.report.html.further import further
from nmcore.report.html.headline import opening
from nmcore.report.html.markup import (
    Html,
    join,
    tag,
    text,
)
from nmcore.report.html.portable import portable
from nmcore.report.html.strip import strip
from nmcore.report.html.worst import worst
from nmcore.report.phrases import by_reason
from nmcore.report.report import GroupReport, Report
from nmcore.utils.text import counted

# Tables of more groups than this are folded away.
SHOWN_GROUPS = 16
# Of fewer inputs no histogram is drawn.
FEWEST_INPUTS = 8
# So many different reasons are named; the JSON report has that of every group.
SHOWN_REASONS = 8
# Columns of the table of errors: shares of the channels removed.
QUARTERS = (0.25, 0.5, 0.75)
# Nothing is loaded and nothing runs, whatever a name in the model may hold.
# Small pictures of inputs are held by the page itself.
POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'"
)


def page(report: Report) -> str:
    """Write a report as one HTML file without scripts, for screens, phones and paper."""
    report = portable(report)
    title = "Compression report" + (f": {report.model}" if report.model else "")
    sections = (
        pair(
            strip(report.layers),
            _widths(report.groups),
            _curves(report.groups),
            _deviations(report.fidelity),
            _similarity(report.groups),
        ),
        _groups(report.groups),
        worst(report.fidelity),
        further(report.groups),
        _scaling(report.groups),
        _left_alone(report),
        _reproduction(report),
    )
    body = tag("body", opening(report), tag("main", *(s for s in sections if s is not None)))
    return f"<!doctype html>\n{tag('html', _head(title), body, lang='en')}\n"


def _head(title: str) -> Html:
    style = files("nmcore.report.html").joinpath("style.css").read_text(encoding="utf-8")
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", Html(style)),
    )


def _widths(groups: Sequence[GroupReport]) -> Html | None:
    if not groups:
        return None
    return section(
        "Channels",
        tag(
            "figure",
            charts.widths(groups),
            tag("figcaption", _parts_legend(groups), "The table of groups has the numbers."),
        ),
    )


def _deviations(found: Fidelity | None) -> Html | None:
    """How far the outputs of single inputs are from the original's."""
    if found is None or len(found.deviations) < FEWEST_INPUTS:
        return None
    bins = deviations.deviation_bins(found.deviations)
    rows = [
        (text(f"{deviations.percent_text(low)} to {deviations.percent_text(high)}"), str(count))
        for low, high, count in bins
    ]
    half, most = (
        deviations.percent_text(deviations.quantile(found.deviations, q)) for q in (0.5, 0.9)
    )
    return section(
        "Deviation, input by input",
        tag(
            "figure",
            deviations.deviations(bins),
            tag(
                "figcaption",
                f"Half of {counted(len(found.deviations), 'input')} deviate by at most {half}, "
                f"nine of ten by at most {most}: root mean square of the difference of the "
                "outputs, in percent of that of the input's own.",
            ),
        ),
        folded("The histogram as a table", table(("deviation", "inputs"), rows)),
    )


def _groups(groups: Sequence[GroupReport]) -> Html | None:
    if not groups:
        return None
    grid = table(
        ("group", "width", "kept", "merged", "left out"),
        [
            (
                join([group.name, charts.bar(group)]),
                *map(str, (group.width, *charts.parts_of(group))),
            )
            for group in groups
        ],
        class_="groups",
    )
    return section(
        "Groups of channels",
        _reasons(groups),
        folded(f"All {len(groups)} groups", grid) if len(groups) > SHOWN_GROUPS else grid,
    )


def _parts_legend(groups: Sequence[GroupReport]) -> Html:
    words = ("kept", "merged into the next layer", "left out")
    sums = map(sum, zip(*map(charts.parts_of, groups), strict=True))
    return legend(
        join([charts.swatch(class_=part), name])
        for part, name, channels in zip(charts.PARTS, words, sums, strict=True)
        if channels
    )


def _reasons(groups: Sequence[GroupReport]) -> Html:
    reasons = Counter((group.method, group.reason) for group in groups).most_common()
    return _foremost(
        f"{counted(times, 'group')}, method {method}: {reason}"
        for (method, reason), times in reasons
    )


def _foremost(lines: Iterable[str]) -> Html:
    """A list that says how many items it leaves out."""
    said = list(lines)
    rest = len(said) - SHOWN_REASONS
    more = [f"{counted(rest, 'other reason')}"] if rest > 0 else []
    return tag("ul", *(tag("li", line) for line in (*said[:SHOWN_REASONS], *more)))


def _curves(groups: Sequence[GroupReport]) -> Html | None:
    measured = [(g, g.curve) for g in groups if g.curve is not None]
    picture = charts.curves(groups)
    if picture is None:
        return None
    rows = [
        (text(group.name), *(_error_at(curve, group.width, part) for part in QUARTERS), _end(curve))
        for group, curve in measured
    ]
    headers = ("group", *(f"at {part:.0%}" for part in QUARTERS), "chosen")
    return section(
        "Error as channels go",
        tag(
            "figure",
            picture,
            tag(
                "figcaption",
                _groups_legend([group.name for group, _ in measured]),
                "What the next layer gets wrong even after the best compensation, relative to "
                "the variance of what it computes. A dot is where a group ended up. ",
                _conditions([curve.original for _, curve in measured]),
            ),
        ),
        folded("The errors as a table", table(headers, rows)),
    )


def _conditions(original: Sequence[bool]) -> str:
    """On what the curves were measured."""
    if all(original):
        return "Measured on the original network."
    if not any(original):
        return "Measured on the network compressed so far, as far as channels were removed."
    return (
        "Measured on the original network, or, where curves end at their dots, compressed so far."
    )


def _groups_legend(names: Sequence[str]) -> Html:
    """Each group's colour, or the range of colours where there are too many."""
    colours = [charts.colour(place, len(names)) for place in range(len(names))]
    if len(names) <= charts.NAMED_CURVES:
        pairs = zip(colours, names, strict=True)
        return legend(join([charts.swatch(fill=hue), name]) for hue, name in pairs)
    return legend([join([charts.spectrum(), f"first to last of {len(names)} groups"])])


def _error_at(curve: CurveSummary, width: int, share: float) -> str:
    """The error with a share of the channels removed; a dash where it was not measured."""
    reached = [e for n, e in zip(curve.removed, curve.error, strict=True) if n <= share * width]
    ended = not curve.removed or curve.removed[-1] + 1 < share * width
    return "\N{EN DASH}" if ended or not reached else charts.share(reached[-1])


def _end(curve: CurveSummary) -> str:
    return "\N{EN DASH}" if curve.chosen is None else charts.share(curve.chosen)


def _similarity(groups: Sequence[GroupReport]) -> Html | None:
    summaries = [group.similarity for group in groups if group.similarity is not None]
    merged, left_out = charts.histogram(summaries)
    if not any((*merged, *left_out)):
        return None
    rows = [
        (
            text(f"{charts.edge(n):.2f} to {charts.edge(n + 1):.2f}"),
            str(merged[n]),
            str(left_out[n]),
        )
        for n in range(len(merged))
        if merged[n] or left_out[n]
    ]
    return section(
        "Similarity of removed and kept channels",
        tag(
            "figure",
            charts.similarity(summaries),
            tag(
                "figcaption",
                legend(
                    join([charts.swatch(class_=part), name])
                    for part, name in (("merged", "merged"), ("left-out", "left out"))
                ),
                f"{counted(sum(merged), 'removed channel')} had a kept one alike enough to be "
                f"merged into; {sum(left_out):,} had none{_at(summaries)}.",
            ),
        ),
        folded("The histogram as a table", table(("cosine", "merged", "left out"), rows)),
    )


def _at(summaries: Sequence[SimilaritySummary]) -> str:
    thresholds = sorted({s.threshold for s in summaries if s.threshold is not None})
    return f" (threshold {' or '.join(f'{t:g}' for t in thresholds)})" if thresholds else ""


def _scaling(groups: Sequence[GroupReport]) -> Html | None:
    """Z of some groups, of which one is shown at a time; no script is needed to choose."""
    drawn = [group for group in groups if group.z is not None]
    if not drawn:
        return _no_z(groups)
    which = " These are the groups where most was merged." if len(drawn) == PICTURES else ""
    first = max(drawn, key=lambda group: group.merged)
    return section(
        "How kept channels stand in: Z",
        tag(
            "p",
            "A row is a kept channel, a column a channel of the original. On the left each kept "
            "channel is itself; on the right a removed one is made up of the kept ones whose rows "
            f"are marked, the stronger the larger the factor.{which}",
        ),
        legend(
            join([charts.swatch(class_=kind), name])
            for kind, name in (
                ("kept", "kept"),
                ("merged", "merged"),
                ("negative", "merged with a negative factor"),
            )
        ),
        *(_z_of(group, opened=group is first) for group in drawn),
    )


def _no_z(groups: Sequence[GroupReport]) -> Html | None:
    if not any(group.curve is not None and group.kept < group.width for group in groups):
        return None
    return tag(
        "p",
        "What reads the channels was refitted as a whole, so there is no Z to draw; "
        "--method merge makes one.",
        class_="muted",
    )


def _z_of(group: GroupReport, *, opened: bool) -> Html:
    z = group.z
    assert z is not None
    words = f"{group.name}: {z.kept} \N{MULTIPLICATION SIGN} {z.kept + z.removed}"
    rows = len(z.cells)
    columns = max((len(row) for row in z.cells), default=0)
    coarse = rows < z.kept or columns < z.removed
    return tag(
        "details",
        tag("summary", words),
        charts.z_picture(z),
        tag(
            "p",
            f"{counted(z.removed - z.left_out, 'removed channel')} merged"
            + (f", {z.left_out} left out (the empty columns at the right)" if z.left_out else "")
            + f"; the largest factor is {z.largest:.3g}."
            + (" A cell shows the largest factor of several neighbours." if coarse else ""),
            class_="muted",
        ),
        name="z",
        open=opened,
    )


def _left_alone(report: Report) -> Html | None:
    if not report.declined:
        return None
    kinds = by_reason(report.declined)
    rows = [
        (text(place.node), text(place.op), text(place.reason))
        for _, places in kinds
        for place in places
    ]
    return section(
        "Left alone, and why",
        _foremost(f"{counted(len(p), 'node')}: {reason}" for reason, p in kinds),
        folded("The nodes by name", table(("node", "<operator", "<reason"), rows)),
    )


def _reproduction(report: Report) -> Html:
    facts = {
        "date": report.date,
        "seed": str(report.seed),
        "ran on": _machine(report),
        **report.versions,
    }
    return section(
        "The same again",
        tag("pre", tag("code", report.command)),
        tag(
            "dl",
            *(
                tag("div", tag("dt", name), tag("dd", value))
                for name, value in facts.items()
                if value
            ),
        ),
    )


def _machine(report: Report) -> str:
    if report.provider is None or report.threads is None:
        return ""
    return f"{report.provider}, {counted(report.threads, 'thread')}"
