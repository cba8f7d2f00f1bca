"""What a report says in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nmcore.evaluation.fidelity import Fidelity
from nmcore.evaluation.metrics.base import Loss
from nmcore.report.phrases import comparison

FOUND = Fidelity(
    "d.npz",
    64,
    top1_before=None,
    top1_after=None,
    agreement=93.75,
    deviation=31.0,
    held=True,
    metrics={"agreement": 93.75, "deviation": 31.0},
)


@pytest.mark.parametrize(
    ("metric", "error", "told"),
    [
        ("agreement", 3.04, "; standard error of agreement 3.0 points"),
        ("top1", 1.5, "; standard error of the change in top-1 1.5 points"),
        ("boxes", 4.0, "; standard error of boxes 4.0 points"),
        ("agreement", 0.4, ""),
        ("agreement", None, ""),
        ("cosine", 3.0, ""),
        ("of_their_own", 3.0, ""),
    ],
)
def test_few_inputs_tell_points_with_an_error(metric, error, told):
    found = replace(FOUND, loss=Loss(metric, "what", 6.25, error, 64))
    (line,) = comparison(found)
    assert line == (
        "on 64 inputs of d.npz (which nothing was fitted to): "
        f"agreement 93.75 %, deviation 31.00 %{told}"
    )


@pytest.mark.parametrize("changed", [{"held": False}, {"loss": Loss("agreement", "", 50, 50, 2)}])
def test_no_error_where_it_is_not_what_matters(changed):
    known = replace(FOUND, loss=Loss("agreement", "", 6.25, 3.04, 64))
    (line,) = comparison(replace(known, **changed))
    assert "standard error" not in line


def test_without_a_loss_no_error():
    (line,) = comparison(FOUND)
    assert line.endswith("deviation 31.00 %")
