"""Curves, similarities and scaling matrices in few numbers."""

from __future__ import annotations

import numpy as np
import pytest

from account import outcome
from nmcore.arrays.elimination import Curve
from nmcore.arrays.scaling import scaling_matrix
from nmcore.group import Scaling
from nmcore.plan.summaries import (
    BINS,
    COLUMNS,
    POINTS,
    ROWS,
    CurveSummary,
    SimilaritySummary,
    ZSummary,
)


class TestCurves:
    def test_long_ones_keep_their_ends_and_the_chosen_point(self):
        error = np.linspace(0, 1, 4999)
        summary = CurveSummary.of(Curve(np.arange(4999), error), width=5000, kept=3766)
        assert len(summary.removed) == len(summary.error) == POINTS
        assert (summary.removed[0], summary.removed[-1]) == (1, 4999)
        assert list(summary.removed) == sorted(set(summary.removed))
        assert summary.chosen == pytest.approx(error[1233], rel=1e-3)

    def test_short_ones_are_whole(self):
        summary = CurveSummary.of(Curve(np.array([1]), np.array([0.25])), width=2, kept=1)
        assert (summary.removed, summary.error, summary.chosen) == ((1,), (0.25,), 0.25)

    def test_of_a_group_that_kept_everything(self):
        summary = CurveSummary.of(Curve(np.array([1]), np.array([0.25])), width=2, kept=2)
        assert summary.chosen == 0

    def test_of_one_channel(self):
        none = Curve(np.array([], dtype=int), np.array([]))
        assert CurveSummary.of(none, width=1, kept=1).removed == ()

    def test_what_is_not_finite_is_left_out(self):
        curve = Curve(np.arange(3), np.array([0.1, np.nan, np.inf]))
        summary = CurveSummary.of(curve, width=4, kept=1)
        assert (summary.removed, summary.chosen) == ((1,), None)


class TestSimilarities:
    def test_every_removed_channel_is_counted_once(self):
        scaling = outcome(width=40, kept=10).scaling
        summary = SimilaritySummary.of(scaling)
        assert len(summary.merged) == len(summary.left_out) == BINS
        assert sum(summary.merged) == scaling.merged > 0
        assert sum(summary.left_out) == 30 - scaling.merged > 0
        assert summary.threshold == 0.3

    def test_what_compares_nothing_has_none(self):
        assert SimilaritySummary.of(outcome(method="prune").scaling) is None

    def test_rounding_beyond_one_is_counted(self):
        Z = Scaling(np.array([0]), 2, np.array([1, 1 + 1e-6]), np.array([0, 0]), np.ones(2))
        assert SimilaritySummary.of(Z).merged[-1] == 1


class TestZ:
    def test_a_small_one_is_exact(self):
        rng = np.random.default_rng(1)
        kept = np.array([0, 2, 5])
        scaling = scaling_matrix(rng.standard_normal((8, 4)), kept, threshold=-1)
        summary = ZSummary.of(scaling)
        own = np.delete(scaling.Z, kept, axis=1)
        ours = np.array(summary.cells)
        assert ours.shape == own.shape
        order = np.lexsort((np.arange(5), np.abs(own).argmax(0)))
        np.testing.assert_allclose(ours, own[:, order], rtol=1e-3)
        assert summary.largest == pytest.approx(np.abs(own).max(), rel=1e-3)

    @pytest.mark.parametrize("method", ["merge", "ridge"])
    def test_a_large_one_shows_the_largest_factors(self, method):
        scaling = outcome(width=300, kept=90, method=method).scaling
        summary = ZSummary.of(scaling)
        cells = np.array(summary.cells)
        assert cells.shape == (ROWS, COLUMNS)
        removed = np.delete(scaling.Z, scaling.kept, axis=1)
        assert np.abs(cells).max() == pytest.approx(np.abs(removed).max(), rel=1e-3)
        assert summary.left_out == np.count_nonzero(~removed.any(axis=0))

    def test_of_a_dense_one_a_cell_has_the_largest_factor_of_its_rows(self):
        matrix = np.zeros((80, 81))
        matrix[:, :80], matrix[6, 80], matrix[7, 80] = np.eye(80), 0.5, -3.0
        Z = Scaling(np.arange(80), 81, np.ones(81), matrix=matrix)
        (column,) = np.array(ZSummary.of(Z).cells).T
        assert (column.argmin(), column.min(), np.count_nonzero(column)) == (3, -3.0, 1)

    def test_those_left_out_come_last(self):
        Z = Scaling(
            np.array([1]), 4, np.ones(4), np.array([-1, 0, 0, -1]), np.array([0, 1, 3.0, 0])
        )
        assert ZSummary.of(Z).cells == ((3.0, 0.0, 0.0),)

    @pytest.mark.parametrize("kept", [1, 8])
    def test_with_one_kept_channel_or_all(self, kept):
        summary = ZSummary.of(outcome(width=8, kept=kept).scaling)
        assert len(summary.cells) == kept
        assert {len(row) for row in summary.cells} == {8 - kept}
