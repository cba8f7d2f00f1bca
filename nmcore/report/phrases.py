"""Results in words: numbers with their units, and the sentences that terminal and page share."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from nmcore.evaluation.fidelity import Fidelity
from nmcore.evaluation.metrics.base import Loss
from nmcore.evaluation.metrics.figures import SAID, figure_of, in_words
from nmcore.group import Cost, Declined, Group, ScorePair
from nmcore.plugins.states import StateChange
from nmcore.report.report import GroupReport, Measures, Report
from nmcore.report.steps import steps_text
from nmcore.utils.text import (
    change,
    milliseconds,
    printable,
    shape_text,
    size,
    stated_text,
    wanted_sizes,
)

# So many groups, or nodes, are named for one reason.
NAMED = 4
# A change of latency that is less than the times vary.
UNCERTAIN = "not certain"
Range = tuple[float, float]
# A standard error of so many percentage points is told, of so many inputs: fewer tell nothing.
MATTERS, FEWEST_TOLD = 1.0, 8

NOISE = "latency is uncertain: runs of one model differ more than twofold, the machine is busy"


def cost_notes(cost: Cost) -> Iterator[str]:
    """Say what the multiply-accumulates of a model rest on, or why they are unknown.

    >>> list(cost_notes(Cost(3, 10, 50, assumed={"image": (1, 3, 224, 224)})))
    ['MACs are of image=1x3x224x224, a guess: the model leaves sizes open (--input-shape)']
    >>> list(cost_notes(Cost(3, 10, uncounted=("conv7", "conv8"))))
    ['MACs unknown: sizes at 2 nodes are computed while the model runs, first at conv7']
    """
    if cost.macs is None:
        count = len(cost.uncounted)
        nodes = f" at {count} node{'s' if count > 1 else ''}" if count else ""
        first = f", first at {cost.uncounted[0]}" if count else ""
        ask = f"; {wanted_sizes(cost.assumed)}" if cost.assumed else ""
        yield f"MACs unknown: sizes{nodes} are computed while the model runs{first}{ask}"
    elif cost.assumed:
        inputs = stated_text(cost.assumed)
        yield f"MACs are of {inputs}, a guess: the model leaves sizes open (--input-shape)"
    if cost.macs is not None:
        yield from (f"MACs count {remark}" for remark in cost.remarks)


def states_note(following: Mapping[str, str]) -> Iterator[str]:
    """Say which output gives what each state is next, or that there is no state to cut.

    >>> list(states_note({"h0": "hn"}))
    ['states: h0 takes what hn gave in the step before']
    >>> list(states_note({}))
    ['states changes nothing: no input of the model takes what an output gave in the step before']
    """
    if not following:
        yield (
            "states changes nothing: no input of the model takes what an output gave in the step "
            "before"
        )
        return
    pairs = (f"{name} takes what {output} gave" for name, output in following.items())
    yield f"states: {', '.join(pairs)} in the step before"


def streams_note(cut: Iterable[Group]) -> Iterator[str]:
    """Name the residual streams that a ratio cuts: groups that several layers make together.

    >>> stream = Group("stem", 64, ("stem", "block1", "block2"), ("head",))
    >>> list(streams_note([stream, Group("conv1", 64, ("conv1",), ("conv2",))]))
    ['cut as well: stem, a residual stream; --exclude spares it, --macs weighs it']
    """
    streams = [group.name for group in cut if len(group.producers) > 1]
    if not streams:
        return
    one = len(streams) == 1
    more = "" if one else f" and {len(streams) - 1} more"
    pronoun = "it" if one else "them"
    what = "a residual stream" if one else "residual streams"
    yield (
        f"cut as well: {streams[0]}{more}, {what}; "
        f"--exclude spares {pronoun}, --macs weighs {pronoun}"
    )


def heads_notes(pairs: Sequence[ScorePair], declined: Sequence[Declined]) -> Iterator[str]:
    """Say which attention heads may become narrower inside, and why others may not.

    >>> pair = ScorePair("scores", 32, ("query", "key"), ("scores",), heads=12, key_heads=12)
    >>> for line in heads_notes([pair], [Declined("other", "MatMul", "its keys pass Tanh 'a'")]):
    ...     print(line)
    query/key channels inside heads, which budgets with method moments may remove: scores (32)
    heads that keep their query/key channels: other: its keys pass Tanh 'a'
    """
    if pairs:
        names = [f"{pair.name} ({pair.width})" for pair in pairs[:NAMED]]
        more = f", and {len(pairs) - NAMED} more" if len(pairs) > NAMED else ""
        yield (
            "query/key channels inside heads, which budgets with method moments may remove: "
            f"{', '.join(names)}{more}"
        )
    for reason, places in by_reason(declined):
        more = f", and {len(places) - NAMED} more" if len(places) > NAMED else ""
        named = ", ".join(place.node for place in places[:NAMED])
        yield f"heads that keep their query/key channels: {named}{more}: {reason}"


def state_note(state: StateChange) -> str:
    """Say how the shape of a state has changed.

    >>> state_note(StateChange("h0", False, (1, None, 128), (1, None, 64)))
    'the input h0 is a state of shape (1, ?, 64) now, not (1, ?, 128)'
    """
    what = "output" if state.output else "input"
    before, after = map(shape_text, (state.before, state.after))
    return f"the {what} {state.name} is a state of shape {after} now, not {before}"


def ratio_range(before: Range, after: Range) -> Range | None:
    """Between which ratios one time lies to another; None where their ranges overlap.

    >>> ratio_range((9, 11), (4.5, 5.5)), ratio_range((9, 11), (10, 12))
    ((0.4090909090909091, 0.6111111111111112), None)
    """
    if after[0] <= before[1] and before[0] <= after[1]:
        return None
    return after[0] / before[1], after[1] / before[0]


def latency_change(before: Measures, after: Measures) -> str:
    """Write by how much a latency changed, with its spread, or that it is not certain.

    >>> from nmcore.report.report import Measures
    >>> slow, fast, like = (Measures(3, 10, 10, 99, *t) for t in ((2, 1.9, 2.2), (1, 0.9, 1.1),
    ...                                                           (1.9, 1.6, 2.1)))
    >>> latency_change(slow, fast), latency_change(slow, like), latency_change(slow, slow)
    ('-50.0 % (-59 to -42)', 'not certain', 'not certain')
    """
    old, new = before.latency_range, after.latency_range
    if old is None or new is None:
        return change(before.latency_ms, after.latency_ms)
    between = ratio_range(old, new)
    if between is None:
        return UNCERTAIN
    low, high = (f"{100 * (ratio - 1):+.0f}" for ratio in between)
    return f"{change(before.latency_ms, after.latency_ms)} ({low} to {high})"


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


def declined_lines(
    declined: Sequence[Declined], named_as: Callable[[str], str] = str
) -> Iterator[str]:
    r"""Yield what was left alone, one line for each kind of reason, the commonest first.

    Parameters
    ----------
    named_as : callable
        How a node's name is written.

    >>> adds = [Declined(name, "Conv", f"it meets Add 'add_{name}'") for name in "ab"]
    >>> last = Declined("c", "Gemm", "its channels are the output 'logits'")
    >>> print("\n".join(declined_lines([last, *adds])))
    left alone: 3 nodes
      2 x it meets Add: a (Conv), b (Conv)
      1 x its channels are the output 'logits': c (Gemm)
    """
    if not declined:
        return
    yield f"left alone: {len(declined)} node{'s' if len(declined) > 1 else ''}"
    for reason, places in by_reason(declined):
        named = ", ".join(f"{named_as(place.node)} ({place.op})" for place in places[:NAMED])
        more = len(places) - NAMED
        rest = f", and {more} more" if more > 0 else ""
        yield f"  {len(places)} x {reason}: {named}{rest}"


def why_nothing(groups: Sequence[Any], declined: Sequence[Declined]) -> str:
    """Say why no channel goes.

    >>> why_nothing([], [Declined("a", "Conv", "it meets Add 'b'")])
    "it meets Add 'b' (1 of 1 nodes)"
    """
    if groups:
        return "the options keep all channels of every group"
    if not declined:
        return "the model has no weights whose channels could be traced"
    kinds = by_reason(declined)
    reason, places = kinds[0]
    rest = "; nmcore inspect lists the other reasons" if len(kinds) > 1 else ""
    return f"{reason} ({len(places)} of {len(declined)} nodes{rest})"


def _common(kind: str, places: Sequence[Declined]) -> str:
    reasons = {place.reason for place in places}
    return reasons.pop() if len(reasons) == 1 else kind


def shared_reasons(
    groups: Sequence[GroupReport], named_as: Callable[[str], str] = str
) -> Iterator[str]:
    """Say why groups became what they are, each reason once, and of which groups it holds.

    Parameters
    ----------
    named_as : callable
        How a group's name is written.

    >>> from nmcore.report.report import GroupReport
    >>> cut = [GroupReport(name, 8, 4, 4, 0, "merge", "l1") for name in "ab"]
    >>> list(shared_reasons(cut))
    ['l1']
    >>> list(shared_reasons([*cut, GroupReport("c", 8, 8, 0, 0, "none", "all kept")]))
    ['l1: a, b', 'all kept: c']
    """
    named: dict[str, list[str]] = {}
    for group in groups:
        named.setdefault(group.reason, []).append(group.name)
    for reason, names in named.items():
        more = f", and {len(names) - NAMED} more" if len(names) > NAMED else ""
        which = f": {', '.join(map(named_as, names[:NAMED]))}{more}" if len(named) > 1 else ""
        yield printable(f"{reason}{which}")


def outcome(report: Report) -> Iterator[str]:
    """Say what came of it, in up to three lines: size, speed, and what it costs; and of each step.

    >>> from nmcore.report.report import Measures
    >>> before, after = Measures(3, 200, 1000, 900), Measures(3, 150, 500, 700)
    >>> list(outcome(Report(before, after, (), (), (), "", 0, None, None, False)))
    ['size: 900 B -> 700 B (-22.2 %), parameters -25.0 %', 'speed: MACs -50.0 %']
    """
    before, after = report.before, report.after
    params = change(before.params, after.params)
    yield (
        f"size: {size(before.bytes)} -> {size(after.bytes)} "
        f"({change(before.bytes, after.bytes)}), parameters {params}"
    )
    macs = change(before.macs, after.macs) or "unknown"
    speed = f"speed: MACs {macs}"
    if before.latency_ms is not None and after.latency_ms is not None:
        times = f"{milliseconds(before.latency_ms)} -> {milliseconds(after.latency_ms)}"
        speed += f", latency {times} ({latency_change(before, after)})"
    yield speed
    if report.fidelity is not None:
        yield from (f"cost: {line}" for line in comparison(report.fidelity))
    yield from steps_text(report.steps)


def comparison(found: Fidelity) -> Iterator[str]:
    """Say how alike the original and the result are, and what that was seen on, in one line."""
    words = in_words(found.metrics, found.before)
    if words:
        told = ", ".join([*words, *found.told])
        error = _standard_error(found.loss) if found.held or found.synthetic else ""
        yield f"on {found.inputs} ({found.limit}): {told}{error}"


def _standard_error(loss: Loss | None) -> str:
    """How far a loss in percentage points may be off, where so few inputs tell that it matters."""
    if loss is None or loss.n < FEWEST_TOLD or (loss.error or 0.0) < MATTERS:
        return ""
    figure = figure_of(loss.metric)
    if not figure.in_percent:
        return ""
    # Accuracy is that of both models on the same inputs.
    change = "the change in " if loss.metric.startswith("top") else ""
    return f"; standard error of {change}{figure.name} {loss.error:.1f} points"


def what_figures_mean(found: Fidelity) -> Iterator[str]:
    """Say what the outputs were taken for, and what the figures are."""
    if found.form in SAID:
        yield SAID[found.form]
    yield from meanings(name for name, value in found.metrics.items() if value is not None)


def meanings(names: Iterable[str]) -> Iterator[str]:
    """Say what figures mean, where that is not plain, in one line."""
    told = [f"{name}: {meaning}" for name in names if (meaning := figure_of(name).meaning)]
    if told:
        yield "; ".join(told)


def closing_lines(report: Report) -> Iterator[str]:
    """Yield the end of a report: what holds for the result as a whole."""
    yield from map(printable, report.shortfall)
    if report.provider is None or report.threads is None:
        yield "checked and verified" if report.verified else "checked"
    else:
        proofs = "checked, verified and loaded" if report.verified else "checked and loaded"
        timed = report.before.latency_ms is not None or report.removed
        measured = where(report.provider, report.threads) if timed else "nothing to time"
        yield f"{proofs}; {measured}"
    if report.requantised is not None:
        yield report.requantised.note
    if latency_change(report.before, report.after) == UNCERTAIN:
        yield (
            "the change of latency is not certain: runs of the one model take as long as runs of "
            "the other (10th to 90th percentile)"
        )
    if uncertain(report):
        yield NOISE


def uncertain(report: Report) -> bool:
    """Whether the latency of either model varied too much."""
    models = (report.before, report.after)
    return any(noisy(model.latency_low_ms, model.latency_high_ms) for model in models)


def noisy(low: float | None, high: float | None) -> bool:
    """Whether the 10th and 90th percentile of a time are too far apart to trust its median."""
    return low is not None and high is not None and high > 2 * low
