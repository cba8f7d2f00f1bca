"""Results at a prompt and in a notebook."""

from __future__ import annotations

from html.parser import HTMLParser

import onnx
import pytest

import nmcore
from account import report
from nmcore.report.notebook import SHOWN, report_text
from nmcore.report.report import GroupReport
from small import small_network


class Cells(HTMLParser):
    """The cells of tables, and what is left open."""

    def __init__(self, text):
        super().__init__()
        self.open, self.cells = [], []
        self.feed(text)

    def handle_starttag(self, tag, _attributes):
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1] in ("td", "th"):
            self.cells.append(data)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("display") / "<m>.onnx"
    network = small_network().build()
    network.graph.node[0].name = "<b>1"
    onnx.save(network, path)
    return path


def test_a_result_at_a_prompt(model):
    lines = repr(nmcore.compress(model, ratio=0.5, method="merge")).splitlines()
    assert lines[0] == "<m>.onnx: 18 of 36 channels removed, in 3 of 3 groups"
    assert lines[3].split()[:2] == ["parameters", "1,726"]
    assert ["<b>1", "8", "4", "merge"] in [line.split() for line in lines]
    assert "method merge, as asked" in lines


def test_a_result_in_a_notebook(model):
    page = Cells(nmcore.compress(model, ratio=0.5, method="merge")._repr_html_())
    assert page.open == []
    assert {"1,726", "<b>1", "parameters", "MACs"} <= set(page.cells)


def test_a_result_without_effect_says_so(model):
    shown = repr(nmcore.compress(model, ratio=0.0, method="merge"))
    assert "warning: nothing was removed: the options keep all channels" in shown


def test_sensitivities(model):
    found = nmcore.sensitivity(model, samples=8, providers=("cpu",))
    lines = repr(found).splitlines()
    assert lines[0].split()[:4] == ["group", "width", "params", "MACs"]
    assert lines[1].split()[:2] == ["<b>1", "8"]
    assert any(line.startswith("errors are mean squared errors") for line in lines)
    page = Cells(found._repr_html_())
    assert page.open == []
    assert "<b>1" in page.cells


def test_of_many_groups_some_are_shown():
    groups = tuple(GroupReport(f"g{n}", 8, 4, 4, 0, "merge", "l1") for n in range(SHOWN + 5))
    text = report_text(report(groups=groups))
    assert f"g{SHOWN - 1} " in text
    assert f"g{SHOWN} " not in text
    assert "and 5 more groups" in text
