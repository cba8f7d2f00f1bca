"""When a result is useless, or next to it: what the user must not miss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nmcore.budgets.allocation import Spent
from nmcore.evaluation.fidelity import Fidelity
from nmcore.evaluation.metrics.classes import classes_lost
from nmcore.report.phrases import why_nothing
from nmcore.report.report import Report
from nmcore.utils.text import percent, printable

# A group of which nothing but the mean is left has an error of 1.
LOST_ERROR = 1.0
# Above this deviation, in percent, a model is another one.
LOST_DEVIATION = 100.0
REMEDIES = "Try {amount}, {data}or other groups (--only, --exclude; nmcore inspect --sensitivity)"


def warnings_of(report: Report) -> Iterator[str]:
    """Yield what makes a result useless, or next to it, a line each."""
    if not (report.removed or report.vocabulary):
        yield f"nothing was removed: {printable(why_nothing(report.groups, report.declined))}"
    vocabulary = report.vocabulary
    if vocabulary is not None and (vocabulary.looked_up or 0) > vocabulary.kept:
        yield (
            f"the data looks up {vocabulary.looked_up:,} rows of the vocabulary, and "
            f"{vocabulary.kept:,} were asked for: rows that are needed are made of others"
        )
    if report.budget is not None and not report.budget.met:
        yield _overspent(report.budget)
    own, seen = [*_worst_groups(report)], [*_unlike(report.fidelity)]
    if own or seen:
        # What is seen on synthetic inputs alone may be better or worse on real ones.
        unsure = not own and report.fidelity is not None and report.fidelity.synthetic
        verdict = "accuracy may be gone" if unsure else "accuracy is probably gone"
        known = report.fidelity is not None and not report.fidelity.synthetic
        data = "" if known else "real inputs (--data), "
        remedies = REMEDIES.format(amount=_gentler(report), data=data)
        yield f"{verdict}: {'; '.join([*own, *seen])}. {remedies}"


def _gentler(report: Report) -> str:
    """What to ask for so that less goes, in the words of what was asked for."""
    if report.budget is not None:
        gentler = "smaller" if report.budget.kind == "max-drop" else "larger"
        return f"a {gentler} --{report.budget.kind}"
    if report.vocabulary is not None and not report.removed:
        return "a larger --vocabulary"
    return "a smaller --ratio, a budget in its place (--macs)"


def level_of(report: Report, warnings: Sequence[str]) -> str:
    """How bad it is: ``error``, ``warning`` or ``ok``; see :class:`Report`."""
    if [*_worst_groups(report)] or [*_unlike(report.fidelity)]:
        return "error"
    return "warning" if warnings else "ok"


def _overspent(budget: Spent) -> str:
    line = f"the budget is not met: {budget.kind} is {budget.reached:.3g}, {budget.asked:g} at most"
    if budget.kind != "latency":
        return f"{line} was asked for"
    return (
        f"{line} was asked for; the times vary too much to come closer: repeat it while nothing "
        "else runs here, or ask for a little less"
    )


def _worst_groups(report: Report) -> Iterator[str]:
    chosen = [(g.curve.chosen, g.name) for g in report.groups if g.curve and g.curve.chosen]
    lost = [(error, name) for error, name in chosen if error > LOST_ERROR]
    if lost:
        error, name = max(lost)
        yield (
            f"the error is above 1 in {len(lost)} of {len(report.groups)} groups, "
            f"the largest {error:.2f} in {printable(name)}"
        )


def _unlike(found: Fidelity | None) -> Iterator[str]:
    if found is None:
        return
    if found.lost:
        yield from (f"{lost} on {found.inputs}" for lost in found.lost)
        return
    lost = classes_lost(found.top1_before, found.top1_after, found.agreement)
    has_classes = found.agreement is not None or found.top1_after is not None
    deviates = not has_classes and (found.deviation or 0.0) > LOST_DEVIATION
    if lost is not None:
        yield f"{lost} on {found.inputs}"
    elif found.judged_by is None and deviates:
        yield f"the outputs deviate by {percent(found.deviation)} % on {found.inputs}"
