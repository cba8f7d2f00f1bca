"""Vectors and their neighbours."""

from __future__ import annotations

import numpy as np
import pytest

from nmcore.evaluation.metrics.vectors import Cosine
from outputs import RNG, batch, values


class TestCosine:
    def test_of_one_vector_an_input(self):
        one, other = RNG.standard_normal((2, 700, 6))
        lengths = [np.linalg.norm(each, axis=1, keepdims=True) for each in (one, other)]
        units = [each / length for each, length in zip((one, other), lengths, strict=True)]
        found = values(
            Cosine(),
            *(batch([one[k : k + 100]], [other[k : k + 100]]) for k in range(0, 700, 100)),
        )
        assert found["cosine"] == pytest.approx((units[0] * units[1]).sum(1).mean())
        nearest = []
        for each in units:
            cosines = each @ each.T
            np.fill_diagonal(cosines, -2)
            nearest.append(cosines.argmax(1))
        assert found["neighbours"] == pytest.approx(100 * np.mean(nearest[0] == nearest[1]))

    def test_of_the_mean_over_positions_that_count(self):
        states = RNG.standard_normal((3, 5, 4))
        counts = np.arange(5) < np.array([[5], [2], [3]])
        noisy = np.where(counts[..., None], states, np.nan)
        pooled = np.stack([row[mask].mean(0) for row, mask in zip(states, counts, strict=True)])
        found = values(Cosine(), batch([noisy], [pooled[:, None].repeat(5, 1)], counts=counts))
        assert found["cosine"] == pytest.approx(1)

    def test_the_error_of_the_mean(self):
        one, other = RNG.standard_normal((2, 400, 6))
        metric = Cosine()
        values(metric, batch([one], [other]))
        cosines = (one * other).sum(1) / np.prod(np.linalg.norm([one, other], axis=2), axis=0)
        loss = metric.loss(Cosine())
        assert loss.points == pytest.approx(100 * (1 - cosines.mean()), abs=1e-3)
        assert loss.error == pytest.approx(100 * cosines.std() / 20, abs=0.01)
        assert str(loss).startswith("cosine to the original's vectors, in hundredths, ")
        assert metric.is_lost
        assert metric.told().startswith("the cosine to the original's vectors is ")
        assert Cosine().loss(Cosine()) is None

    def test_the_same_vectors_of_another_length_keep_everything(self):
        vectors = RNG.standard_normal((9, 4))
        found = values(Cosine(), batch([vectors], [3 * vectors]))
        assert found == {"cosine": pytest.approx(1), "neighbours": 100.0}

    def test_two_inputs_have_no_neighbours_to_lose(self):
        vectors = np.eye(2)
        metric = Cosine()
        assert values(metric, batch([vectors], [vectors])) == {"cosine": 1.0, "neighbours": None}
        assert metric.was_told

    def test_other_widths_are_not_compared(self):
        found = values(Cosine(), batch([np.ones((4, 3))], [np.ones((4, 2))]))
        assert found == {"cosine": None, "neighbours": None}

    def test_vectors_of_zeros_are_the_same(self):
        one = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [np.nan, 0.0]])
        other = np.array([[0.0, 0.0], [2.0, 1.0], [0.0, 0.0], [np.nan, 0.0]])
        metric = Cosine()
        assert values(metric, batch([one], [other]))["cosine"] == 0.25
        assert (1 - np.concatenate(metric.lost)).tolist() == [1, 0, 0, 0]

    @pytest.mark.parametrize("size", [1e-200, 1e200])
    def test_numbers_whose_squares_are_none(self, size):
        vectors = size * RNG.standard_normal((4, 3))
        found = values(Cosine(), batch([vectors], [2 * vectors]))
        assert found == {"cosine": pytest.approx(1), "neighbours": 100.0}

    def test_the_error_of_one_is_not_known(self):
        metric = Cosine()
        values(metric, batch([np.ones((1, 3))], [np.eye(3)[:1]]))
        assert metric.loss(Cosine()).error is None
        assert str(metric.loss(Cosine())).endswith("in hundredths, 42.26 points lower on 1 input")

    def test_a_small_error(self):
        vectors = np.ones((3, 4))
        metric = Cosine()
        values(metric, batch([vectors], [vectors]))
        assert "(standard error below 0.01)" in str(metric.loss(Cosine()))
