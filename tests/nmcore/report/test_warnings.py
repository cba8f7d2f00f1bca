"""What a user must not miss."""

from __future__ import annotations

from dataclasses import replace

import pytest

import account
from nmcore.budgets.allocation import Spent
from nmcore.evaluation.fidelity import Fidelity
from nmcore.evaluation.metrics.classes import LOST_AGREEMENT
from nmcore.plan.summaries import CurveSummary
from nmcore.report.report import GroupReport
from nmcore.report.warnings import LOST_DEVIATION, level_of, warnings_of


def group(name, error):
    curve = CurveSummary((1, 2), (error / 2, error), error, original=True)
    return GroupReport(name, 8, 6, 2, 0, "moments", "error", curve=curve)


def warnings(groups=(), **fidelity):
    found = Fidelity("d", 64, **({"top1_before": None, "top1_after": None} | fidelity))
    report = replace(account.report(account.outcome()), groups=groups, fidelity=found)
    return tuple(warnings_of(report))


GOOD = {"agreement": 90.0, "deviation": 10.0}


def test_a_good_result_has_none():
    assert warnings([group("a", 0.9)], **GOOD) == ()


def test_groups_without_anything_left_are_counted_and_the_worst_is_named():
    groups = [group("a", 1.5), group("b", 2.25), group("c", 0.5)]
    (line,) = warnings(groups, **GOOD)
    assert "above 1 in 2 of 3 groups, the largest 2.25 in b" in line
    assert "--macs" in line
    assert "--data" not in line  # as it was given
    (line,) = warnings(groups, **GOOD, synthetic=True)
    assert "real inputs (--data)" in line


@pytest.mark.parametrize(
    ("kind", "advice"),
    [
        (None, "a smaller --ratio"),
        ("macs", "a larger --macs"),
        ("max-drop", "a smaller --max-drop"),
    ],
)
def test_the_advice_is_in_the_words_of_what_was_asked_for(kind, advice):
    budget = None if kind is None else Spent(kind, 0.5, 0.4)
    report = replace(
        account.report(account.outcome()), groups=[group("a", 2.0)], fidelity=None, budget=budget
    )
    (line,) = warnings_of(report)
    assert f"Try {advice}" in line


@pytest.mark.parametrize(
    ("fidelity", "evidence"),
    [
        ({"agreement": LOST_AGREEMENT - 1, "deviation": 0}, "49.00 % keep their top class"),
        ({"agreement": None, "deviation": LOST_DEVIATION + 1}, "deviate by 101.00 %"),
        ({"agreement": 99.0, "deviation": 0, "top1_before": 80.0, "top1_after": 39.0}, "39.00 %"),
    ],
)
def test_results_unlike_those_of_the_original(fidelity, evidence):
    (line,) = warnings([group("a", 0.1)], **fidelity)
    assert evidence in line
    assert "on 64 inputs of d" in line


@pytest.mark.parametrize(
    ("error", "made", "verdict"),
    [
        (0.1, False, "accuracy is probably gone: 49.00 % keep"),
        (0.1, True, "accuracy may be gone: 49.00 % keep"),
        (1.5, True, "accuracy is probably gone: the error is above 1"),
    ],
)
def test_made_inputs_alone_condemn_nothing(error, made, verdict):
    found = {"agreement": LOST_AGREEMENT - 1, "deviation": 0, "synthetic": made}
    (line,) = warnings([group("a", error)], **found)
    assert line.startswith(verdict)


@pytest.mark.parametrize(
    "fidelity",
    [
        {"agreement": LOST_AGREEMENT, "deviation": 500.0},
        {"agreement": None, "deviation": LOST_DEVIATION},
        {"agreement": 10.0, "deviation": 0, "top1_before": 80.0, "top1_after": 40.0},
        {"agreement": None, "deviation": 500.0, "judged_by": "boxes"},
    ],
)
def test_the_best_evidence_counts_alone(fidelity):
    assert warnings([group("a", 0.1)], **fidelity) == ()


def test_nothing_removed_is_never_silent():
    assert warnings([GroupReport("a", 8, 8, 0, 0, "none", "all kept")], **GOOD) == (
        "nothing was removed: the options keep all channels of every group",
    )


def test_the_level():
    good = replace(account.report(account.outcome()), groups=[group("a", 0.1)])
    assert level_of(good, ()) == "ok"
    assert level_of(good, ["few inputs"]) == "warning"
    assert level_of(replace(good, groups=[group("a", 1.5)]), ["gone"]) == "error"
    gone = replace(good.fidelity, lost=["of 9 boxes of the original 0 are left"])
    assert level_of(replace(good, fidelity=gone), ["gone"]) == "error"
    (line,) = warnings_of(replace(good, fidelity=gone))
    assert "gone: of 9 boxes of the original 0 are left on 200 inputs of data.npz. Try" in line


@pytest.mark.parametrize("kind", ["latency", "macs"])
def test_a_budget_that_is_not_met(kind):
    report = account.report(account.outcome())
    (line,) = warnings_of(replace(report, budget=Spent(kind, 0.5, 0.62)))
    assert line.startswith(f"the budget is not met: {kind} is 0.62, 0.5 at most was asked for")
    assert ("the times vary too much" in line) == (kind == "latency")
    met = replace(report, budget=Spent(kind, 0.5, 0.5))
    assert tuple(warnings_of(met)) == ()
    assert met.to_dict()["budget"] == {"kind": kind, "asked": 0.5, "reached": 0.5, "met": True}
    assert report.to_dict()["budget"] is None
