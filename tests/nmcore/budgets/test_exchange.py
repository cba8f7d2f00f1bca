"""Widths that trade one group's channels for another's."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from nmcore.budgets import exchange
from nmcore.budgets.allocation import allocate
from nmcore.budgets.meter import Meter
from nmcore.group import Term

WIDTH = 8


def case(seed: int) -> tuple[list[Term], dict[str, np.ndarray]]:
    """Two layers that share a weight and one beside them, with errors of any shape."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(50, 500, 4)
    names = [("a",), ("a", "b"), ("b",), ("c",)]
    terms = [Term(int(size), 0, each) for size, each in zip(sizes, names, strict=True)]
    curves = {name: np.cumsum(rng.exponential(size=WIDTH - 1) ** 3) for name in "abc"}
    return terms, curves


def best(terms: list[Term], curves: dict[str, np.ndarray], share: float) -> float:
    """The least error of all widths within a share of the cost."""
    meter = Meter(terms, dict.fromkeys("abc", WIDTH), "macs")
    room, least = share * meter.total(), np.inf
    errors = {name: np.concatenate([curve[::-1], [0.0]]) for name, curve in curves.items()}
    for widths in itertools.product(range(1, WIDTH + 1), repeat=3):
        meter.kept = dict(zip("abc", widths, strict=True))
        if meter.total() <= room:
            found = sum(errors[n][k - 1] for n, k in meter.kept.items())
            least = min(least, float(found))
    return least


def found(terms: list[Term], curves: dict[str, np.ndarray], share: float) -> float:
    """The error of the widths that a budget is given."""
    meter = Meter(terms, dict.fromkeys("abc", WIDTH), "macs")
    room = share * meter.total()
    counts = allocate(curves, meter, fixed=0, target=room)
    assert meter.total() <= room * (1 + 1e-9)
    return sum(float(curves[n][WIDTH - 1 - k]) for n, k in counts.items() if k < WIDTH)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_widths_are_near_the_best_of_all(share):
    """Against all 512 choices, on curves that are far from convex."""
    ratios = []
    for seed in range(40):
        terms, curves = case(seed)
        least = best(terms, curves, share)
        ratios.append(found(terms, curves, share) / least if least else 1.0)
    assert min(ratios) >= 1 - 1e-9
    assert np.mean(np.array(ratios) < 1 + 1e-9) >= 0.9
    assert max(ratios) < 1.1


def test_trades_reach_widths_that_steps_and_prices_do_not(monkeypatch):
    """The case of these forty that is furthest from the best without them."""
    cases = [case(seed) for seed in range(40)]
    traded = [found(*each, 0.5) for each in cases]
    monkeypatch.setattr(exchange, "_trade", lambda *given: None)
    alone = [found(*each, 0.5) for each in cases]
    assert all(one <= other * (1 + 1e-9) for one, other in zip(traded, alone, strict=True))
    assert max(other / one for one, other in zip(traded, alone, strict=True)) > 1.1
