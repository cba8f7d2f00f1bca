"""Figures of outputs, by name and of a caller's own."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nmcore.errors import ArgumentError
from nmcore.evaluation.forms import (
    BOXES,
    MASKS,
    OTHER,
    PICTURES,
    SCORES,
    STRINGS,
    VECTORS,
    form_of,
)
from nmcore.evaluation.metrics.boxes import FoundBoxes
from nmcore.evaluation.metrics.classes import Agreement, TopClasses
from nmcore.evaluation.metrics.custom import Custom
from nmcore.evaluation.metrics.deviation import Deviation
from nmcore.evaluation.metrics.figures import FIGURES, SAID
from nmcore.evaluation.metrics.masks import AbsoluteError, Overlap
from nmcore.evaluation.metrics.pictures import Psnr, Ssim
from nmcore.evaluation.metrics.registry import (
    JUDGED_BY,
    METRICS,
    OF_FORM,
    check_measures_loss,
    metrics_of,
)
from nmcore.evaluation.metrics.strings import Strings
from nmcore.evaluation.metrics.vectors import Cosine
from nmcore.evaluation.outputs import Batch

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
        assert told([np.zeros(shape) for shape in shapes]) == form

    def test_features_are_no_scores(self):
        assert told([np.zeros((2, 10))], features=True) == VECTORS

    def test_whole_numbers_are_no_vectors(self):
        assert told([np.zeros((2, 7), int)]) == OTHER
        assert told([np.zeros(2, int)]) == SCORES
        assert told([np.zeros((2, 7), int), np.zeros((2, 7, 3))]) == VECTORS

    def test_outputs_that_cannot_be_stacked(self):
        assert told([None]) == OTHER

    def test_probabilities_at_each_step_spell_strings(self):
        steps = softmax(9 * np.eye(20)[RNG.integers(0, 2, (2, 30))])
        assert told([steps]) == told([np.log(steps)]) == STRINGS
        # Raw numbers may be any vectors, and few classes are no alphabet.
        assert told([20 * steps]) == VECTORS
        assert told([softmax(9 * np.eye(7)[RNG.integers(0, 2, (2, 30))])]) == VECTORS

    def test_masks_of_a_picture(self):
        mask = (RNG.random((2, 1, 64, 64)) > 0.5).astype(float)
        assert told([mask], picture=(64, 64, 3)) == MASKS
        assert told([mask], picture=(64, 64, 1)) == PICTURES
        assert told([mask + 1], picture=(64, 64, 3)) == PICTURES
        assert told([0.5 * mask], picture=(64, 64, 3)) == PICTURES
        assert told([np.zeros((2, 21, 64, 64))], picture=(64, 64, 3)) == MASKS
        assert told([np.zeros((2, 21, 16, 16))], picture=(64, 64, 3)) == OTHER

    def test_a_grid_of_boxes_is_told_by_the_size_of_the_picture(self):
        grid = np.zeros((2, 84, 8400))
        assert told([grid], picture=(640, 640, 3)) == BOXES
        assert told([grid], picture=(320, 320, 3)) == VECTORS
        assert told([grid]) == VECTORS

    def test_each_form_has_metrics_and_words(self):
        assert set(OF_FORM) == set(JUDGED_BY) == set(SAID)
        assert {name for names in OF_FORM.values() for name in names} <= set(METRICS)
        for form, names in JUDGED_BY.items():
            assert set(names) <= set(OF_FORM[form])

    def test_each_figure_of_a_metric_has_words(self):
        found = {figure for make in METRICS.values() for figure in make().values()}
        assert found == set(FIGURES)


def told(outputs, *, features=False, picture=None):
    n = 2 if outputs[0] is None else len(outputs[0])
    return form_of(Batch(outputs, [], None, np.arange(n), None, (), picture), features=features)


def softmax(x):
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


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


def same_class(k, classes=1000):
    """Two sets of scores whose best classes these are."""
    return 5 * np.eye(classes)[k]


class TestLoss:
    def judged(self, y, one, other):
        before, after = TopClasses(1), TopClasses(1)
        before.add(Batch([one], [one], y, np.arange(len(y))))
        after.add(Batch([one], [other], y, np.arange(len(y))))
        return after.loss(before)

    def test_accuracy_of_the_same_inputs(self):
        """50 of 1000 get another class, of which 30 were right and 10 become so."""
        y, first = np.zeros(1000, int), np.zeros(1000, int)
        first[970:] = 1
        second = first.copy()
        second[:30], second[990:] = 1, 0
        second[970:980] = 2
        loss = self.judged(y, same_class(first, 3), same_class(second, 3))
        assert (loss.points, loss.n, loss.metric) == (2.0, 1000, "top1")
        assert loss.error == pytest.approx(100 * math.sqrt((0.04 - 0.0004) / 1000), abs=0.005)
        assert str(loss) == "top-1 accuracy 2.00 points lower (standard error 0.63) on 1,000 inputs"
        assert "points higher" in str(self.judged(y, same_class(second, 3), same_class(first, 3)))

    def test_the_error_is_the_spread_over_samples(self):
        """Draw many samples from a world in which 6 % are lost and 2 % are won."""
        lost, won, n = 0.06, 0.02, 500
        counts = RNG.multinomial(n, [lost, won, 1 - lost - won], size=4000)
        spread = (100 * (counts[:, 0] - counts[:, 1]) / n).std()
        before, after = np.zeros(n, int), np.zeros(n, int)
        after[:30], before[30:40] = 1, 1
        loss = self.judged(np.zeros(n, int), same_class(before, 2), same_class(after, 2))
        assert loss.error == pytest.approx(spread, rel=0.05)

    def test_no_difference_is_no_certainty(self):
        agreement = Agreement()
        scores = same_class(np.zeros(100, int), 3)
        agreement.add(batch([scores], [scores]))
        loss = agreement.loss(Agreement())
        assert (loss.points, loss.error, loss.metric) == (0.0, 1.0, "agreement")

    def test_agreement(self):
        agreement = Agreement()
        found = np.zeros(100, int)
        found[:3] = 1
        agreement.add(batch([same_class(0 * found, 3)], [same_class(found, 3)]))
        loss = agreement.loss(Agreement())
        assert loss.points == 3
        assert loss.error == pytest.approx(100 * math.sqrt(0.03 * 0.97 / 100), abs=0.005)

    def test_a_function_loses_what_the_original_has_more_of(self):
        def mean(original, outputs, y):
            return outputs[0].mean()

        before, after = Custom(mean), Custom(mean)
        one, other = np.full((4, 1), 3.0), np.full((4, 1), 2.5)
        before.add(batch([one], [one]))
        after.add(batch([one], [other]))
        loss = after.loss(before)
        assert (loss.metric, loss.points, loss.error) == ("mean", 0.5, None)
        assert str(loss) == "mean 0.50 points lower on 4 inputs"

    def test_what_has_no_measure(self):
        check_measures_loss({})
        check_measures_loss(metrics_of(["boxes", "psnr"]))
        for name in ("psnr", "mae"):
            with pytest.raises(ArgumentError, match=f"metric {name} is no measure of what is lost"):
                check_measures_loss(metrics_of(name))


def row(*boxes, places=4):
    """One input's boxes (left, top, right, bottom, score, class), filled up."""
    rows = [*boxes, *[(0, 0, 1, 1, 0.0, 0)] * (places - len(boxes))]
    return np.array(rows, float)


class TestBoxes:
    FOUND = (0, 0, 10, 10, 0.9, 1)

    def kept(self, one, *other):
        metric = FoundBoxes("end-to-end")
        metric.add(batch([row(*one)[None]], [row(*other)[None]]))
        return metric

    @pytest.mark.parametrize(
        ("other", "kept", "new"),
        [
            (FOUND, 100, 0),
            ((0, 0, 10, 9, 0.3, 1), 100, 0),
            ((0, 0, 10, 9, 0.2, 1), 0, 0),  # a score that is too low
            ((0, 0, 10, 4, 0.9, 1), 0, 100),  # an overlap that is too small
            ((0, 0, 10, 10, 0.9, 2), 0, 100),  # another class
        ],
    )
    def test_what_is_the_same_box(self, other, kept, new):
        assert self.kept([self.FOUND], other).values() == {"boxes": kept, "new_boxes": new}

    def test_boxes_are_matched_one_to_one(self):
        twins = [self.FOUND, (1, 0, 10, 10, 0.8, 1)]
        metric = self.kept(twins, self.FOUND)
        assert metric.values() == {"boxes": 50.0, "new_boxes": 0.0}
        assert metric.told() == "of 2 boxes of the original 1 is left"
        assert metric.is_lost

    def test_nothing_to_find(self):
        metric = self.kept([], self.FOUND)
        assert metric.values() == {"boxes": None, "new_boxes": None}
        assert (metric.told(), metric.loss(metric), metric.is_lost) == (None, None, False)

    def test_the_error_is_that_of_a_ratio(self):
        """Inputs of other counts, of which a third of the boxes is lost on average."""
        counts = RNG.integers(1, 9, 400)
        ratios, metric = [], FoundBoxes("end-to-end")
        for sample in range(300):
            lost = RNG.binomial(counts, 0.3)
            ratios.append(100 * lost.sum() / counts.sum())
            if sample == 0:
                metric.counts = [(n, n - k, n - k) for n, k in zip(counts, lost, strict=True)]
        assert metric.loss(metric).error == pytest.approx(np.std(ratios), rel=0.15)

    def test_other_shapes_are_not_compared(self):
        metric = FoundBoxes("end-to-end")
        metric.add(batch([row(self.FOUND)[None]], [row(self.FOUND, places=7)[None]]))
        assert metric.values()["boxes"] is None


class TestStrings:
    def test_repetitions_and_blanks_spell_nothing(self):
        paths = np.array([[0, 1, 1, 0, 2], [0, 0, 0, 3, 0], [0, 0, 0, 0, 0]])
        others = np.array([[1, 0, 0, 2, 2], [0, 0, 3, 0, 3], [0, 0, 0, 0, 0]])
        metric = Strings()
        metric.add(batch([np.eye(4)[paths]], [np.eye(4)[others]]))
        assert metric.values() == {"ctc": 50.0}
        assert metric.told() == "of 2 strings of the original 1 is the same"
        assert metric.is_lost
        assert metric.loss(metric).points == 50

    def test_the_blank_may_be_the_last_class(self):
        paths, others = np.array([[3, 0, 3, 3, 1]]), np.array([[3, 3, 0, 1, 3]])
        metric = Strings()
        metric.add(batch([np.eye(4)[paths]], [np.eye(4)[others]]))
        assert (metric.values(), metric.blank) == ({"ctc": 100.0}, 3)

    def test_outputs_of_steps_first(self):
        """(steps, 1, classes) a run is (n, steps, 1, classes) of all."""
        paths = np.eye(4)[np.array([[0, 1, 1, 0, 2]])][:, :, None]
        metric = Strings()
        metric.add(batch([paths], [paths]))
        assert metric.values() == {"ctc": 100.0}

    def test_nothing_is_read(self):
        blank = np.eye(4)[np.zeros((2, 5), int)]
        assert values(Strings(), batch([blank], [blank])) == {"ctc": None}


class TestMasks:
    def test_one_object(self):
        one, other = np.zeros((2, 2, 1, 4, 4))
        one[0, 0, :2], other[0, 0, 1:3] = 0.9, 0.8
        metric = Overlap()
        found = values(metric, batch([one], [other]))
        assert found == {"iou": pytest.approx(100 / 3)}  # the second input holds nothing
        assert metric.is_lost
        assert metric.told() == "masks overlap those of the original by 33.3 %"
        assert values(AbsoluteError(), batch([one], [other])) == {
            "mae": pytest.approx((4 * 0.9 + 4 * 0.1 + 4 * 0.8) / 32)
        }

    def test_numbers_beyond_0_to_1_are_logits(self):
        one = np.array([[[[4.0, 0.2, -3.0, -0.1]]]])
        assert values(Overlap(), batch([one], [one - 0.3])) == {"iou": 50.0}

    def test_a_class_for_each_pixel(self):
        one = np.eye(5)[np.array([[[0, 0, 1, 1]]])].transpose(0, 3, 1, 2)
        other = np.eye(5)[np.array([[[0, 0, 1, 2]]])].transpose(0, 3, 1, 2)
        found = values(Overlap(), batch([one], [other]))
        assert found == {"iou": pytest.approx(100 * (1 + 0.5 + 0) / 3)}


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
