"""Why a model did not get faster is said where it did not, from figures that are at hand."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from nmcore.group import Group, Term
from nmcore.plan.outcome import Outcome
from nmcore.plan.plan import GroupPlan
from nmcore.report.report import Measures
from nmcore.report.speedup import shortfall


def graph(share_of_groups=1.0, block=1):
    group = Group("conv", 64, ["conv"], ["next"], block)
    return SimpleNamespace(
        groups=[group], terms=lambda: [Term(1e6 * share_of_groups, 0, ("conv",))]
    )


def measures(ms, macs, *, params=1000, nodes=10, spread=1.1):
    return Measures(nodes, params, macs, 1, ms, ms / spread, ms * spread)


BEFORE = measures(1.0, 1_000_000)


def outcomes(kept):
    return [Outcome(GroupPlan("conv", 64, tuple(range(kept))), 64 - kept)]


def told(after, *, kept=32, rounded=False, before=BEFORE, **of_graph):
    return list(shortfall(graph(**of_graph), outcomes(kept), before, after, rounded=rounded))


@pytest.mark.parametrize("ms", [0.3, 0.5, 0.62])
def test_nothing_where_it_is_about_as_fast_as_the_work_allows(ms):
    assert told(measures(ms, 500_000), kept=31) == []


@pytest.mark.parametrize("ms", [0.65, 1.3, 1.6])
def test_odd_widths(ms):
    (line,) = told(measures(ms, 500_000), kept=31)
    assert line.startswith(f"{ms:.2f} of the time with 0.50 of the MACs: 1 of 1 cut groups keep no")
    assert "no multiple of 8 channels" in line
    assert line.endswith("try --round-to auto")


def test_multiples_of_eight_may_still_be_odd():
    (line,) = told(measures(0.9, 500_000), kept=24)
    assert "no multiple of 16 channels" in line
    (line,) = told(measures(0.9, 500_000), kept=3, block=16)
    assert "multiple" not in line


def test_widths_that_were_measured_are_not_blamed():
    (line,) = told(measures(0.9, 500_000), kept=31, rounded=True)
    assert "round-to" not in line
    assert "work that does not shrink with the MACs" in line


def test_overhead():
    (line,) = told(measures(0.04, 500_000), before=measures(0.05, 1_000_000), kept=32, rounded=True)
    assert "0.80 of the time with 0.50 of the MACs: a node takes 4.0 microseconds" in line


def test_what_is_left_alone():
    (line,) = told(measures(0.9, 700_000), share_of_groups=0.6, rounded=True)
    # 400,000 of the 700,000 that remain are nobody's.
    assert "57 % of the MACs that remain are in layers that are left alone" in line


def test_weights_that_are_read_once():
    lines = told(measures(0.9, 500_000, params=400_000), kept=31)
    assert len(lines) == 2
    assert lines[1].startswith("also, each weight is used 1.2 times a run")
    assert lines[1].endswith("--params saves more of it")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (BEFORE, measures(1.0, 500_000, spread=2)),
        (measures(1.0, 1_000_000, spread=2), measures(1.0, 500_000)),
        (BEFORE, Measures(10, 1000, 500_000, 1)),
        (BEFORE, measures(1.0, None)),
        (measures(1.0, None), measures(1.0, None)),
        (BEFORE, BEFORE),
    ],
)
def test_nothing_is_explained_where_nothing_is_known(before, after):
    assert told(after, before=before, kept=31) == []
