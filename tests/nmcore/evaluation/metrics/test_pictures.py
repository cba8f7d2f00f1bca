"""Pictures."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nmcore.evaluation.metrics.pictures import Psnr, Ssim
from outputs import RNG, batch, values


class TestPsnr:
    def test_over_all_batches(self):
        want = RNG.random((6, 3, 8, 8))
        got = want + 0.01 * RNG.standard_normal(want.shape)
        peak, error = np.ptp(want), np.square(got - want).mean()
        found = values(Psnr(), batch([want[:2]], [got[:2]]), batch([want[2:]], [got[2:]]))
        assert found == {"psnr": pytest.approx(10 * math.log10(peak**2 / error))}

    def test_pictures_that_are_the_same(self):
        want = RNG.random((2, 1, 8, 8))
        metric = Psnr()
        assert not metric.was_told
        assert values(metric, batch([want], [want])) == {"psnr": None}
        assert metric.was_told
        assert metric.told() == "the pictures are those of the original"


class TestSsim:
    def published(self, one, other, span):
        """The formula at each place of the window, written out."""
        window = np.exp(-np.square(np.arange(11) - 5) / (2 * 1.5**2))
        window = np.outer(window, window) / window.sum() ** 2
        found = []
        for y, x in np.ndindex(one.shape[0] - 10, one.shape[1] - 10):
            a, b = (each[y : y + 11, x : x + 11] for each in (one, other))
            ma, mb = (window * a).sum(), (window * b).sum()
            va, vb = (window * (a - ma) ** 2).sum(), (window * (b - mb) ** 2).sum()
            cov = (window * (a - ma) * (b - mb)).sum()
            c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
            luminance = (2 * ma * mb + c1) / (ma**2 + mb**2 + c1)
            found.append(luminance * (2 * cov + c2) / (va + vb + c2))
        return np.mean(found)

    @pytest.mark.parametrize(("span", "low"), [(1, 0), (2, -1), (255, 0)])
    def test_the_published_formula(self, span, low):
        one = low + span * RNG.random((16, 14))
        other = one + 0.2 * span * RNG.standard_normal(one.shape)
        found = values(Ssim(), batch([one[None, None]], [other[None, None]]))
        assert found["ssim"] == pytest.approx(self.published(one, other, span))

    def test_channels_last_and_small_pictures(self):
        one = RNG.random((2, 3, 7, 9))
        other = one + 0.1 * RNG.standard_normal(one.shape)
        first = values(Ssim(), batch([one], [other]))
        last = values(Ssim(), batch([one.transpose(0, 2, 3, 1)], [other.transpose(0, 2, 3, 1)]))
        assert last == pytest.approx(first)

    def test_what_is_lost(self):
        metric = Ssim()
        one = RNG.random((1, 1, 16, 16))
        values(metric, batch([one], [1 - one]))
        assert metric.is_lost
        assert metric.told().startswith("the structural similarity to the original's pictures is -")
        assert metric.loss(metric).points > 50
