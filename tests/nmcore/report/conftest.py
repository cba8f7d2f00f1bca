"""A report without anything that a method measures."""

from __future__ import annotations

import pytest

from nmcore.evaluation.latency import Latency
from nmcore.group import Cost, Declined
from nmcore.report.report import GroupReport, Measures, Report


@pytest.fixture
def report():
    return Report(
        before=Measures.of(Cost(3, 100, 50), 400, Latency(2.0, 1.0, 3.0, 50)),
        after=Measures.of(Cost(3, 60, None), 240, None),
        groups=(GroupReport("conv", 8, 5, 2, 1, "merge", "l1"),),
        declined=(Declined("fc", "Gemm", "its channels are the output"),),
        notes=("measured on synthetic inputs",),
        command="nmcore compress a b",
        seed=7,
        provider="cpu",
        threads=2,
        verified=False,
    )
