"""The channels that each group keeps under a budget."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import nmcore
from chain import Chain
from nmcore.budgets.allocation import Budget
from nmcore.budgets.allotment import Allocated, Choices, coarsest_of, meet
from nmcore.group import Cost, Group, Term


def test_a_budget_needs_a_graph_that_knows_its_terms():
    """What a third party's graph cannot tell is asked for only where it is needed."""
    groups = [Group("a", 4, ["a"], ["b"])]
    graph = SimpleNamespace(groups=groups)
    assert meet(graph, None, Choices({"a": 2}), {}).counts == {"a": 2}


@pytest.mark.parametrize(
    ("error_of_16", "in_blocks", "widest"),
    [(1.08, 1.0, 16), (1.2, 1.0, 8), (9.0, 1.0, 8), (1.4, 1.3, 16), (1.6, 1.3, 8)],
)
def test_whole_blocks_are_kept_where_they_cost_little(error_of_16, in_blocks, widest):
    """Errors are weighed against the time of the blocks that finer widths leave half empty."""
    counts = {16: {"a": 16}, 8: {"a": 24}, 4: {"a": 28}}
    shares = {16: 1.0, 8: in_blocks, 4: in_blocks}
    allocated = {m: Allocated(each, 1.0, shares[m]) for m, each in counts.items()}
    curve = np.zeros(31)
    curve[[32 - 28 - 1, 32 - 24 - 1, 32 - 16 - 1]] = 1.0, 1.05, error_of_16
    found = coarsest_of(allocated, {"a": curve})
    assert found.counts == counts[widest]
    told = f"widths in multiples of 8: those of 16 would leave {100 * (error_of_16 / 1.05 - 1):.0f}"
    assert [note.startswith(told) for note in found.notes] == [True] * (widest == 8)


def test_nothing_is_said_of_widths_that_cost_nothing():
    counts = {16: Allocated({"a": 16}, 1.0, 1.0), 4: Allocated({"a": 20}, 1.0, 1.0)}
    assert coarsest_of(counts, {"a": np.zeros(31)}).counts == counts[16].counts
    curve = np.where(np.arange(31) >= 15, 1.0, 0.0)
    assert coarsest_of(counts, {"a": curve}).counts == counts[4].counts


@pytest.mark.parametrize(("used", "rounding"), [(0.98, 16), (0.96, 4)])
def test_whole_blocks_do_not_leave_much_of_a_budget_unused(used, rounding):
    counts = {16: Allocated({"a": 16}, used, used), 4: Allocated({"a": 20}, 1.0, 1.0)}
    found = coarsest_of(counts, {"a": np.ones(31)})
    assert found.counts == counts[rounding].counts
    told = "widths in multiples of 4: those of 16 would leave 4 % of the budget unused"
    assert found.notes == (told,) * (rounding == 4)


@pytest.mark.parametrize(("coarse_error", "widths"), [(1.3, (32, 32)), (1.5, (20, 44))])
def test_a_budget_weighs_errors_against_the_blocks_that_they_take(coarse_error, widths):
    """Widths of 20 and 44 take blocks of 32 and 48 channels: a quarter more than 32 and 32."""
    groups = [Group(name, 64, [name], ["next"]) for name in "ab"]
    terms = [Term(640, 10, (name,)) for name in "ab"]
    cost = Cost(nodes=2, params=20, macs=1280)
    graph = SimpleNamespace(groups=groups, terms=lambda: terms, cost=lambda: cost)
    kept = np.arange(63, 0, -1)
    curves = {
        "a": np.where(kept >= 20, 0.5, 99.0),
        "b": np.where(kept >= 44, 0.5, np.where(kept >= 32, coarse_error - 0.5, 99.0)),
    }
    found = meet(graph, Budget("macs", 0.5), Choices({"a": 64, "b": 64}, (4, 16)), curves)
    assert (found.counts["a"], found.counts["b"]) == widths


def test_a_budget_that_is_not_used_says_why():
    found = coarsest_of({4: Allocated({"a": 20}, 0.9, 1.0)}, {"a": np.ones(31)})
    assert found.notes == (
        "10 % of the budget is left: no wider multiple that lowers the predicted error fits",
    )


@pytest.mark.parametrize(("width", "block"), [(512, 16), (24, 4)])
def test_wide_layers_keep_wider_blocks_than_narrow_ones(width, block):
    model = Chain().conv(width).node("Relu").conv(width).node("Relu").conv(8).build()
    result = nmcore.compress(model, macs=0.6, method="merge")
    counts = [len(outcome.plan.kept) for outcome in result.outcomes]
    assert np.gcd(np.gcd.reduce(counts), 16) == block
    assert result.after.macs <= 0.6 * result.before.macs
    alone = nmcore.compress(model, macs=0.6, method="merge", round_to=1)
    assert not any("multiples" in note for note in alone.notes)


@pytest.mark.parametrize(("multiples", "finest"), [((1, 4, 8, 16), 4), ((16,), 16)])
def test_recurrent_layers_need_no_blocks_of_units(multiples, finest):
    """They are products with several rows a unit; what the user asks for counts for them, too."""
    gates = {"conv": 1, "lstm": 4}
    groups = [Group(name, 128, [name], ["next"], gates=count) for name, count in gates.items()]
    terms = [Term(1000, 10, (name,)) for name in gates]
    cost = Cost(nodes=2, params=20, macs=2000)
    graph = SimpleNamespace(groups=groups, terms=lambda: terms, cost=lambda: cost)
    curves = {name: np.square(np.arange(1, 128) / 128) for name in gates}
    choices = Choices(dict.fromkeys(gates, 128), multiples)
    counts = meet(graph, Budget("macs", 0.65), choices, curves).counts
    assert counts["conv"] % 16 == 0
    assert np.gcd(counts["lstm"], 16) == finest
