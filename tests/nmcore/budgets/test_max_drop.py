"""The smallest model whose results stay good enough, and how well that is known."""

from __future__ import annotations

import numpy as np
import pytest

from nmcore.budgets.max_drop import (
    MOST_JUDGED,
    STEPS,
    Attempt,
    halves,
    smallest_within,
)
from nmcore.data.dataset import Dataset
from nmcore.errors import BudgetError, DataError
from nmcore.evaluation.metrics.base import Loss


def trying(loss, least=0.0):
    """An attempt that loses ``loss(share)`` points; remembers the shares."""
    tried = []

    def attempt(share):
        tried.append(share)
        if share < least:
            raise BudgetError("too little")
        return Attempt(
            f"model of {share}", share, Loss("top1", "top-1 accuracy", loss(share), 0.1, 100)
        )

    return attempt, tried


@pytest.mark.parametrize("limit", [0.0, 0.5, 3, 40])
def test_the_smallest_share_whose_loss_is_small_enough(limit):
    def loss(share):
        return 100 * (1 - share) ** 3 - 0.01

    attempt, tried = trying(loss)
    best = smallest_within(limit, attempt)
    assert best.result == f"model of {best.share}"
    assert loss(best.share) <= limit < loss(best.share - 1 / STEPS)
    assert len(tried) == len(set(tried)) <= 6


def test_shares_that_cannot_be_had_are_no_error():
    attempt, _ = trying(lambda _share: 0.0, least=0.3)
    assert smallest_within(1, attempt).share == 20 / 64  # The first share above 0.3.


def test_where_even_a_little_is_too_much_nothing_comes_out():
    attempt, _ = trying(lambda share: 7 - share)
    with pytest.raises(BudgetError) as caught:
        smallest_within(2, attempt)
    assert str(caught.value).startswith(
        "a max-drop of 2 points cannot be met: with 98 % of the MACs kept the result has top-1 "
        "accuracy 6.02 points lower (standard error 0.10) on 100 inputs"
    )


def test_where_nothing_can_be_removed():
    attempt, _ = trying(lambda _share: 0.0, least=1.0)
    with pytest.raises(BudgetError, match="nothing to choose from: too little"):
        smallest_within(2, attempt)


class TestHalves:
    def data(self, n):
        return Dataset("x.npz", np.arange(n)[:, None], np.arange(n))

    @pytest.mark.parametrize(("n", "samples"), [(2, 256), (9, 256), (100, 20), (1000, 256)])
    def test_nothing_is_in_both_and_all_is_in_one(self, n, samples):
        measured, judged = halves(self.data(n), samples)
        assert len(measured) == min(samples, n // 2)
        assert sorted([*measured.y, *judged.y]) == list(range(n))
        assert (measured.arrays["x"][:, 0] == measured.y).all()

    def test_the_order_of_the_file_is_kept_and_both_span_it(self):
        measured, judged = halves(self.data(1000), 100)
        for part in (measured, judged):
            assert (np.diff(part.y) > 0).all()
            assert part.y[0] < 20
            assert part.y[-1] > 980

    def test_no_more_are_judged_than_tell_something(self):
        measured, judged = halves(self.data(3 * MOST_JUDGED), 10)
        assert len(judged) == MOST_JUDGED
        assert not set(measured.y) & set(judged.y)

    def test_one_input_is_too_few(self):
        with pytest.raises(DataError, match="holds one input"):
            halves(self.data(1), 256)
