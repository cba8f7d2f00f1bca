"""The network layer by layer, and what each further step would cost."""

from __future__ import annotations

import re

import pytest

import nmcore
from account import outcome, report
from chain import Chain
from nmcore.plan.summaries import CurveSummary
from nmcore.plugins import registry
from nmcore.report.html import page
from nmcore.report.html.further import error_after, further
from nmcore.report.html.strip import strip
from nmcore.report.layers import LayerReport
from nmcore.report.report import GroupReport

HOSTILE = "</script><script>alert(1)</script>"


def layers(count=3, **changes):
    given = {"width_before": 16, "width_after": 8, "macs_before": 4000, "macs_after": 1000}
    return [LayerReport(f"conv{n}", "Conv", **(given | changes)) for n in range(count)]


def test_widths_and_work_of_each_layer():
    found = strip(layers())
    assert 'aria-label="Layers: channels, MACs before and after"' in found
    assert "conv2 (Conv): channels 16 to 8; MACs 4,000 to 1,000" in found
    assert "profile" not in found


def test_times_where_they_were_measured():
    found = strip(layers(ms_before=0.25, ms_after=0.125))
    assert 'aria-label="Layers: channels, MACs, time before and after"' in found
    assert "time 0.25 ms to 0.125 ms" in found
    assert "profile" in found


def test_nothing_where_nothing_is_known():
    assert strip([]) is None
    unknown = dict.fromkeys(("width_before", "width_after", "macs_before", "macs_after"))
    assert strip(layers(**unknown)) is None


def test_names_of_strangers_are_escaped():
    source = page(report(layers=(LayerReport(HOSTILE, HOSTILE, 4, 2, 10, 5),)))
    assert "<script>" not in source


def test_bars_of_many_layers_stay_in_one_path():
    assert strip(layers(1000)).count("<path") == 4
    assert "<title>" not in strip(layers(1000))


def curve(*errors, original=True):
    return CurveSummary(tuple(range(1, len(errors) + 1)), errors, errors[0], original)


def group(name, *errors, original=True):
    return GroupReport(name, 20, 19, 0, 1, "moments", "", curve(*errors, original=original))


def test_the_next_steps_by_the_curves():
    costly, cheap = group("costly", 0.1, 0.9, 0.95), group("cheap", 0.1, 0.2, 0.3)
    assert [error_after(cheap, step) for step in (0.05, 0.1, 0.5)] == [0.2, 0.3, None]
    found = further([costly, cheap])
    assert re.search("come first: cheap, costly", found)
    assert ["20 %" in found, "30 %" in found] == [True, True]


@pytest.mark.parametrize("groups", [[], [group("a", 0.1, 0.2, original=False)], [group("a", 0.1)]])
def test_no_word_of_steps_that_no_curve_reaches(groups):
    assert further(groups) is None


def test_a_model_tells_its_layers():
    chain = Chain().conv(8).batch_norm().node("Relu").conv(6).node("Flatten").gemm(5, 6 * 16)
    first, second, last = registry.open_graph(chain.build()).layers()
    assert [(each.op, each.width) for each in (first, second, last)] == [
        *(("Conv", 8), ("Conv", 6), ("Gemm", 5))
    ]
    assert {"conv1", "relu1", "relu1_out"} <= first.names
    assert "conv2" not in first.names
    cost = nmcore.inspect(chain.build()).macs
    assert first.macs + second.macs + last.macs == cost


def test_outcomes_without_layers_have_no_strip():
    assert "Layer by layer" not in page(report(outcome()))
