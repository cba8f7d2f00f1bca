"""Results in words: numbers with their units, and the sentences that terminal and page share."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from nmcore.group import Declined

if TYPE_CHECKING:
    from nmcore.report import Report

NOISE = "latency is uncertain: runs of one model differ more than twofold, the machine is busy"


def printable(text: str) -> str:
    r"""Escape what would break a line or steer a terminal; names come from files of strangers.

    >>> printable("conv\n1 \x1b[31m é")
    'conv\\n1 \\x1b[31m é'
    """
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def number(value: int | None) -> str:
    """Write a count with separators, ``?`` where it is unknown.

    >>> number(266610), number(None)
    ('266,610', '?')
    """
    return "?" if value is None else f"{value:,}"


def size(count: int) -> str:
    """Write a file size in the unit that suits it.

    >>> size(999), size(1067805), size(20_894_612)
    ('999 B', '1.07 MB', '20.9 MB')
    """
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 999.5:
            return f"{count} B" if unit == "B" else f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:,.3g} GB"


def milliseconds(value: float | None) -> str:
    """Write a time with three digits.

    >>> milliseconds(0.05123), milliseconds(12.345), milliseconds(None)
    ('0.0512 ms', '12.3 ms', '?')
    """
    if value is None:
        return "?"
    return f"{value:.0f} ms" if value >= 1000 else f"{value:.3g} ms"


def percent(value: float | None) -> str:
    """Write a percentage with two digits, ``-`` where there is none.

    >>> percent(87.018), percent(None)
    ('87.02', '-')
    """
    return "-" if value is None else f"{value:.2f}"


def change(before: float | None, after: float | None) -> str:
    """Write by how much something shrank or grew.

    >>> change(200, 150), change(200, 250), change(3, 3), change(None, 3)
    ('-25.0 %', '+25.0 %', '=', '')
    """
    if before is None or after is None or not before:
        return ""
    return "=" if before == after else f"{100 * (after / before - 1):+.1f} %"


def where(provider: str, threads: int) -> str:
    """Say how latency was measured.

    >>> where("cpu", 2)
    'latency: median of warm runs on cpu, 2 threads'
    """
    cores = f", {threads} thread{'s' if threads > 1 else ''}" if provider == "cpu" else ""
    return f"latency: median of warm runs on {provider}{cores}"


def by_reason(declined: Sequence[Declined]) -> list[tuple[str, list[Declined]]]:
    """Group declined nodes by what their reasons say apart from quoted names, commonest first."""
    kinds: dict[str, list[Declined]] = {}
    for place in declined:
        kinds.setdefault(re.sub(r" '[^']*'", "", place.reason), []).append(place)
    ordered = sorted(kinds.items(), key=lambda item: -len(item[1]))
    return [(_common(kind, places), places) for kind, places in ordered]


def _common(kind: str, places: Sequence[Declined]) -> str:
    reasons = {place.reason for place in places}
    return reasons.pop() if len(reasons) == 1 else kind


def closing_lines(report: Report) -> Iterator[str]:
    """Yield the end of a report: what holds for the result as a whole."""
    if not report.removed:
        yield f"nothing was removed: {printable(_why_nothing(report))}"
    yield from map(printable, report.shortfall)
    if report.provider is None or report.threads is None:
        yield "checked and verified" if report.verified else "checked"
    else:
        proofs = "checked, verified and loaded" if report.verified else "checked and loaded"
        yield f"{proofs}; {where(report.provider, report.threads)}"
    if uncertain(report):
        yield NOISE


def uncertain(report: Report) -> bool:
    """Whether the latency of either model varied too much."""
    models = (report.before, report.after)
    return any(noisy(model.latency_low_ms, model.latency_high_ms) for model in models)


def noisy(low: float | None, high: float | None) -> bool:
    """Whether the 10th and 90th percentile of a time are too far apart to trust its median."""
    return low is not None and high is not None and high > 2 * low


def _why_nothing(report: Report) -> str:
    if report.groups:
        return "the options keep all channels of every group"
    if not report.declined:
        return "the model has no weights whose channels could be traced"
    reason, places = by_reason(report.declined)[0]
    return f"{reason} ({len(places)} of {len(report.declined)} nodes)"
