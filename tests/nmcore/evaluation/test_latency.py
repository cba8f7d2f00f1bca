"""Models are timed in turn."""

from __future__ import annotations

import time

import numpy as np
import pytest

from nmcore.errors import ModelError
from nmcore.evaluation import latency
from nmcore.evaluation.latency import (
    measure,
    on_one_device,
    relative,
    time_sessions,
)
from nmcore.plugins.inputs import InputSpec


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


class Busy:
    """A clock, and models that take so long; now and then something else takes the processor."""

    def __init__(self, monkeypatch, *, often):
        self.now, self.rng, self.often, self.runs = 0.0, np.random.default_rng(0), often, 0
        monkeypatch.setattr(latency.time, "perf_counter", lambda: self.now)

    def model(self, seconds):
        def run():
            self.runs += 1
            interrupted = self.rng.random() < self.often
            self.now += seconds * (1 + 0.01 * self.rng.random())
            self.now += self.rng.exponential(5 * seconds) if interrupted else 0

        return run


@pytest.mark.parametrize("often", [0.0, 0.5, 0.7])
def test_what_else_runs_does_not_change_how_models_compare(monkeypatch, often):
    busy = Busy(monkeypatch, often=often)
    half, double = relative([busy.model(0.01), busy.model(0.005), busy.model(0.02)])
    assert half == pytest.approx(0.5, rel=0.03)
    assert double == pytest.approx(2, rel=0.03)


def test_models_run_longer_where_other_programs_are_in_the_way(monkeypatch):
    runs = []
    for often in (0.0, 0.97):
        busy = Busy(monkeypatch, often=often)
        relative([busy.model(0.01), busy.model(0.005)])
        runs.append(busy.runs)
    assert runs[0] < runs[1]


def test_no_model_runs_for_ever(monkeypatch):
    busy = Busy(monkeypatch, often=1.0)
    relative([busy.model(1.0), busy.model(1.0)])
    assert busy.runs == 2 * (1 + latency.TURN)


class Session:
    provider = "cpu"

    def __init__(self, shape=(None, 4), fails=False):
        self.inputs = (InputSpec("x", shape, np.dtype(np.float32)),)
        self.fails, self.seen = fails, []

    def run(self, feeds, *, divisible=False):
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


class OnCuda(Session):
    """A session whose device fails in one of its runs."""

    def __init__(self, fails_at=None):
        super().__init__()
        self.provider, self.fails_at, self.ran = "cuda", fails_at, []

    def run(self, feeds, *, divisible=False):
        if len(self.ran) == self.fails_at:
            self.provider = "cpu"
        self.ran.append(self.provider)


def test_times_hold_for_one_device():
    """What was timed before a device failed is timed again where the models run now."""
    first, second = sessions = [OnCuda(fails_at=7), OnCuda(fails_at=9)]
    before = 7, 9
    times = time_sessions(sessions, runs=10)
    assert [time.runs for time in times] == [10, 10]
    for session, count in zip(sessions, before, strict=True):
        assert session.ran[:count] == ["cuda"] * count
        assert session.ran[count:].count("cpu") >= 10 + latency.WARMUP
    assert (first.provider, second.provider) == ("cpu", "cpu")


def test_times_of_different_devices_are_not_compared():
    for sessions in ([OnCuda(), Session()], [OnCuda(), OnCuda(fails_at=7)]):
        with pytest.raises(ModelError, match=r"on different devices \(cuda, cpu\)"):
            time_sessions(sessions, runs=10)


def test_times_are_taken_once_where_nothing_fails():
    sessions, calls = [OnCuda(), OnCuda()], []
    assert on_one_device(sessions, lambda: calls.append(1) or [1.0]) == [1.0]
    assert calls == [1]
