"""More texts from a few, where these have few positions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest

import nmcore
from chain import run
from encoder import encoder, padded, texts
from nmcore.calibration import splicing
from nmcore.calibration.calibration_set import CalibrationSet
from nmcore.calibration.splicing import spliced


def calibration(*batches):
    count = sum(len(feeds["mask"]) for feeds in batches)
    return CalibrationSet(batches, count, True, "texts", mask="mask")


def feeds(count, length, *, longest=None):
    """Texts whose words say which text they are of."""
    lengths = np.arange(count) % (longest or length) + 1
    mask = (np.arange(length) < lengths[:, None]).astype(np.int64)
    return {"ids": mask * (np.arange(count)[:, None] + 1), "mask": mask}


def test_each_begins_as_one_text_and_ends_as_another():
    given = feeds(6, 8)
    first, second, *_ = spliced(calibration(given)).batches
    assert first is given
    for place, (ids, mask) in enumerate(zip(second["ids"], second["mask"], strict=True)):
        other = (place - 1) % 6
        half = (place % 8 + 1) // 2
        expected = np.concatenate([given["ids"][place][:half], given["ids"][other][half:]])
        assert ids.tolist() == expected.tolist()
        assert mask.tolist() == (expected > 0).astype(int).tolist()


def test_as_many_as_make_enough_positions(monkeypatch):
    held = feeds(8, 16)
    given = replace(calibration(feeds(64, 16)), unseen=[held])
    rows = int(given.batches[0]["mask"].sum())
    for wanted, versions in ((rows, 1), (3 * rows, 3), (10**9, splicing.MOST)):
        monkeypatch.setattr(splicing, "WANTED", wanted)
        found = spliced(given)
        assert found.count == 64 * versions
        assert [*found.unseen] == [held]


def test_texts_that_were_fitted_to_are_not_told_as_unseen():
    assert not spliced(calibration(feeds(64, 16))).unseen


def test_a_text_alone_in_its_batch_has_no_partner():
    alone = calibration(feeds(1, 4), feeds(1, 4))
    assert spliced(alone) is alone
    pair = spliced(calibration(feeds(2, 4)))
    assert (pair.count, len(pair.batches)) == (4, 2)


def test_what_has_no_positions_stays():
    given = feeds(4, 5) | {
        "rate": np.array(16000),
        "states": np.ones((4, 5, 3)),
        "kind": np.arange(4),
    }
    _, more, *_ = spliced(calibration(given)).batches
    assert more["rate"] == 16000
    assert more["states"].shape == (4, 5, 3)
    assert more["kind"].tolist() == [0, 1, 2, 3]


def states(model, given):
    return np.concatenate([run(model, each)[0].reshape(-1, 16) for each in given])


@pytest.mark.parametrize("ratio", [0.4, 0.6])
def test_results_fit_other_texts_better(ratio, monkeypatch):
    """Unless the texts are so many that theirs are rows enough."""
    data, others = padded(texts(64, longest=6)), texts(60, seed=1)
    wanted = states(encoder(), others)

    def error():
        options = {"ratio": ratio, "method": "moments", "data": data, "providers": "cpu"}
        result = nmcore.compress(encoder(), **options)
        small = onnx.load_from_string(result.graph.serialize())
        return np.square(states(small, others) - wanted).mean()

    with_splices = error()
    monkeypatch.setattr(splicing, "WANTED", 0)
    assert with_splices < error()
