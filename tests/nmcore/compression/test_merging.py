"""What is held in memory while groups are merged one after the other."""

from __future__ import annotations

import pytest

import nmcore
from nmcore.compression import merging
from small import small_network


@pytest.mark.parametrize("method", ["ridge", "nmf", "merge"])
def test_a_dense_z_is_held_only_where_something_is_proven(monkeypatch, method):
    """A model has many groups, and Z may be as large as the weights."""
    model = small_network().build()

    def account(**options):
        result = nmcore.compress(model, ratio=0.5, method=method, providers=("cpu",), **options)
        return result.outcomes, result.report.groups

    held, groups = account()
    monkeypatch.setattr(merging, "_LARGE", 0)
    left, same = account()
    assert groups == same
    assert all(outcome.scaling for outcome in held)
    assert [outcome.scaling is None for outcome in left] == [method != "merge"] * 3
    assert all(outcome.scaling for outcome in account(verify=True)[0])
