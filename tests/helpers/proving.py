"""What a rule must show: the runtime gives the same for the cut model and its full-width twin."""

from __future__ import annotations

import nmcore
from nmcore_onnx import backend

METHODS = ("merge", "prune", "ridge")


def widths(model):
    """How many units each group of a model has, by name."""
    return {group.name: group.width for group in backend.open(model).groups}


def reasons(model):
    """Why nodes are left alone, by name."""
    return {place.node: place.reason for place in backend.open(model).declined}


def prove(model, expected, **options):
    """Cut half of the channels of the expected groups with each method, and verify it."""
    assert widths(model) == expected
    for method in METHODS:
        result = nmcore.compress(
            model, ratio=0.5, method=method, verify=True, providers=("cpu",), threads=1, **options
        )
        assert result.report.verified
        assert {group.name for group in result.report.groups} == set(expected)
        assert all(group.kept < group.width for group in result.report.groups)
        assert result.after.params < result.before.params
