"""Figures of outputs, by name and of a caller's own."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nmcore.errors import ArgumentError
from nmcore.evaluation.metrics import (
    METRICS,
    OF_FORM,
    Cosine,
    Custom,
    Deviation,
    Psnr,
    TopClasses,
    metrics_of,
)
from nmcore.evaluation.outputs import OTHER, PICTURES, SCORES, VECTORS, Batch, form_of

RNG = np.random.default_rng(0)


def batch(original, outputs, y=None, counts=None, start=0):
    places = np.arange(start, start + len(outputs[0]))
    return Batch(original, outputs, y, places, counts)


def values(metric, *batches):
    for each in batches:
        metric.add(each)
    return metric.values()


class TestForm:
    @pytest.mark.parametrize(
        ("shapes", "form"),
        [
            ([(2, 10)], SCORES),
            ([(2, 10, 1, 1)], SCORES),
            ([(2, 7, 64)], VECTORS),
            ([(2, 7, 64), (2, 10)], VECTORS),
            ([(2, 3, 32, 32)], PICTURES),
            ([(2, 32, 32, 1)], PICTURES),
            ([(2, 8, 32, 32)], OTHER),
            ([(2, 4, 3, 32, 32)], OTHER),
            ([(2,)], OTHER),
        ],
    )
    def test_shapes_tell(self, shapes, form):
        assert form_of([np.zeros(shape) for shape in shapes], features=False) == form

    def test_features_are_no_scores(self):
        assert form_of([np.zeros((2, 10))], features=True) == VECTORS

    def test_whole_numbers_are_no_vectors(self):
        assert form_of([np.zeros((2, 7), int)], features=False) == OTHER
        assert form_of([np.zeros(2, int)], features=False) == SCORES
        assert form_of([np.zeros((2, 7), int), np.zeros((2, 7, 3))], features=False) == VECTORS

    def test_outputs_that_cannot_be_stacked(self):
        assert form_of([None], features=False) == OTHER

    def test_each_form_has_metrics_that_exist(self):
        assert {name for names in OF_FORM.values() for name in names} <= set(METRICS)


class TestTopClasses:
    def test_the_class_is_among_the_best(self):
        scores = RNG.standard_normal((40, 9))
        y = RNG.integers(0, 9, 40)
        for k in (1, 3):
            expected = np.mean(
                [label in np.argsort(-row)[:k] for row, label in zip(scores, y, strict=True)]
            )
            assert values(TopClasses(k), batch([scores], [scores], y)) == {
                f"top{k}": pytest.approx(100 * expected)
            }

    def test_without_classes_or_scores(self):
        scores = np.ones((2, 5))
        assert values(TopClasses(5), batch([scores], [scores])) == {"top5": None}
        pictures = np.ones((2, 5, 5, 5))
        assert values(TopClasses(1), batch([pictures], [pictures], np.zeros(2, int))) == {
            "top1": None
        }

    def test_a_score_that_is_no_number_is_never_right(self):
        scores = np.array([[np.nan, 1.0], [1.0, 0.0]])
        assert values(TopClasses(5), batch([scores], [scores], np.array([1, 0]))) == {"top5": 50.0}


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
        assert metric.error == pytest.approx(cosines.std() / 20)
        assert Cosine().error is None

    def test_the_same_vectors_of_another_length_keep_everything(self):
        vectors = RNG.standard_normal((9, 4))
        found = values(Cosine(), batch([vectors], [3 * vectors]))
        assert found == {"cosine": pytest.approx(1), "neighbours": 100.0}

    def test_two_inputs_have_no_neighbours_to_lose(self):
        vectors = np.eye(2)
        assert values(Cosine(), batch([vectors], [vectors]))["neighbours"] is None

    def test_other_widths_are_not_compared(self):
        found = values(Cosine(), batch([np.ones((4, 3))], [np.ones((4, 2))]))
        assert found == {"cosine": None, "neighbours": None}


class TestDeviation:
    def test_padding_is_left_out(self):
        want = np.ones((2, 3, 4))
        got = want.copy()
        got[0, 2] = 100
        counts = np.array([[True, True, False], [True, True, True]])
        assert values(Deviation(), batch([want], [got], counts=counts)) == {"deviation": 0.0}
        got[1, 2] = 2
        found = values(Deviation(), batch([want], [got], counts=counts))
        assert found == {"deviation": pytest.approx(100 * math.sqrt(1 / 5))}


class TestPsnr:
    def test_over_all_batches(self):
        want = RNG.random((6, 3, 8, 8))
        got = want + 0.01 * RNG.standard_normal(want.shape)
        peak, error = np.ptp(want), np.square(got - want).mean()
        found = values(Psnr(), batch([want[:2]], [got[:2]]), batch([want[2:]], [got[2:]]))
        assert found == {"psnr": pytest.approx(10 * math.log10(peak**2 / error))}

    def test_pictures_that_are_the_same(self):
        want = RNG.random((2, 1, 8, 8))
        assert values(Psnr(), batch([want], [want])) == {"psnr": None}


class TestCustom:
    def test_it_sees_all_outputs_in_the_order_of_the_data(self):
        seen = []

        def mean(original, outputs, y):
            seen.append((original, outputs, y))
            return outputs[0].mean()

        metric = Custom(mean)
        one, other = np.arange(4.0).reshape(4, 1), np.arange(4.0)[:, None] + 1
        late = Batch([one[2:]], [other[2:]], np.array([2, 3]), np.array([2, 3]))
        early = Batch([one[:2]], [other[:2]], np.array([0, 1]), np.array([0, 1]))
        assert values(metric, late, early) == {"mean": 2.5}
        ((original, outputs, y),) = seen
        assert original[0].ravel().tolist() == y.tolist() == [0, 1, 2, 3]
        assert outputs[0].ravel().tolist() == [1, 2, 3, 4]

    def test_outputs_of_different_shapes_are_objects(self):
        def lengths(original, outputs, y):
            assert y is None
            return float("".join(str(len(each)) for each in outputs[0]))

        states = [np.zeros((1, 5, 2)), np.zeros((2, 3, 2))]
        batches = [
            Batch([state], [state], None, places)
            for state, places in zip(states, (np.array([1]), np.array([0, 2])), strict=True)
        ]
        assert values(Custom(lengths), *batches) == {"lengths": 353.0}

    @pytest.mark.parametrize("given", ["text", None, np.ones(2), math.nan, np.float32(np.inf)])
    def test_what_is_no_number(self, given):
        def wrong(original, outputs, y):
            return given

        with pytest.raises(ArgumentError, match=r"metric wrong gave .*; a finite number is needed"):
            values(Custom(wrong), batch([np.ones(1)], [np.ones(1)]))


class TestNames:
    def test_names_and_functions(self):
        def mine(original, outputs, y):
            return 0.0

        assert [*metrics_of("top5")] == ["top5"]
        assert [*metrics_of(mine)] == ["mine"]
        assert [*metrics_of(["cosine", mine])] == ["cosine", "mine"]
        assert metrics_of(None) == {}

    @pytest.mark.parametrize("given", ["top3", ["psnr", 4], 3, {"top1"}])
    def test_others(self, given):
        with pytest.raises(ArgumentError, match=r"metric is .*one of top1, top5, agreement"):
            metrics_of(given)
