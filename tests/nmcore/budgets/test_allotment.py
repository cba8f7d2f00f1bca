"""The channels that each group keeps under a budget."""

from __future__ import annotations

from types import SimpleNamespace

from nmcore.budgets.allotment import Choices, meet
from nmcore.group import Group


def test_a_budget_needs_a_graph_that_knows_its_terms():
    """What a third party's graph cannot tell is asked for only where it is needed."""
    groups = [Group("a", 4, ["a"], ["b"])]
    graph = SimpleNamespace(groups=groups)
    assert meet(graph, None, Choices({"a": 2}), {}).counts == {"a": 2}
