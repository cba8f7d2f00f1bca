"""The forms that outputs of detectors have, written out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from nmcore.evaluation.detection.forms import FORMS, forms_of
from nmcore.evaluation.detection.head import Head

# Height, width, and the cells of strides 8, 16 and 32.
PICTURE = (64, 96)
CELLS = {8: (8, 12), 16: (4, 6), 32: (2, 3)}
PLACES = sum(down * across for down, across in CELLS.values())


def decoded(form, *outputs, names=(), picture=PICTURE, told=False):
    """Corners, scores and classes of the boxes of the first input."""
    decoder = FORMS[form](Head(outputs, names, picture, told))
    (found, *_) = decoder(outputs)
    return [
        (*np.round(corners, 4).tolist(), round(float(score), 4), int(label))
        for corners, score, label in zip(found.corners, found.scores, found.classes, strict=True)
    ]


def first_form(*outputs, names=(), picture=PICTURE):
    return next((name for name, _ in forms_of(Head(outputs, names, picture))), None)


def refused(form, *outputs, names=(), picture=PICTURE):
    return FORMS[form](Head(outputs, names, picture)) is None


class TestYolo:
    """(centre, size, scores) at each cell of a grid."""

    def rows(self, count, width):
        rows = np.zeros((1, count, width))
        rows[..., :4] = 20, 20, 8, 4
        return rows

    def test_version_8(self):
        rows = self.rows(PLACES, 7)
        rows[0, 3, 4:] = 0.1, 0.9, 0.2
        rows[0, 4, 4:] = 0.1, 0.8, 0.2  # the same again
        rows[0, 5, 4:] = 0.0, 0.0, 0.7
        output = np.moveaxis(rows, 1, 2)
        expected = [(16, 18, 24, 22, 0.9, 1), (16, 18, 24, 22, 0.7, 2)]
        assert decoded("yolov8", output) == expected
        assert first_form(output) == "yolov8"
        # Coefficients of masks follow the scores.
        masks = np.concatenate([output, np.full((1, 32, PLACES), -1.5)], axis=1)
        assert decoded("yolov8", masks, np.zeros((1, 32, 16, 24))) == expected
        assert refused("yolov8", output, picture=(64, 64))
        assert refused("yolov8", output, picture=None)
        assert decoded("yolov8", output, picture=None, told=True) == expected

    def test_version_5(self):
        rows = self.rows(3 * PLACES, 7)
        rows[0, 9, 4:] = 0.8, 0.5, 1.0
        assert decoded("yolov5", rows) == [(16, 18, 24, 22, 0.8, 1)]
        assert first_form(rows) == "yolov5"
        assert refused("yolov5", rows[:, 1:])

    def test_faces_of_version_5(self):
        """Points follow the certainty, which alone is the score."""
        rows = self.rows(3 * PLACES, 16)
        rows[..., 5:15] = 33
        rows[0, 9, 4] = 0.75
        assert decoded("yolov5", rows) == [(16, 18, 24, 22, 0.75, 0)]

    def test_yolox(self):
        rows = np.zeros((1, PLACES, 7))
        # The second level begins behind 8 x 12 cells: row 1, column 2 of stride 16.
        rows[0, 96 + 6 + 2] = 0.5, 0.25, np.log(2), 0, 0.8, 0, 1
        assert decoded("yolox", rows) == [(24, 12, 56, 28, 0.8, 1)]
        assert first_form(rows) == "yolox"
        rows[..., 2:4] = 10, 10
        assert decoded("yolox", rows) == [(-4.5, -4.75, 5.5, 5.25, 0.8, 1)]


class TestAnchored:
    """Offsets from anchors."""

    def test_scrfd(self):
        scores = [np.zeros((1, 2 * down * across, 1)) for down, across in CELLS.values()]
        sides = [np.zeros((1, 2 * down * across, 4)) for down, across in CELLS.values()]
        place = 2 * (1 * 6 + 2) + 1  # the second anchor of row 1, column 2 of stride 16
        scores[1][0, place], sides[1][0, place] = 0.9, (1, 0.5, 2, 3)
        assert decoded("scrfd", *scores, *sides) == [(16, 8, 64, 64, 0.9, 0)]
        assert first_form(*scores, *sides) == "scrfd"
        logits = [np.full_like(each, -9.0) for each in scores]
        logits[1][0, place] = np.log(9)
        assert decoded("scrfd", *logits, *sides) == [(16, 8, 64, 64, 0.9, 0)]
        assert refused("scrfd", *scores[:1], *sides[:1])

    def scores(self, count, place):
        """Probabilities of a face; the first class is the background."""
        rows = np.tile([1.0, 0.0], (1, count, 1))
        rows[0, place] = 0.1, 0.9
        return rows

    def test_retinaface(self):
        offsets = np.zeros((1, 2 * PLACES, 4))
        place = 2 * (1 * 12 + 3) + 1  # the larger anchor, 32, of row 1, column 3 of stride 8
        offsets[0, place] = 1, 0, 0, 5
        centre, height = 28 + 0.1 * 32, 32 * np.exp(0.2 * 5)
        ((*corners, score, label),) = decoded("retinaface", offsets, self.scores(2 * PLACES, place))
        assert (score, label) == (0.9, 0)
        assert corners == pytest.approx(
            [
                (centre - 16) / 96,
                (12 - height / 2) / 64,
                (centre + 16) / 96,
                (12 + height / 2) / 64,
            ],
            abs=1e-4,
        )
        assert first_form(offsets, self.scores(2 * PLACES, place)) == "retinaface"

    def test_faceboxes(self):
        # 16 + 4 + 1 anchors for each of 4 x 4 cells of stride 32, then 2 x 2 and 1.
        count = 16 * 21 + 4 + 1
        offsets = np.zeros((1, count, 4))
        cell = 1 * 4 + 2
        for number, corners in {
            5: (0.4375, 0.1875, 0.6875, 0.4375),  # side 32, a quarter of a cell right and down
            18: (0.25, 0.125, 0.75, 0.625),  # side 64, half a cell down
            20: (0.125, -0.125, 1.125, 0.875),  # side 128, in the middle
        }.items():
            scores = self.scores(count, cell * 21 + number)
            found = decoded("faceboxes", offsets, scores, picture=(128, 128))
            assert found == [(*corners, 0.9, 0)]
        assert first_form(offsets, self.scores(count, 0), picture=(128, 128)) == "faceboxes"

    def test_two_classes_that_are_no_probabilities(self):
        offsets = np.zeros((1, 2 * PLACES, 4))
        assert refused("retinaface", offsets, 3 * self.scores(2 * PLACES, 0))


class TestLists:
    """Boxes beside scores and classes."""

    BOXES = np.array([[[0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1]]])
    SCORES, CLASSES = np.array([[0.9, 0.1]]), np.array([[3.0, 1.0]])
    FOUND = ((0.1, 0.2, 0.3, 0.4, 0.9, 3),)

    def test_by_names(self):
        outputs = self.CLASSES, self.SCORES, self.BOXES
        names = "detection_classes:0", "detection_scores:0", "detection_boxes:0"
        assert decoded("ssd", *outputs, names=names) == [*self.FOUND]
        assert first_form(*outputs, names=names) == "ssd"
        # Raw scores are others.
        raw = np.zeros((1, 100, 7)), *outputs
        assert decoded("ssd", *raw, names=("raw_scores", *names)) == [*self.FOUND]

    @pytest.mark.parametrize("kind", [float, np.int64])
    def test_by_shapes(self, kind):
        outputs = self.BOXES, self.CLASSES.astype(kind), self.SCORES
        assert decoded("ssd", *outputs) == [*self.FOUND]
        assert refused("ssd", self.BOXES, self.CLASSES, np.rint(self.SCORES))

    def test_one_box_and_none(self):
        """Of one input, where lists have no axis for more."""
        names = "boxes", "scores", "labels"
        one = self.BOXES[:, 0], self.SCORES[:, 0], self.CLASSES[:, 0]
        assert decoded("ssd", *one, names=names) == [*self.FOUND]
        none = self.BOXES[:, :0], self.SCORES[:, :0], self.CLASSES[:, :0]
        decoder = FORMS["ssd"](Head(one, names))
        assert [len(each) for each in decoder(none)] == [0]
        assert decoder(one[:2]) is None
        assert decoder((*one[:2], self.CLASSES)) is None

    def test_corners(self):
        boxes = np.zeros((1, 5, 1, 4))
        boxes[0, :, 0] = np.arange(5)[:, None] + (0, 0, 0.5, 0.5)
        scores = np.zeros((1, 5, 3))
        scores[0, 2] = 0.1, 0.2, 0.8
        names = "boxes", "confs"
        assert decoded("corners", boxes, scores, names=names) == [(2, 2, 2.5, 2.5, 0.8, 2)]
        assert first_form(boxes, scores, names=names) == "corners"
        assert refused("corners", boxes, scores)
        assert decoded("corners", scores, boxes, told=True) == [(2, 2, 2.5, 2.5, 0.8, 2)]
        # Probabilities of all classes, of which the commonest is the background.
        scores[0] = 0.9, 0.1, 0
        scores[0, 4] = 0.1, 0.2, 0.7
        assert decoded("corners", boxes, scores, names=names) == [(4, 4, 4.5, 4.5, 0.7, 1)]

    def test_detr(self):
        boxes = np.full((1, 6, 4), 0.5)
        logits = np.full((1, 6, 3), -5.0)
        logits[0, 1, 1] = np.log(4)
        ((*corners, score, label),) = decoded("detr", logits, boxes)
        assert (corners, label) == ([0.25, 0.25, 0.75, 0.75], 1)
        assert score == pytest.approx(0.8, abs=1e-4)
        assert first_form(logits, boxes) == "detr"
        # The last class of most queries is none.
        logits[...], logits[0, :, 2] = 0.0, 5.0
        logits[0, 1] = 0, np.log(8), -9
        ((*_, score, label),) = decoded("detr", logits, boxes)
        assert (score, label) == (pytest.approx(8 / 9, abs=1e-3), 1)
        assert refused("detr", logits, 3 * boxes)

    def test_end_to_end(self):
        rows = np.zeros((1, 3, 6))
        rows[0, 1] = 1, 2, 3, 4, 0.5, 7
        assert decoded("end-to-end", rows) == [(1, 2, 3, 4, 0.5, 7)]
        assert first_form(rows) == "end-to-end"
        assert refused("end-to-end", rows, picture=None)
        assert refused("end-to-end", rows + 0.5)

    def test_lists_of_different_lengths(self):
        column = np.empty(2, object)
        column[:] = [np.array([[1, 2, 3, 4, 0.5, 7.0]]), np.zeros((0, 6))]
        decoder = FORMS["end-to-end"](Head([column], (), PICTURE))
        assert [len(each) for each in decoder([column])] == [1, 0]
        assert decoder([np.zeros((2, 5))]) is None


def test_nothing_to_look_at():
    assert first_form(None, np.zeros((1, 0, 4))) is None


def test_numbers_that_are_none_are_no_boxes():
    rows = np.full((1, 7, PLACES), 0.5)
    decoder = FORMS["yolov8"](Head([rows], (), PICTURE))
    assert [len(each) for each in decoder([np.full_like(rows, np.nan)])] == [0]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "outputs",
    [
        [None],
        [np.zeros(2)],
        [np.zeros((2, 0))],
        [np.zeros((2, 0, 4)), np.zeros((2, 0, 3))],
        [np.zeros((2, 84, 4)), np.zeros((2, 84, 0))],
        [np.full((2, 84, 4), np.nan), np.full((2, 84, 2), np.nan)],
        [np.zeros((2, 3), int), np.zeros((2, 3, 8, 8))],
    ],
)
def test_other_outputs_are_refused_or_hold_nothing(form, outputs):
    decoder = FORMS[form](Head(outputs, ["boxes", "scores"][: len(outputs)], PICTURE, told=True))
    found = decoder(outputs) if decoder else None
    assert found is None or [len(each) for each in found] == [0, 0]
