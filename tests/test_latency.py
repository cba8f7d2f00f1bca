"""Models are timed in turn."""

from __future__ import annotations

import time

import numpy as np
import pytest

from nmcore import latency
from nmcore.errors import ModelError
from nmcore.latency import measure, time_sessions
from nmcore.plugins import InputSpec


def test_models_take_turns_after_a_warm_up():
    calls = []
    first, second = measure([lambda: calls.append("a"), lambda: calls.append("b")], runs=12)
    warm = 2 * latency.WARMUP
    assert calls[:warm] == ["a"] * latency.WARMUP + ["b"] * latency.WARMUP
    # Turns of five timed runs and one before; the order is reversed every other time.
    assert "".join(calls[warm:]) == 6 * "a" + 12 * "b" + 6 * "a" + 3 * "a" + 3 * "b"
    assert first.runs == second.runs == 12


def test_percentiles_are_ordered_milliseconds():
    (one,) = measure([lambda: time.sleep(0.002)], runs=10)
    assert 2 <= one.low_ms <= one.median_ms <= one.high_ms


def test_fast_models_run_more_often_and_slow_ones_less(monkeypatch):
    monkeypatch.setattr(latency, "SECONDS", 0.02)
    monkeypatch.setattr(latency, "MOST_SECONDS", 0.02)
    (fast,), (slow,) = measure([lambda: None]), measure([lambda: time.sleep(0.005)])
    assert fast.runs > latency.RUNS
    assert slow.runs == latency.FEWEST_RUNS


class Session:
    def __init__(self, shape=(None, 4), fails=False):
        self.inputs = (InputSpec("x", shape, np.dtype(np.float32)),)
        self.fails, self.seen = fails, []

    def run(self, feeds):
        self.seen.append(feeds["x"])
        if self.fails:
            raise ModelError("m.onnx does not run: no")
        return []


def test_sessions_that_want_the_same_get_the_same():
    first, second, other = Session(), Session(), Session((None, 5))
    assert len(time_sessions([first, second, other], runs=1)) == 3
    assert first.seen[-1] is second.seen[-1]
    assert other.seen[-1].shape == (1, 5)


def test_a_session_that_runs_on_nothing():
    with pytest.raises(ModelError, match="does not run"):
        time_sessions([Session(fails=True)])
