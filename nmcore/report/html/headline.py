"""The top of the page: what came out, as a sentence, as numbers and as notes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from nmcore.evaluation.metrics.figures import figure_of
from nmcore.report.html import charts
from nmcore.report.html.markup import Html, tag
from nmcore.report.phrases import UNCERTAIN, closing_lines, ratio_range
from nmcore.report.report import Measures, Report
from nmcore.report.steps import steps_text
from nmcore.utils.text import (
    counted,
    milliseconds,
    number,
    percent,
    size,
)


def opening(report: Report) -> Html:
    """What came out, before anything else."""
    return tag(
        "header",
        tag("h1", "Compression report"),
        tag("p", report.model, class_="muted") if report.model else Html(),
        tag("p", _summary(report)),
        tag("ul", *_cards(report), class_="numbers"),
        *_paragraphs(report.warnings, class_="warning"),
        *_paragraphs(report.notes),
        *_paragraphs(_caveats(report)),
        *_paragraphs(report.fidelity.told if report.fidelity else ()),
        *_paragraphs(steps_text(report.steps)),
        *_paragraphs(closing_lines(report), class_="muted"),
    )


def _summary(report: Report) -> str:
    channels = sum(group.width for group in report.groups)
    touched = sum(group.kept < group.width for group in report.groups)
    if not report.removed:
        return "No channel was removed."
    return (
        f"{report.removed:,} of {channels:,} channels removed, "
        f"in {touched:,} of {counted(len(report.groups), 'group')}; "
        f"{counted(len(report.declined), 'node')} left alone."
    )


def _caveats(report: Report) -> Iterator[str]:
    """Yield what to bear in mind about the headline numbers."""
    found = report.fidelity
    if found is not None:
        kind = "which tell how alike models are, not how good" if found.synthetic else found.limit
        yield (
            f"results compared on {found.inputs}, {kind}; "
            "nmcore evaluate compares them on other inputs"
        )


def _paragraphs(lines: Iterable[str], class_: str | None = None) -> Iterator[Html]:
    for line in lines:
        yield tag("p", f"{line[:1].upper()}{line[1:]}.", class_=class_)


def _cards(report: Report) -> Iterator[Html]:
    """The headline numbers."""
    quantities: tuple[tuple[str, Callable[[Measures], float | None], Callable[..., str]], ...] = (
        ("Parameters", lambda m: m.params, number),
        ("MACs", lambda m: m.macs, number),
        ("File size", lambda m: m.bytes, size),
    )
    for name, get, write in quantities:
        before, after = get(report.before), get(report.after)
        if before and after is not None:
            words = f"{write(after)} of {write(before)}"
            share = after / before
            yield _card(name, f"{100 * share:.3g} % left", words, charts.share_bar(share))
    yield from _latency_card(report)
    yield from _fidelity_cards(report)


def _latency_card(report: Report) -> Iterator[Html]:
    """The share of the time, with its spread, where it is certain that it changed."""
    before, after = report.before, report.after
    if not before.latency_ms or after.latency_ms is None:
        return
    words = f"{milliseconds(after.latency_ms)} of {milliseconds(before.latency_ms)}"
    share = after.latency_ms / before.latency_ms
    old, new = before.latency_range, after.latency_range
    between = ratio_range(old, new) if old and new else (share, share)
    if between is None:
        yield _card("Latency", UNCERTAIN, f"{words}; runs of both overlap")
        return
    if between[0] < between[1]:
        words += f"; {100 * between[0]:.0f} to {100 * between[1]:.0f} %"
    yield _card("Latency", f"{100 * share:.3g} % left", words, charts.share_bar(share))


def _fidelity_cards(report: Report) -> Iterator[Html]:
    found = report.fidelity
    if found is None:
        return
    inputs = f"on {counted(found.n, 'synthetic input' if found.synthetic else 'input')}"
    for name, value in found.metrics.items():
        if name not in ("top1", "agreement", "deviation") and value is not None:
            figure, words = figure_of(name), f"{figure_of(name).meaning}, {inputs}"
            yield _card(figure.header, figure.number(value), words)
    if found.top1_before is not None and found.top1_after is not None:
        words = f"{percent(found.top1_before)} % before, {inputs}"
        yield _card("Accuracy (top-1)", f"{percent(found.top1_after)} %", words)
    if found.agreement is not None:
        yield _card("Same top class", f"{percent(found.agreement)} %", f"as before, {inputs}")
    elif found.deviation is not None:
        yield _card("Deviation", f"{percent(found.deviation)} %", f"of the outputs, {inputs}")


def _card(name: str, main: str, detail: str, bar: Html | None = None) -> Html:
    return tag(
        "li",
        tag("span", name, class_="name"),
        tag("span", main, class_="main"),
        bar or Html(),
        tag("span", detail, class_="detail"),
    )
