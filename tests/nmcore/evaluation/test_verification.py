"""When two outputs count as the same."""

from __future__ import annotations

import numpy as np
import pytest

from nmcore.evaluation.verification import relative_error


def test_relative_to_the_largest_entry():
    want = np.array([1.0, -4.0], np.float32)
    assert relative_error(want + np.float32(0.5), want) == pytest.approx(0.125, rel=1e-5)


def test_equal_infinities_and_none_agree():
    want = np.array([np.inf, np.nan, 2.0])
    assert relative_error(want.copy(), want) == 0


def test_a_number_against_none_never_agrees():
    assert not relative_error(np.array([np.nan]), np.array([1.0])) <= 1e-3
    assert not relative_error(np.array([np.inf]), np.array([1.0])) <= 1e-3


def test_small_sigmoids_are_only_as_exact_as_the_runtime_makes_them():
    """onnxruntime's sigmoid has steps of 2^-25, so two sums in another order may differ by some."""
    step = np.float32(2.0**-25)
    want = np.array([110 * step])
    assert relative_error(want + 6 * step, want) == 0
    assert relative_error(want + 60 * step, want) > 0.3
