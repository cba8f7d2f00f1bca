"""What a page says of single inputs, of when it was made, and not of the machine it was made on."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from account import outcome, report
from nmcore.evaluation.examples import Example
from nmcore.evaluation.fidelity import Fidelity
from nmcore.evaluation.metrics.deviation import Deviation
from nmcore.evaluation.outputs import Batch
from nmcore.report.html import page
from nmcore.report.html.deviations import deviation_bins, quantile
from nmcore.report.html.portable import portable

FOUND = Fidelity("/home/me/pictures", 9, None, None, 90.0, 5.0)


def test_the_deviation_of_each_input():
    original = np.array([[3.0, 4.0], [0.0, 2.0], [0.0, 0.0]])
    result = np.array([[3.0, 5.0], [1.0, 2.0], [1.0, 0.0]])
    metric = Deviation()
    for rows in ([0], [1, 2]):
        metric.add(Batch([original[rows]], [result[rows]], None, np.array(rows)))
    assert metric.each == [20.0, 50.0]
    metric.add(Batch([np.array([[np.nan]])], [np.array([[1.0]])], None, np.array([3])))
    assert metric.each == []


@pytest.mark.parametrize("most", [1e-6, 0.03, 1.0, 7.0, 38.0, 12345.0])
def test_every_value_is_in_one_bar(most):
    values = [*np.random.default_rng(0).uniform(0, most, 100), 0.0, most]
    bins = deviation_bins(values)
    assert sum(count for *_, count in bins) == len(values)
    assert 5 <= len(bins) <= 21
    for low, high, count in bins[:-1]:
        assert count == sum(low <= value < high for value in values)
    assert quantile(values, 1) == most
    assert deviation_bins([0.0, 0.0]) == [(0.0, 1.0, 2)]


def test_the_histogram_is_on_the_page():
    several = replace(FOUND, deviations=(1.0, 2.0, 2.5, 3.0, 3.0, 4.0, 9.0, 30.0))
    text = page(report(outcome(), fidelity=several))
    assert "Deviation, input by input" in text
    assert "Half of 8 inputs deviate by at most 3 %, nine of ten by at most 30 %" in text
    assert "input by input" not in page(report(outcome(), fidelity=FOUND))


PIXEL = "data:image/png;base64,iVBORw0KGgo="


def test_the_inputs_that_changed_most_are_on_the_page():
    hostile = '"><img src=x onerror=alert(1)>'
    shown = (
        Example(17, 35.5, f"ids {hostile}", "2 boxes", "no box", PIXEL),
        Example(3, None, "", "", "cosine 0.5000"),
    )
    text = page(report(outcome(), fidelity=replace(FOUND, examples=shown)))
    assert "Inputs whose outputs changed most" in text
    assert f'<img src="{PIXEL}" alt="Input 17">' in text
    assert text.count("<img") == 1
    assert "Input 17: 35.5 % off" in text
    assert "<b>original</b> 2 boxes" in text
    assert "The worst of 9 inputs" in text
    assert "img-src data:" in text
    assert "changed most" not in page(report(outcome(), fidelity=FOUND))
    long = replace(shown[1], after="class 1 " * 99)
    assert len(page(report(outcome(), fidelity=replace(FOUND, examples=(long,))))) < len(text)


def test_names_stand_on_bars_and_shares_are_what_is_left():
    text = page(report(outcome()))
    assert f">{outcome().plan.name}</text>" in text
    assert "% left</span>" in text
    many = [outcome(name=f"group{n}") for n in range(21)]
    assert "rotate(-90" not in page(report(*many))


def test_the_page_says_when_and_not_where():
    folder = "/home/me/pictures"
    made = report(
        outcome(),
        fidelity=replace(FOUND, told=(f"of {folder} all",)),
        command=f"nmcore compress /home/me/a.onnx b.onnx --data={folder} --exclude '/stem/*'",
        warnings=(f"accuracy may be gone on 9 inputs of {folder}",),
    )
    text = page(made)
    assert "/home/me" not in text
    assert "/stem/*" in text
    assert "on 9 inputs of pictures" in text
    assert date.today().isoformat() in text
    assert made.to_dict()["date"] == date.today().isoformat()
    windows = portable(replace(made, command=r"nmcore.compress('C:\\me\\a.onnx', data='x.npz')"))
    assert windows.command == "nmcore.compress('a.onnx', data='x.npz')"
