"""Widths that meet a latency are found by timing; here the clock is made up."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from nmcore.budgets.allocation import removals
from nmcore.budgets.latency_search import Path, fastest, widest_within
from nmcore.budgets.meter import Meter
from nmcore.errors import BudgetError
from nmcore.group import Term
from nmcore.utils.progress import silent

WIDTHS = {"a": 32, "b": 64, "c": 48}
TERMS = [Term(900, 0, ("a",)), Term(6000, 0, ("a", "b")), Term(3000, 0, ("b", "c"))]
COST = 10_000
FIXED = COST - sum(term.macs for term in TERMS)


def path(multiple=1, start=WIDTHS):
    meter = Meter(TERMS, WIDTHS, "macs")
    meter.kept.update(start)
    left = FIXED + meter.total()
    curves = {name: np.linspace(0, 1, width)[1:] ** 2 for name, width in WIDTHS.items()}
    moves = list(removals(curves, meter, dict.fromkeys(WIDTHS, multiple)))
    return Path(multiple, start, moves, COST, left)


class Clock:
    """A runtime of known speed: blocks of channels, and a part that no width changes."""

    setting = "on a made machine"

    def __init__(self, block=1, overhead=0.2, wrong=(), penalty=1.0, noise=0.0):
        self.block, self.overhead, self.penalty = block, overhead, penalty
        self.wrong, self.noise = dict(wrong), np.random.default_rng(0).normal(0, noise, 10_000)
        self.timed = 0

    def true(self, counts):
        even = {name: math.ceil(k / self.block) * self.block for name, k in counts.items()}
        meter = Meter(TERMS, WIDTHS, "macs")
        meter.kept.update(even)
        odd = sum(k % self.block > 0 for k in counts.values())
        work = (FIXED + meter.total()) / COST
        return self.overhead + (1 - self.overhead) * work * self.penalty**odd

    def __call__(self, candidates):
        times = []
        for counts in candidates:
            time = self.wrong.get(self.timed, self.true(counts)) * (1 + self.noise[self.timed])
            times.append(time)
            self.timed += 1
        return times


def test_a_path_tells_widths_cost_and_error():
    way = path(4)
    meter = Meter(TERMS, WIDTHS, "macs")
    for step in range(len(way) + 1):
        meter.kept.update(way.counts(step))
        assert way.share(step) == pytest.approx((FIXED + meter.total()) / COST)
        assert all(count % 4 == 0 for count in way.counts(step).values())
    assert way.counts(0) == WIDTHS
    assert way.counts(len(way)) == dict.fromkeys(WIDTHS, 4)
    errors = [way.error(step) for step in range(len(way) + 1)]
    assert errors == sorted(errors)
    assert errors[0] == 0


def test_groups_that_start_narrower_count_as_saved():
    way = path(1, {**WIDTHS, "a": 16})
    assert way.share(0) == pytest.approx(1 - (450 + 3000) / COST)


@pytest.mark.parametrize(
    ("share", "multiple"), [(0.9, 1), (0.9, 16), (0.6, 4), (0.5, 16), (0.25, 1)]
)
@pytest.mark.parametrize("block", [1, 8])
def test_the_widest_step_that_is_fast_enough(share, multiple, block):
    clock, way = Clock(block), path(multiple)
    found = widest_within([way], share, clock, silent)
    assert found.time == clock.true(way.counts(found.step)) <= share
    assert found.wider == clock.true(way.counts(found.step - 1)) > share
    assert found.least == clock.true(way.counts(len(way)))
    assert clock.timed < 10 + 2 * len(way).bit_length() + 10


@pytest.mark.parametrize("place", range(3, 12))
@pytest.mark.parametrize("reading", [0.01, 5.0])
def test_one_wrong_time_does_not_matter(place, reading):
    expected = widest_within([path()], 0.5, Clock(), silent)
    clock = Clock(wrong={place: reading})
    assert widest_within([path()], 0.5, clock, silent).step == expected.step


def test_what_turns_out_too_slow_is_returned_with_its_true_time():
    clock = Clock(overhead=0.5, wrong=dict.fromkeys(range(3), 0.1))
    found = widest_within([path()], 0.3, clock, silent)
    assert found.step == len(found.path)
    assert found.time == clock.true(found.path.counts(found.step)) > 0.3


def test_noise_moves_the_result_by_no_more_than_itself():
    clock = Clock(noise=0.01)
    found = widest_within([path()], 0.6, clock, silent)
    assert 0.57 <= clock.true(found.path.counts(found.step)) <= 0.62
    assert found.time <= 0.6


def test_what_cannot_be_reached_is_refused_with_the_least_there_is():
    with pytest.raises(BudgetError) as caught:
        widest_within([path(16), path(1)], 0.1, Clock(overhead=0.3), silent)
    text = str(caught.value)
    assert "latency of 0.1 of the original's cannot be met" in text
    assert "0.31 of it remains (on a made machine)" in text
    assert "\n" not in text


def test_a_rounding_that_reaches_far_enough_serves_where_others_do_not():
    clock = Clock(overhead=0)
    least = clock.true(path(16).counts(len(path(16))))
    found = widest_within([path(1), path(16)], least / 2, clock, silent)
    assert found.path.multiple == 1


def test_of_several_roundings_that_with_the_least_error():
    """Where odd widths cost nothing, fine steps are better; where they do, coarse ones are."""
    paths = [path(1), path(4), path(8), path(16)]
    assert widest_within(paths, 0.6, Clock(), silent).path.multiple == 1
    clock = Clock(block=8, penalty=1.3)
    found = widest_within(paths, 0.6, clock, silent)
    assert found.path.multiple == 8
    assert all(count % 8 == 0 for count in found.path.counts(found.step).values())


def test_progress_is_shown():
    seen = Counter()

    def progress(text, rounds):
        for one in rounds:
            seen[text] += 1
            yield one

    widest_within([path()], 0.5, Clock(), progress)
    assert seen["timing"] == len(path()).bit_length()


def test_the_fastest_rounding_and_the_finest_of_equals():
    times = {1: 1.2, 4: 0.62, 8: 0.6, 16: 0.59}
    candidates = {multiple: {"a": multiple} for multiple in times}

    def timer(given):
        return [times[counts["a"]] for counts in given]

    assert fastest(candidates, timer) == (8, 0.6)
    times[4] = 0.61
    assert fastest(candidates, timer) == (4, 0.61)
    del candidates[4]
    times[16] = 0.5
    assert fastest(candidates, timer) == (16, 0.5)
